"""Documents of the relaxation: the four steps of a candidate, and of many at once."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from crystens_flows.schemas.document import Document
from crystens_flows.schemas.provenance import package_versions
from crystens_flows.schemas.types import StructureField

Versions = Field(default_factory=package_versions, description="Versions of the packages used.")


class RelaxStepRecord(Document):
    """One of the four relaxations: what it found and what it changed."""

    energy: float | None = Field(None, description="Free energy at its end, eV a cell.")
    energy_zero_sigma: float | None = Field(
        None, description="Energy extrapolated to zero smearing, eV a cell; None without electrons."
    )
    pressure: float | None = Field(None, description="At its end, kbar, positive = compressed.")
    converged: bool | None = None
    n_ionic_steps: int | None = None
    volume: float | None = Field(None, description="At its end, A^3 a cell.")
    space_group: int | None = Field(None, description="At its end, within 0.01 A.")
    rmsd: float | None = Field(
        None,
        description="Root mean square displacement of the sites in this step, A, without the drift "
        "of all together and without the change of the cell.",
    )
    corrections: list[str] = Field(
        default_factory=list, description="What error handlers changed, in order."
    )
    dir_name: str | None = None
    uuid: str | None = Field(None, description="Job of the step.")


class RelaxDocument(Document):
    """Four successive relaxations of one structure, whatever engine relaxed."""

    stage: Literal["relax"] = "relax"
    candidate_id: str | None = None
    structure: StructureField | None = Field(None, description="After the last step that finished.")
    energy: float | None = Field(None, description="Energy after that step, eV a cell.")
    stress: list[list[float]] | None = Field(
        None, description="Stress after that step, kbar, positive = compressed."
    )
    dir_name: str | None = Field(None, description="Folder of that step.")
    energies: list[float | None] = Field(
        description="E0 to E4, free energy, eV a cell: before the first step, after each of the 4."
    )
    energies_zero_sigma: list[float | None] = Field(
        default_factory=list,
        description="As energies, extrapolated to zero smearing; None without electrons.",
    )
    pressures: list[float | None] = Field(
        description="P1 to P4, external pressure in kbar after each step, positive = compressed."
    )
    converged: list[bool | None] = Field(description="Whether each step converged.")
    steps: list[RelaxStepRecord] = Field(
        default_factory=list, description="The steps that finished."
    )
    initial_volume: float | None = Field(None, description="Before the first step, A^3 a cell.")
    initial_space_group: int | None = Field(None, description="Before it, within 0.01 A.")
    n_sites: int | None = None
    engine: str | None = Field(None, description="What relaxed, e.g. 'CHGNet', 'VASP 6.4.2'.")
    method: dict[str, Any] = Field(
        default_factory=dict,
        description="Functional, cutoff, k-points, pseudopotentials, where the engine says them.",
    )
    stand_in: bool = Field(
        False, description="Whether a stand-in for VASP computed this: no result of DFT."
    )
    formation_energy_per_atom: float | None = Field(
        None, description="Of DFT, comparable with the Materials Project, eV/atom."
    )
    energy_above_hull: float | None = Field(
        None, description="From that formation energy, eV/atom; negative below the hull."
    )
    hull: dict[str, Any] | None = Field(
        None, description="The entries of that hull, or why there is no energy above it."
    )
    completed_steps: int = Field(description="0 to 4.")
    reason: str | None = Field(None, description="Why fewer than four steps finished.")
    step_uuids: list[str] = Field(default_factory=list, description="Jobs of the steps.")
    versions: dict[str, str] = Versions

    @property
    def failure(self) -> str | None:
        """Why this counts as no relaxed candidate; None where it does."""
        if self.reason is None and self.n_sites and self.energy is not None:
            return None
        return self.reason or "the relaxation has no energy"

    @property
    def output(self) -> RelaxDocument:
        """The document itself: flows of atomate2 read ``output.energy`` and ``output.stress``."""
        return self


class BatchRelaxDocument(Document):
    """Output of BatchRelaxMaker: the relaxations of many candidates."""

    stage: Literal["relax"] = "relax"
    relaxations: list[RelaxDocument] = Field(description="In the order of the candidates given.")
    versions: dict[str, str] = Versions

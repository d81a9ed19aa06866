"""Document of one relaxation with GPAW, with the names of atomate2's documents."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from crystens_flows.schemas.document import Document
from crystens_flows.schemas.provenance import package_versions
from crystens_flows.schemas.types import StructureField


class GpawIonicStepRecord(Document):
    """One ionic step."""

    energy: float = Field(description="Free energy, eV a cell.")
    energy_zero_sigma: float = Field(description="Extrapolated to zero smearing, eV a cell.")
    stress: list[list[float]] = Field(description="In kbar, positive = compressed.")
    max_force: float = Field(description="The largest force on an atom, eV/A.")
    volume: float = Field(description="In A^3 a cell.")


class GpawOutput(Document):
    """What a relaxation with GPAW ended with."""

    structure: StructureField
    energy: float = Field(description="Free energy, eV a cell, against the setups' free atoms.")
    energy_per_atom: float = Field(description="Free energy, eV/atom.")
    energy_zero_sigma: float = Field(description="Extrapolated to zero smearing, eV a cell.")
    forces: list[list[float]] = Field(description="In eV/A.")
    stress: list[list[float]] = Field(description="In kbar, positive = compressed.")
    ionic_steps: list[GpawIonicStepRecord]
    n_steps: int = Field(description="Ionic steps made.")


class GpawTaskDocument(Document):
    """One relaxation with GPAW."""

    structure: StructureField | None = Field(None, description="Relaxed; None where it failed.")
    output: GpawOutput | None = None
    ase_calculator_name: str = Field(description="'GPAW' and its version.")
    dir_name: str = Field(description="Folder of the calculation.")
    state: Literal["successful", "failed"] = Field(
        description="Successful where forces and stress are below their limits."
    )
    reason: str | None = Field(None, description="Why it failed.")
    method: dict[str, Any] = Field(
        default_factory=dict,
        description="Functional, cutoff, k-points, setups, smearing; 'dedecut' and "
        "'basis_pressure' (kbar), what a fixed cutoff adds to a fixed set of plane waves.",
    )
    versions: dict[str, str] = Field(default_factory=package_versions)

"""The document of one candidate."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from crystens_flows.candidate_status import CandidateStatus
from crystens_flows.schemas.provenance import Provenance
from crystens_flows.schemas.relaxation import RelaxDocument
from crystens_flows.schemas.stages import ScreenRecord, SelectRecord, TuneRecord
from crystens_flows.schemas.types import StructureField

SCHEMA_VERSION = 4
"""Version of the documents; 2: hull, known crystals, tuning; 3: steps of relaxations and their
energies of DFT; 4: when jobs ended."""


class CandidateDocument(BaseModel):
    """
    One candidate, from generated to relaxed, or rejected with the reason.

    Made by :class:`crystens_flows.builders.CandidateBuilder` from the outputs of the jobs; nobody
    else writes it.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    schema_version: int = Field(SCHEMA_VERSION, description="Version of this document.")
    candidate_id: str = Field(description="'c-' and 20 hexadecimal digits; unique.")
    campaign: str = Field(description="Name of the campaign.")
    index: int = Field(description="Index of the sample in its campaign, from 0.")
    status: CandidateStatus = Field(description="How far it has come.")
    rejected_by: str | None = Field(None, description="'decode', a screen, 'select' or 'relax'.")
    reason: str | None = Field(None, description="Why it was rejected.")

    formula: str | None = Field(None, description="Reduced formula.")
    chemsys: str | None = Field(None, description="Elements in alphabetical order, 'Cl-Na'.")
    elements: list[str] = Field(default_factory=list, description="In alphabetical order.")
    n_elements: int | None = Field(None, description="Number of elements.")
    n_sites: int | None = Field(None, description="Number of sites of the structure decoded.")
    space_group: int | None = Field(None, description="Space group number the tensor states.")
    structure: StructureField | None = Field(None, description="As decoded.")
    consistency: dict[str, float | None] | None = Field(
        None, description="Variances and disagreements of the raw tensor."
    )

    formation_energy_per_atom: float | None = Field(
        None, description="Predicted by the last screen, eV/atom."
    )
    energy_above_hull: float | None = Field(
        None, description="Predicted, above the hull of known compounds, eV/atom; negative below."
    )
    smact_valid: bool | None = Field(None, description="Whether charges can balance (SMACT).")
    known_as: str | None = Field(None, description="Id of the known crystal that it equals.")
    screens: dict[str, ScreenRecord] = Field(
        default_factory=dict, description="What each screen found, by its name."
    )
    selection: SelectRecord | None = Field(None, description="The decision on it.")
    tuning: TuneRecord | None = Field(None, description="What was changed before relaxation.")

    relaxed_structure: StructureField | None = Field(
        None, description="After the last relaxation that finished."
    )
    energy_per_atom: float | None = Field(None, description="After relaxation, eV/atom.")
    energy_above_hull_dft: float | None = Field(
        None,
        description="From a relaxation comparable with the Materials Project, eV/atom; never of "
        "a model.",
    )
    relaxation: RelaxDocument | None = Field(
        None, description="The four relaxations; its structure is `relaxed_structure`."
    )

    provenance: Provenance = Field(description="What it was sampled from.")
    jobs: dict[str, str] = Field(
        default_factory=dict, description="'uuid:index' of the job of each stage."
    )
    completed_at: dict[str, str] = Field(
        default_factory=dict,
        description="When the job of each stage ended, by the clock of its worker: with `jobs` it "
        "says which run of a job was read.",
    )
    versions: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="Versions of the packages by stage."
    )
    last_updated: datetime = Field(
        default_factory=lambda: datetime.now(tz=UTC),
        description="When the builder wrote it; later at each writing.",
    )

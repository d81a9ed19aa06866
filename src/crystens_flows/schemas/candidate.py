"""The document of one candidate."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from crystens_flows.schemas.provenance import Provenance
from crystens_flows.schemas.relaxation import RelaxDocument
from crystens_flows.schemas.stages import ScreenRecord, SelectRecord, TuneRecord
from crystens_flows.schemas.types import StructureField
from crystens_flows.candidate_status import CandidateStatus

SCHEMA_VERSION = 3


class CandidateDocument(BaseModel):
    """
    One candidate, from generated to relaxed, or rejected with the reason.

    Made by :class:`crystens_flows.builders.CandidateBuilder` from the outputs of the jobs; nobody
    else writes it.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    candidate_id: str
    campaign: str
    index: int = Field(description="Index of the sample in its campaign, from 0.")
    status: CandidateStatus
    rejected_by: str | None = Field(None, description="'decode', a screen, 'select' or 'relax'.")
    reason: str | None = Field(None, description="Why it was rejected.")

    formula: str | None = Field(None, description="Reduced formula.")
    chemsys: str | None = Field(None, description="Elements in alphabetical order, 'Cl-Na'.")
    elements: list[str] = Field(default_factory=list)
    n_elements: int | None = None
    n_sites: int | None = None
    space_group: int | None = Field(None, description="Space group number the tensor states.")
    structure: StructureField | None = Field(None, description="As decoded.")
    consistency: dict[str, float | None] | None = None

    formation_energy_per_atom: float | None = Field(
        None, description="Predicted by the last screen, eV/atom."
    )
    energy_above_hull: float | None = Field(
        None, description="Predicted, above the hull of known compounds, eV/atom; negative below."
    )
    smact_valid: bool | None = None
    known_as: str | None = Field(None, description="Id of the known crystal that it equals.")
    screens: dict[str, ScreenRecord] = Field(default_factory=dict)
    selection: SelectRecord | None = None
    tuning: TuneRecord | None = Field(None, description="What was changed before relaxation.")

    relaxed_structure: StructureField | None = None
    energy_per_atom: float | None = Field(None, description="After relaxation, eV/atom.")
    energy_above_hull_dft: float | None = Field(
        None,
        description="From a relaxation comparable with the Materials Project, eV/atom; never of "
        "a model.",
    )
    relaxation: RelaxDocument | None = None

    provenance: Provenance
    jobs: dict[str, str] = Field(
        default_factory=dict, description="'uuid:index' of the job of each stage."
    )
    versions: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="Versions of the packages by stage."
    )
    last_updated: datetime = Field(default_factory=lambda: datetime.now(tz=UTC))

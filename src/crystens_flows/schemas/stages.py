"""Output documents of the jobs, one class a stage."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from crystens_flows.schemas.arrays import ArrayBlob
from crystens_flows.schemas.document import Document
from crystens_flows.schemas.provenance import Provenance, package_versions
from crystens_flows.schemas.types import StructureField

Versions = Field(default_factory=package_versions, description="Versions of the packages used.")


class TrainDocument(Document):
    """Output of TrainMaker: a checkpoint and how it was made."""

    stage: Literal["train"] = "train"
    generator: str = Field(description="Kind of the generator.")
    checkpoint: str = Field(description="Folder of the checkpoint on the worker.")
    checkpoint_sha256: str = Field(description="SHA-256 of the weights.")
    card: dict[str, Any] = Field(description="The model card.")
    versions: dict[str, str] = Versions


class SampleDocument(Document):
    """Output of SampleMaker: one chunk of CrysTens."""

    stage: Literal["sample"] = "sample"
    provenance: Provenance
    start: int = Field(description="Index of the first sample of this chunk.")
    n_samples: int = Field(description="Number of samples in this chunk.")
    crystens: ArrayBlob = Field(description="Normalised tensors, float32 (n, 4, 64, 64).")
    versions: dict[str, str] = Versions


class DecodedCandidate(Document):
    """One sample, decoded or rejected with the reason."""

    candidate_id: str
    index: int = Field(description="Index of the sample, from 0.")
    structure: StructureField | None = Field(None, description="None where decoding failed.")
    reason: str | None = Field(None, description="Why there is no structure.")
    space_group: int | None = Field(None, description="Space group number the tensor states.")
    consistency: dict[str, float | None] | None = Field(
        None, description="Variances (table 1) and disagreements (table 2) of the raw tensor."
    )


class DecodeDocument(Document):
    """Output of DecodeMaker: the candidates of one chunk."""

    stage: Literal["decode"] = "decode"
    provenance: Provenance
    candidates: list[DecodedCandidate]
    versions: dict[str, str] = Versions


class ScreenRecord(Document):
    """What a screen found for one candidate."""

    candidate_id: str
    passed: bool = Field(description="False where the candidate is rejected by this screen.")
    reason: str | None = Field(None, description="Why it was rejected.")
    formation_energy_per_atom: float | None = Field(None, description="Predicted, eV/atom.")
    energy_above_hull: float | None = Field(
        None, description="Above the hull of the reference, eV/atom; negative below it."
    )
    uncertainty: float | None = Field(
        None,
        description="By how much the energy may be off, eV/atom: a model's standard deviation, or "
        "(of the hull) by how much the models differ.",
    )
    smact_valid: bool | None = Field(
        None, description="Whether charges can balance (SMACT); None where SMACT cannot say."
    )
    known_as: str | None = Field(None, description="Id of the known crystal that it equals.")
    values: dict[str, Any] = Field(
        default_factory=dict, description="What else the screen found, by name."
    )


class ScreenDocument(Document):
    """Output of a prefilter: one record for each candidate of one chunk."""

    stage: Literal["screen"] = "screen"
    screen: str = Field(description="Name of the screen, e.g. 'cgcnn'.")
    model: dict[str, Any] = Field(description="Name and version of the model.")
    records: list[ScreenRecord]
    versions: dict[str, str] = Versions


class SelectRecord(Document):
    """The decision on one candidate that came to the selection."""

    candidate_id: str
    decision: Literal["selected", "pool", "ranked", "duplicate", "filtered"]
    reason: str | None = Field(None, description="Why, in words.")
    rank: int | None = Field(
        None, description="Place in the ranking at that moment; None without a value."
    )
    n_ranked: int | None = Field(None, description="Of how many at that moment.")
    value: float | None = Field(None, description="What was ranked, eV/atom.")
    duplicate_of: str | None = Field(None, description="The candidate_id that was kept.")
    rank_in_system: int | None = Field(
        None, description="Place among the candidates of its chemical system, from 1."
    )
    energy_above_hull_with_candidates: float | None = Field(
        None, description="Above the hull of the reference and all other candidates, eV/atom."
    )


class SelectedCandidate(Document):
    """A candidate that goes on to relaxation."""

    candidate_id: str
    structure: StructureField
    formation_energy_per_atom: float | None = Field(None, description="Predicted, eV/atom.")
    energy_above_hull: float | None = Field(None, description="Predicted, eV/atom.")


class TuneRecord(Document):
    """What the tuning changed in one candidate, and why."""

    candidate_id: str
    structure: StructureField = Field(description="As it goes on; the original if unchanged.")
    changed: bool
    reason: str | None = Field(None, description="What was changed, or why nothing was.")
    values: dict[str, Any] = Field(
        default_factory=dict, description="Space groups, tolerance, energies, by name."
    )


class TuneDocument(Document):
    """Output of TuneMaker."""

    stage: Literal["tune"] = "tune"
    model: dict[str, Any] = Field(description="Name and version of the energy model.")
    records: list[TuneRecord]
    selected: list[SelectedCandidate] = Field(description="As they go on, in the same order.")
    versions: dict[str, str] = Versions


class SelectDocument(Document):
    """Output of SelectMaker."""

    stage: Literal["select"] = "select"
    settings: dict[str, Any] = Field(description="The rules of the selection.")
    missing_chunks: list[int] = Field(
        default_factory=list, description="Chunks whose jobs failed, from 0."
    )
    records: list[SelectRecord]
    selected: list[SelectedCandidate] = Field(description="Best rank first.")
    versions: dict[str, str] = Versions


class ShortlistDocument(Document):
    """What the selection needs to know of a chunk, or of one shard of several chunks."""

    stage: Literal["shortlist"] = "shortlist"
    rows: ArrayBlob = Field(
        description="As in crystens_flows.screening.shortlist.Shortlist, one for each candidate."
    )
    structures: ArrayBlob = Field(description="Compressed, of those that no filter takes out.")
    drafts: list[SelectRecord] = Field(
        default_factory=list, description="Of a chunk: the decisions as far as it can tell."
    )
    missing_chunks: list[int] = Field(
        default_factory=list, description="Chunks of which candidates are missing, from 0."
    )
    versions: dict[str, str] = Versions


class DistinctDocument(Document):
    """What one shard contributes to the selection, after its duplicates were found."""

    stage: Literal["distinct"] = "distinct"
    ledger: ArrayBlob = Field(
        description="As in crystens_flows.screening.selection_parts.Distinct."
    )
    best: ArrayBlob = Field(description="Rows of those that can be selected.")
    structures: ArrayBlob = Field(description="Their structures, compressed.")
    rivals: ArrayBlob = Field(description="JSON of those that are not above the hull.")
    missing_chunks: list[int] = Field(
        default_factory=list, description="Chunks of which candidates are missing, from 0."
    )
    versions: dict[str, str] = Versions


class StandingDocument(SelectDocument):
    """
    A selection from more candidates than one document holds records of.

    Its own list of records is empty: they are in other documents of the stage, one for some chunks
    each.
    """

    standing: ArrayBlob = Field(
        description="As in crystens_flows.screening.selection_standing.Standing, one row for each "
        "candidate."
    )
    holders: dict[str, list[str]] = Field(
        description="candidate_id of the selected ones by chemical system, without those that "
        "fill up."
    )
    n_pool: int = Field(description="Number of candidates in the pool.")
    n_chosen: int = Field(description="Number of them that are selected.")
    hull_asked: bool = Field(description="Whether the hull's screen was asked about any candidate.")
    rivals: ArrayBlob = Field(description="JSON of those that are not above the hull.")


class DiscoveryDocument(Document):
    """Output of the last job of DiscoveryFlowMaker: what became of all samples."""

    stage: Literal["discovery"] = "discovery"
    campaign: str
    n_selected: int
    n_relaxed: int
    failed: dict[str, str] = Field(description="Reason by candidate_id where relaxation failed.")
    relaxed: list[str] = Field(description="candidate_id, lowest relaxed energy per atom first.")
    energies_per_atom: dict[str, float] = Field(
        default_factory=dict, description="Relaxed energy by candidate_id, eV/atom."
    )
    versions: dict[str, str] = Versions


class FollowDocument(Document):
    """Output of FollowMaker: what was started for whom."""

    started: dict[str, list[str]] = Field(
        description="Jobs by candidate_id, without those that they start themselves."
    )
    left_out: dict[str, str] = Field(
        default_factory=dict, description="Reason by candidate_id where nothing was started."
    )
    versions: dict[str, str] = Versions

"""Screening on its own: every screen on every structure, then the selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pymatgen.core import Structure

from crystens_flows.schemas import CandidateStatus, ScreenRecord, SelectRecord
from crystens_flows.screening.judgement import judge
from crystens_flows.screening.screens import (
    MAX_FORMATION_ENERGY,
    Candidate,
    CGCNNScreen,
    CHGNetScreen,
    HullScreen,
    M3GNetScreen,
    NoveltyScreen,
    Screen,
    SevenNetScreen,
    ValidityScreen,
)
from crystens_flows.screening.selection import SelectionRules

CHUNK = 256
"""Structures between two reports of progress."""

ModelName = Literal["cgcnn", "m3gnet", "chgnet", "sevennet"]


def default_models() -> list[ModelName]:
    """Return the energy models that are asked by default: SevenNet only where it is installed."""
    models: list[ModelName] = ["cgcnn", "m3gnet", "chgnet"]
    return [*models, "sevennet"] if find_spec("sevenn") else models


class ScreeningOptions(BaseModel):
    """Which screens are run, with which thresholds, and what is selected; one readable whole."""

    model_config = ConfigDict(extra="forbid")

    models: list[ModelName] = Field(
        default_factory=default_models, description="Energy models, in the order they are asked."
    )
    m3gnet_weights: str = Field(
        "default", description="Shipped weights, folder of a matgl model, or its name."
    )
    hull: str = Field(
        "shipped", description="'shipped', 'mp' or a CSV file of formulas and formation energies."
    )
    known: str | None = Field(
        "shipped", description="Known crystals: 'shipped', a file or folder; None for no search."
    )
    reject_known: bool = Field(False, description="Reject known crystals, rather than mark them.")
    require_charge_balance: bool = Field(
        False, description="Reject compositions whose charges cannot balance, by SMACT."
    )
    max_formation_energy_per_atom: float | None = Field(
        MAX_FORMATION_ENERGY, description="CGCNN and M3GNet reject above it, eV/atom."
    )
    relax_steps: int = Field(
        0, ge=0, description="Steps of relaxation before a potential's energy is taken, at most."
    )
    selection: SelectionRules = Field(default_factory=SelectionRules)

    def screens(self) -> list[Screen]:
        """
        Return the screens in their order, the cheap ones first.

        Returns
        -------
        list of Screen
            Validity, novelty, the models, the hull.
        """
        limit = self.max_formation_energy_per_atom
        models: dict[str, Screen] = {
            "cgcnn": CGCNNScreen(max_formation_energy_per_atom=limit),
            "m3gnet": M3GNetScreen(
                weights=self.m3gnet_weights, max_formation_energy_per_atom=limit
            ),
            "chgnet": CHGNetScreen(relax_steps=self.relax_steps),
            "sevennet": SevenNetScreen(relax_steps=self.relax_steps),
        }
        known: list[Screen] = (
            [] if self.known is None else [NoveltyScreen(self.known, self.reject_known)]
        )
        return [
            ValidityScreen(self.require_charge_balance),
            *known,
            *(models[name] for name in self.models),
            HullScreen(self.hull),
        ]


class ScreenedStructure(BaseModel):
    """What is known of one structure after the screening."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    candidate_id: str
    structure: Structure | None = None
    status: CandidateStatus
    rejected_by: str | None = None
    reason: str | None = None
    records: dict[str, ScreenRecord] = Field(default_factory=dict)
    selection: SelectRecord | None = None


def screen_structures(
    candidate_ids: Sequence[str],
    structures: Sequence[Structure | None],
    options: ScreeningOptions,
    progress: Callable[[int, int, str], None] | None = None,
    unreadable: Sequence[str | None] | None = None,
) -> list[ScreenedStructure]:
    """
    Screen structures with everything, and select.

    Every screen is asked about every structure, whatever the others say; a structure is rejected
    by the first, in the order of the screens, that it does not pass.

    Parameters
    ----------
    candidate_ids
        An identifier for each, no two the same.
    structures
        The structures; None for what could not be read.
    options
        What to do.
    progress
        Called with the structures that are done, their number, and the name of the screen.
    unreadable
        Why there is no structure, for those without one.

    Returns
    -------
    list of ScreenedStructure
        One for each, in the same order.

    Raises
    ------
    MissingExtraError
        If the package of a model is not installed.
    CheckpointError
        If the weights of a model cannot be read.
    DatasetError
        If the known crystals or the entries of the hull cannot be read.
    """
    why = unreadable or [None] * len(structures)
    screened = [
        ScreenedStructure(
            candidate_id=name,
            structure=structure,
            status=CandidateStatus.SCREENED if structure else CandidateStatus.REJECTED,
            rejected_by=None if structure else "read",
            reason=None if structure else reason or "no structure",
        )
        for name, structure, reason in zip(candidate_ids, structures, why, strict=True)
    ]
    readable = [each for each in screened if each.structure is not None]
    screens = options.screens()
    for screen in screens:
        screen.model()  # what a screen lacks is said before any has worked
    for screen in screens:
        for start in range(0, len(readable), CHUNK):
            chunk = readable[start : start + CHUNK]
            for each, record in zip(chunk, screen.screen(_candidates(chunk)), strict=True):
                each.records[screen.name] = record
            if progress is not None:
                progress(start + len(chunk), len(readable), screen.name)
    for each in readable:
        fallen = next((name for name, r in each.records.items() if not r.passed), None)
        if fallen is not None:
            each.status = CandidateStatus.REJECTED
            each.rejected_by, each.reason = fallen, each.records[fallen].reason
    passed = [each for each in readable if each.rejected_by is None]
    decisions = judge(_candidates(passed), options.selection, options.hull)
    for each, decision in zip(passed, decisions, strict=True):
        each.selection, each.reason = decision, decision.reason
        if decision.decision == "selected":
            each.status = CandidateStatus.SELECTED
        elif decision.decision in ("filtered", "duplicate"):
            each.status, each.rejected_by = CandidateStatus.REJECTED, "select"
    return screened


def _candidates(screened: Sequence[ScreenedStructure]) -> list[Candidate]:
    return [
        Candidate(each.candidate_id, each.structure, each.records)
        for each in screened
        if each.structure is not None
    ]


def nested_record(screened: ScreenedStructure, screens: Sequence[str]) -> dict[str, Any]:
    """
    Say all that is known of a structure in one nested record.

    Parameters
    ----------
    screened
        The structure after the screening.
    screens
        Names of the screens, each of which has its place in the record.

    Returns
    -------
    dict
        Identifier, composition, status, reason, energies; beside them what each screen found,
        under its name. What is not known is None, never NaN.
    """
    structure, records = screened.structure, screened.records
    hull = records.get(HullScreen.name)
    latest = list(records.values())[::-1]
    return {
        "id": screened.candidate_id,
        "formula": structure.composition.reduced_formula if structure else None,
        "chemical_system": structure.chemical_system if structure else None,
        "n_sites": len(structure) if structure else None,
        "status": str(screened.status),
        "rejected_by": screened.rejected_by,
        "reason": screened.reason,
        "formation_energy_per_atom": hull.formation_energy_per_atom if hull else None,
        "energy_models": hull.values.get("energy_models") if hull else None,
        "energy_above_hull": hull.energy_above_hull if hull else None,
        "decomposition": hull.values.get("decomposition") if hull else None,
        "smact_valid": next((r.smact_valid for r in latest if r.smact_valid is not None), None),
        "known_as": next((r.known_as for r in latest if r.known_as is not None), None),
        "rank": screened.selection.rank if screened.selection else None,
        **{name: _found(name, records.get(name)) for name in screens},
        "selection": (
            screened.selection.model_dump(exclude={"candidate_id"}) if screened.selection else None
        ),
    }


def _found(name: str, record: ScreenRecord | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if name not in (ValidityScreen.name, NoveltyScreen.name):
        found["formation_energy_per_atom"] = None
    if record is not None:
        named = record.model_dump(exclude={"candidate_id", "values"}, mode="json")
        found |= {key: value for key, value in named.items() if value is not None}
        found |= record.values
    return found

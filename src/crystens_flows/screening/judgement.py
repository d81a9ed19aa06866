"""The selection among screened candidates: what the screens found, put in rank and order."""

from __future__ import annotations

from collections.abc import Sequence

from crystens_flows.schemas import SelectRecord
from crystens_flows.screening.screens import Candidate, HullScreen
from crystens_flows.screening.selection import QUANTITIES, Rankable, SelectionRules, select


def rankable(candidate: Candidate) -> Rankable:
    """
    Gather what the selection needs from what the screens found.

    Parameters
    ----------
    candidate
        The candidate, with the records of the screens in the order they were run.

    Returns
    -------
    Rankable
        Of each quantity the value of the last screen that has one.
    """
    latest = list(candidate.records.values())[::-1]
    found = {
        name: next((v for r in latest if (v := getattr(r, name)) is not None), None)
        for name in (*QUANTITIES, "smact_valid", "known_as")
    }
    return Rankable(
        candidate_id=candidate.candidate_id,
        structure=candidate.structure,
        quantities={name: found[name] for name in QUANTITIES},
        smact_valid=found["smact_valid"],
        known_as=found["known_as"],
    )


def judge(
    candidates: Sequence[Candidate], rules: SelectionRules, hull: str | None = None
) -> list[SelectRecord]:
    """
    Select among candidates that passed all screens, and rank those of one system together.

    Parameters
    ----------
    candidates
        The candidates, in the order of their index.
    rules
        The rules of the selection.
    hull
        The reference of the hull, as :class:`HullScreen` takes it; None where there is none.

    Returns
    -------
    list of SelectRecord
        One for each candidate, in the order given; for those that no filter took out also their
        rank among the candidates of their system, and the energy above the hull that has the other
        candidates in it too.

    Raises
    ------
    InputError
        If an identifier is given twice.
    """
    ranked = [rankable(candidate) for candidate in candidates]
    records = select(ranked, rules)
    left = [
        i
        for i, record in enumerate(records)
        if record.decision in ("selected", "pool", "ranked")
        and ranked[i].quantities["formation_energy_per_atom"] is not None
    ]
    if hull is None or HullScreen.name not in {n for c in candidates for n in c.records}:
        return records
    from crystens_flows.screening.hull import load_hull

    together = load_hull(hull).rank_in_system(
        [candidates[i].structure.composition for i in left],
        [ranked[i].quantities["formation_energy_per_atom"] for i in left],
    )
    for i, result in zip(left, together, strict=True):
        records[i].rank_in_system = result.rank
        above = result.energy_above_hull_with_candidates
        records[i].energy_above_hull_with_candidates = None if above is None else round(above, 6)
    return records

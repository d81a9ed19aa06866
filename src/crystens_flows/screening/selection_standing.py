"""Where each candidate stands among all, found in parts; see :mod:`.selection_parts`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition

from crystens_flows.schemas import SelectRecord
from crystens_flows.screening.selection import SelectionRules, duplicate_reason, rank_in_words
from crystens_flows.screening.selection_parts import Rival, ranking
from crystens_flows.screening.selection_pool import (
    CHOSEN,
    Place,
    outside_the_pool,
    place_pool,
    reason_of_place,
)
from crystens_flows.screening.shortlist import STAYS, Shortlist, table

_PLACES: tuple[Place | None, ...] = (None, "taken", "filling", "crowded", "later")


@dataclass(frozen=True)
class Standing:
    """
    Where each candidate stands among all.

    Parameters
    ----------
    rows
        A row for each candidate, by identifier: ``rank`` and ``n_ranked`` (0 for none), ``place``
        in the pool, ``duplicate_of``, ``rank_in_system`` (0 for none).
    holders
        The selected candidates of each chemical system, those that fill up left out.
    n_pool, n_chosen
        How many are in the pool and how many of it are selected.
    hull_asked
        Whether the hull's screen was asked about any candidate.
    """

    rows: NDArray[Any]
    holders: dict[str, list[str]]
    n_pool: int
    n_chosen: int
    hull_asked: bool


def stand(ledgers: Sequence[NDArray[Any]], rules: SelectionRules) -> Standing:
    """
    Rank the candidates of all shards and select.

    Parameters
    ----------
    ledgers
        Of each shard, at least one.
    rules
        The rules of the selection.

    Returns
    -------
    Standing
        Of all candidates.
    """
    rows = np.concatenate(ledgers)
    n = len(rows)
    order = ranking(rows)
    rank, n_ranked, place = (np.zeros(n, dtype=np.int32) for _ in range(3))

    def count(among: NDArray[np.bool_], whose: NDArray[np.bool_]) -> None:
        inside = order[among[order]]
        positions = np.zeros(n, dtype=np.int32)
        positions[inside] = np.arange(1, len(inside) + 1)
        rank[whose], n_ranked[whose] = positions[whose], len(inside)

    fell, duplicate = rows["fell"], rows["duplicate_of"] != b""
    for number in np.unique(fell[(fell >= 0) & (fell < STAYS)]).tolist():
        count(fell >= number, fell == number)
    stays = fell == STAYS
    distinct = stays & ~duplicate
    count(stays, duplicate)
    count(distinct, distinct)

    pool = order[distinct[order]][: rules.n_pool]
    systems = [rows["system"][i].decode() for i in pool]
    places = place_pool(systems, rules.n_select, rules.max_per_chemical_system)
    place[pool] = [_PLACES.index(each) for each in places]
    holders: dict[str, list[str]] = {}
    for i, system, each in zip(pool, systems, places, strict=True):
        if each == "taken":
            holders.setdefault(system, []).append(rows["candidate_id"][i].decode())
    standing = table(
        {
            "candidate_id": (rows["candidate_id"], "S"),
            "rank": (rank, "i4"),
            "n_ranked": (n_ranked, "i4"),
            "place": (place, "i1"),
            "duplicate_of": (rows["duplicate_of"], "S"),
            "rank_in_system": (_ranks_in_system(rows, distinct), "i4"),
        }
    )
    return Standing(
        rows=standing[np.argsort(standing["candidate_id"])],
        holders=holders,
        n_pool=len(pool),
        n_chosen=sum(each in CHOSEN for each in places),
        hull_asked=bool(rows["hulled"].any()),
    )


def chosen_of(standing: Standing, best: Shortlist) -> Shortlist:
    """
    Take the selected candidates.

    Parameters
    ----------
    standing
        Of all candidates.
    best
        Those that can be selected, of all shards.

    Returns
    -------
    Shortlist
        Best rank first.
    """
    found = _rows_of(standing, best.rows["candidate_id"])
    chosen = np.flatnonzero(np.isin(found["place"], [_PLACES.index(each) for each in CHOSEN]))
    return best.take(chosen[np.argsort(found["rank"][chosen])])


def complete(
    drafts: Sequence[SelectRecord],
    part: Shortlist,
    standing: Standing,
    rules: SelectionRules,
    rivals: Sequence[Rival],
    hull: str | None = None,
) -> list[SelectRecord]:
    """
    Complete the records of some chunks with what all candidates together say.

    Parameters
    ----------
    drafts
        From :func:`shortlist`; those of which the standing knows nothing, as a job failed, are
        left out.
    part
        The shortlist of these chunks.
    standing
        Of all candidates.
    rules
        The rules of the selection.
    rivals
        Of all shards.
    hull
        The hull that they are ranked by in their systems; None where there is none.

    Returns
    -------
    list of SelectRecord
        As :func:`crystens_flows.screening.judgement.judge` gives them for all at once.
    """
    ids = np.array([draft.candidate_id.encode() for draft in drafts], dtype="S")
    known = np.isin(ids, standing.rows["candidate_id"])
    found = _rows_of(standing, ids[known])
    records = [
        _completed(draft, row, standing, rules, system.decode())
        for draft, row, system in zip(
            [draft for draft, there in zip(drafts, known, strict=True) if there],
            found,
            part.rows["system"][known],
            strict=True,
        )
    ]
    if hull is not None and standing.hull_asked:
        in_part = np.flatnonzero(known).tolist()
        _hold_together(records, found, part, in_part, rivals, hull)
    return records


def _completed(
    draft: SelectRecord, row: Any, standing: Standing, rules: SelectionRules, system: str
) -> SelectRecord:
    record = draft.model_copy()
    record.rank, record.n_ranked = int(row["rank"]) or None, int(row["n_ranked"]) or None
    if record.decision == "filtered":
        return record
    if row["duplicate_of"]:
        record.decision = "duplicate"
        record.duplicate_of = row["duplicate_of"].decode()
        record.reason = duplicate_reason(record.duplicate_of)
        return record
    at, place = rank_in_words(record, rules), _PLACES[row["place"]]
    if place is None:
        record.reason = outside_the_pool(at, standing.n_pool)
        return record
    record.decision = "selected" if place in CHOSEN else "pool"
    record.reason = reason_of_place(
        place,
        at,
        system=system,
        holders=standing.holders.get(system, []),
        n_select=rules.n_select,
        n_chosen=standing.n_chosen,
    )
    return record


def _hold_together(
    records: Sequence[SelectRecord],
    found: NDArray[Any],
    part: Shortlist,
    in_part: Sequence[int],
    rivals: Sequence[Rival],
    hull: str,
) -> None:
    """Fill in rank and energy above hull among the candidates."""
    from crystens_flows.screening.hull import load_hull

    left = [
        k
        for k, record in enumerate(records)
        if record.decision not in ("filtered", "duplicate")
        and not np.isnan(part.rows["energy"][in_part[k]])
    ]
    own = {records[k].candidate_id for k in left}
    others = [rival for rival in rivals if rival.candidate_id not in own]
    rows = [in_part[k] for k in left]
    compositions = [structure.composition for structure in part.structures(rows)]
    together = load_hull(hull).rank_in_system(
        compositions + [Composition(rival.composition) for rival in others],
        [float(part.rows["energy"][i]) for i in rows] + [rival.energy for rival in others],
    )
    for k, result in zip(left, together, strict=False):
        records[k].rank_in_system = int(found["rank_in_system"][k]) or None
        above = result.energy_above_hull_with_candidates
        records[k].energy_above_hull_with_candidates = None if above is None else round(above, 6)


def _ranks_in_system(rows: NDArray[Any], distinct: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the place by energy above hull in the chemical system, 0 for none."""
    ranks = np.zeros(len(rows), dtype=np.int32)
    judged = np.flatnonzero(distinct & ~np.isnan(rows["level"]))
    # equals share a place whatever the rounding
    levels = np.array([round(level, 9) for level in rows["level"][judged].tolist()])
    systems = rows["hull_system"][judged]
    order = np.lexsort((levels, systems))
    for k, at in enumerate(order):
        before = order[k - 1] if k else at
        if k == 0 or systems[at] != systems[before]:
            start, ranks[judged[at]] = k, 1
        elif levels[at] == levels[before]:
            ranks[judged[at]] = ranks[judged[before]]
        else:
            ranks[judged[at]] = k - start + 1
    return ranks


def _rows_of(standing: Standing, ids: NDArray[Any]) -> NDArray[Any]:
    return standing.rows[np.searchsorted(standing.rows["candidate_id"], ids)]

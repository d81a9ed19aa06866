"""
The selection of :func:`crystens_flows.screening.judgement.judge`, done in parts.

No step holds more structures than a part has, and all steps together give, for every candidate,
the record that :func:`judge` gives when it is handed all candidates at once. Why this is exact:

* Filters look at one candidate alone; :func:`shortlist` applies them in each chunk.
* Equal crystals have the same reduced formula. Of equal ones not the best stays but the first, and
  likeness is not transitive: whether one stays depends on the whole chain of earlier ones. So no
  chunk can tell, and no shortlist of the best of each chunk would do. But the chain does not leave
  the formula: a shard with all candidates of its formulas, in the order of their index,
  finds the same duplicates (:func:`find_distinct`).
* What is selected from the distinct candidates of all shards can be selected from its shard
  (:func:`may_be_selected`), so of each shard no more than ``2 * n_select`` structures go on.
* A rank is a count of lower values; :mod:`.selection_standing` counts in a table of some hundred
  bytes a candidate, the only thing that grows with their number.
* A candidate above the hull of the reference is in no lowest mixture: there the reference's
  mixture is lower. So the hull that has the other candidates in it too needs only those that are
  not above the reference: :class:`Rival`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import recfunctions
from numpy.typing import NDArray

from crystens_flows.screening.duplicates import first_equals
from crystens_flows.screening.selection import SelectionRules
from crystens_flows.screening.selection_pool import may_be_selected
from crystens_flows.screening.shortlist import STAYS, Shortlist

RIVAL = 1e-6
"""Candidates this far above the hull of the reference, in eV/atom, cannot lower it."""

_LEDGER = (
    *("candidate_id", "value", "fell", "duplicate_of", "system"),
    *("energy", "hulled", "hull_system", "level"),
)


@dataclass(frozen=True)
class Rival:
    """
    A candidate that lowers the hull for others.

    Parameters
    ----------
    candidate_id
        Its identifier.
    composition
        Atoms of each element.
    energy
        Predicted formation energy, eV/atom.
    """

    candidate_id: str
    composition: dict[str, float]
    energy: float


@dataclass(frozen=True)
class Distinct:
    """
    What one shard contributes to the selection.

    Parameters
    ----------
    ledger
        A row for each candidate, as in :class:`Shortlist`, and the field ``duplicate_of``: the
        identifier of the one that was kept, or nothing.
    best
        Those that can be selected.
    rivals
        Those that are not above the hull of the reference.
    """

    ledger: NDArray[Any]
    best: Shortlist
    rivals: list[Rival]


def find_distinct(part: Shortlist, rules: SelectionRules) -> Distinct:
    """
    Find the duplicates in a shard, and what of it the selection needs.

    Parameters
    ----------
    part
        All candidates of the shard's formulas.
    rules
        The rules of the selection.

    Returns
    -------
    Distinct
        Structures are unpacked one at a time, of formulas that more than one candidate has.
    """
    rows = part.rows
    by_formula: dict[bytes, list[int]] = defaultdict(list)
    for i in np.lexsort((rows["candidate_id"], rows["index"])).tolist():
        if rows["fell"][i] == STAYS:
            by_formula[bytes(rows["formula"][i])].append(i)
    kept_as = [b""] * len(rows)
    for members in by_formula.values():
        if len(members) > 1:
            found = first_equals(part.structures(members))
            for i, first in zip(members, found, strict=True):
                if first is not None:
                    kept_as[i] = bytes(rows["candidate_id"][members[first]])
    duplicate_of = np.array(kept_as, dtype="S")
    ledger = recfunctions.append_fields(rows, "duplicate_of", duplicate_of, usemask=False)
    order = [i for i in ranking(rows) if rows["fell"][i] == STAYS and not kept_as[i]]
    able = may_be_selected(
        [rows["system"][i].decode() for i in order],
        rules.n_select,
        rules.max_per_chemical_system,
    )
    rival = [i for i in order if rows["level"][i] < RIVAL]
    return Distinct(
        ledger=recfunctions.repack_fields(ledger[list(_LEDGER)]),
        best=part.take([order[k] for k in able]),
        rivals=[
            Rival(
                rows["candidate_id"][i].decode(),
                {str(el): float(n) for el, n in structure.composition.element_composition.items()},
                float(rows["energy"][i]),
            )
            for i, structure in zip(rival, part.structures(rival), strict=True)
        ],
    )


def ranking(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rows that have a value, lowest first, equal ones by identifier."""
    order = np.lexsort((rows["candidate_id"], rows["value"]))
    return order[~np.isnan(rows["value"][order])]


def pack_rivals(rivals: Sequence[Rival]) -> NDArray[np.uint8]:
    """Write rivals as bytes of JSON."""
    text = json.dumps([[r.candidate_id, r.composition, r.energy] for r in rivals])
    return np.frombuffer(text.encode(), dtype=np.uint8)


def unpack_rivals(packed: NDArray[np.uint8]) -> list[Rival]:
    """Read rivals from what :func:`pack_rivals` gives."""
    return [Rival(*each) for each in json.loads(packed.tobytes())]

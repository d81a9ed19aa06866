"""Candidates in few bytes, for a selection among more than one worker should hold."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from monty.json import MontyEncoder
from numpy.typing import NDArray
from pymatgen.core import Structure

from crystens_flows.msonable import structure_from_dict
from crystens_flows.schemas import SelectRecord
from crystens_flows.screening.duplicates import reduced_formula
from crystens_flows.screening.judgement import rankable
from crystens_flows.screening.screens import Candidate, HullScreen
from crystens_flows.screening.selection import (
    SelectionRules,
    check_input,
    filters,
    nothing_to_rank_by,
    ranked_value,
)

NO_VALUE, STAYS = -1, 127
"""In the field ``fell``, else the number of the first filter that takes the candidate out."""


@dataclass(frozen=True)
class Shortlist:
    """
    What the selection needs to know of some candidates.

    Parameters
    ----------
    rows
        One for each candidate. Fields: ``candidate_id`` and ``index``; ``value``, what is ranked;
        ``fell``, see :data:`STAYS`; ``formula``, which equal crystals share; ``system``, the
        chemical system; ``energy`` and ``above``, predicted formation energy and energy above
        hull; ``hulled``, whether the hull's screen was asked; ``hull_system`` and ``level``, the
        chemical system and the energy above hull as the hull ranks them; ``size``, bytes of the
        structure. Energies in eV/atom, NaN where unknown.
    packed
        The structures as compressed JSON, one after another; of those that a filter takes out none.
    """

    rows: NDArray[Any]
    packed: NDArray[np.uint8]

    def __len__(self) -> int:
        """Count the candidates."""
        return len(self.rows)

    def structures(self, chosen: Sequence[int] | NDArray[np.int64]) -> Iterator[Structure]:
        """
        Unpack structures, one at a time.

        Parameters
        ----------
        chosen
            Their rows.

        Yields
        ------
        Structure
            As it was, in the order of the rows given.
        """
        ends = np.cumsum(self.rows["size"])
        for i in chosen:
            content = self.packed[ends[i] - self.rows["size"][i] : ends[i]]
            yield structure_from_dict(json.loads(zlib.decompress(content.tobytes())))

    def take(self, chosen: Sequence[int] | NDArray[np.int64]) -> Self:
        """
        Take some candidates.

        Parameters
        ----------
        chosen
            Their rows.

        Returns
        -------
        Shortlist
            In the order of the rows given.
        """
        rows = self.rows[np.asarray(chosen, dtype=int)]
        ends = np.cumsum(self.rows["size"])
        parts = [self.packed[ends[i] - self.rows["size"][i] : ends[i]] for i in chosen]
        return type(self)(rows, np.concatenate([np.empty(0, np.uint8), *parts]))

    def of_shard(self, shard: int, n_shards: int) -> Self:
        """
        Take the candidates of a shard: all that can be equal crystals are in the same.

        Parameters
        ----------
        shard
            Number of the shard, from 0.
        n_shards
            How many there are.

        Returns
        -------
        Shortlist
            In the same order.
        """
        shards = [_hash(formula) % n_shards for formula in self.rows["formula"].tolist()]
        return self.take(np.flatnonzero(np.array(shards, dtype=int) == shard))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """
        Put shortlists together.

        Parameters
        ----------
        parts
            The shortlists, at least one.

        Returns
        -------
        Shortlist
            In the order given.
        """
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.packed for part in parts]),
        )


def shortlist(
    candidates: Sequence[Candidate],
    indices: Sequence[int],
    rules: SelectionRules,
    hull: str | None = None,
) -> tuple[Shortlist, list[SelectRecord]]:
    """
    Write down what the selection needs to know of the candidates of one chunk.

    Parameters
    ----------
    candidates
        Those that passed all screens of the chunk.
    indices
        The index of each in its campaign.
    rules
        The rules of the selection.
    hull
        The hull that the candidates are ranked by in their systems; None where there is none.

    Returns
    -------
    tuple
        The shortlist, and the records of the decisions without what only all chunks together can
        say: all who pass the filters are "ranked", nobody has a rank.

    Raises
    ------
    InputError
        If an identifier is given twice or a quantity is not finite.
    """
    ranked = [rankable(candidate) for candidate in candidates]
    check_input(ranked)
    falls = filters(rules)
    records, fell, packed = [], [], []
    for each in ranked:
        value = ranked_value(each, rules)
        record = SelectRecord(candidate_id=each.candidate_id, decision="ranked", value=value)
        number = STAYS
        if value is None:
            number, record.reason = NO_VALUE, nothing_to_rank_by(each, rules)
        else:
            reasons = ((k, reason) for k, fails in enumerate(falls) if (reason := fails(each)))
            number, record.reason = next(reasons, (STAYS, None))
        if number != STAYS:
            record.decision = "filtered"
        records.append(record)
        fell.append(number)
        packed.append(_packed(each.structure) if number == STAYS else b"")
    energies = [each.quantities["formation_energy_per_atom"] for each in ranked]
    systems, levels = _levels(ranked, energies, hull)
    columns: dict[str, tuple[Any, str]] = {
        "candidate_id": ([each.candidate_id for each in ranked], "S"),
        "index": (indices, "i8"),
        "value": ([record.value for record in records], "f8"),
        "fell": (fell, "i2"),
        "formula": ([reduced_formula(each.structure) for each in ranked], "S"),
        "system": ([each.structure.chemical_system for each in ranked], "S"),
        "energy": (energies, "f8"),
        "above": ([each.quantities["energy_above_hull"] for each in ranked], "f8"),
        "hulled": ([HullScreen.name in candidate.records for candidate in candidates], "?"),
        "hull_system": (systems, "S"),
        "level": (levels, "f8"),
        "size": ([len(each) for each in packed], "i8"),
    }
    return (
        Shortlist(table(columns), np.frombuffer(b"".join(packed), dtype=np.uint8)),
        records,
    )


def table(columns: dict[str, tuple[Any, str]]) -> NDArray[Any]:
    """
    Make an array with fields.

    Parameters
    ----------
    columns
        Values and type of each field; a string is as wide as the longest.

    Returns
    -------
    ndarray
        One row for each value.
    """
    arrays = {name: np.array(list(values), dtype=kind) for name, (values, kind) in columns.items()}
    n = len(next(iter(arrays.values())))
    rows = np.empty(n, dtype=[(name, array.dtype) for name, array in arrays.items()])
    for name, array in arrays.items():
        rows[name] = array
    return rows


def _hash(formula: bytes) -> int:
    return int.from_bytes(blake2b(formula, digest_size=8).digest(), "big")


def _packed(structure: Structure) -> bytes:
    return zlib.compress(json.dumps(structure.as_dict(), cls=MontyEncoder).encode())


def _levels(
    ranked: Sequence[Any], energies: Sequence[float | None], hull: str | None
) -> tuple[list[str], list[float]]:
    """Return what candidates are ranked by among those of their system, NaN for none."""
    systems, levels = [""] * len(ranked), [float("nan")] * len(ranked)
    if hull is not None:
        from crystens_flows.screening.hull import load_hull

        known = [i for i, energy in enumerate(energies) if energy is not None]
        found = load_hull(hull).evaluate(
            [ranked[i].structure.composition for i in known], [energies[i] for i in known]
        )
        for i, (result, _) in zip(known, found, strict=True):
            if result.energy_above_hull is not None:
                systems[i] = result.chemical_system or ""
                levels[i] = result.energy_above_hull
    return systems, levels

"""Where candidates stand to the hull of a reference."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element

from crystens_flows.errors import InputError
from crystens_flows.screening.hull.compositions import (
    chemical_system,
    element_formula,
    read_composition,
    read_energy,
)
from crystens_flows.screening.hull.programme import lowest_mixtures

if TYPE_CHECKING:
    from crystens_flows.screening.hull.reference import HullReference, System

MIN_AMOUNT = 1e-8
"""Phases that hold a smaller fraction of the atoms are no part of a decomposition."""

MAX_NUMBERS = 2_000_000
"""How many fractions of atoms of points are held against candidates at a time."""


@dataclass(frozen=True)
class HullResult:
    """
    Where a candidate stands to the hull of the reference entries.

    Parameters
    ----------
    energy_above_hull
        In eV/atom, from the hull of the reference entries *without* the candidate: negative for a
        candidate below that hull, by as much as it would be stable. (pymatgen's ``e_above_hull``
        of an entry that is part of the diagram is never negative.)
    decomposition
        The reference phases that the hull mixes at the candidate's composition: the formula as it
        stands in the reference, and the fraction of all atoms in that phase.
    decomposition_ids
        The id of each of these phases, in the same order; None for an entry without an id, as the
        elements that were added at zero.
    chemical_system
        The elements in alphabetic order, e.g. ``"Li-O"``.
    n_entries
        The reference entries in this system and its subsystems, other than elements.
    elements_only
        Whether there are none: then the energy above hull is only the formation energy.
    reason
        Why there is no result, "kind: particulars"; None where there is one.
    """

    energy_above_hull: float | None
    decomposition: dict[str, float]
    decomposition_ids: tuple[str | None, ...]
    chemical_system: str | None
    n_entries: int
    elements_only: bool
    reason: str | None


class Found(NamedTuple):
    """Where a candidate stands; an added element stands as minus its atomic number."""

    energy_above_hull: float
    mixture: list[tuple[int, float]]
    system: tuple[int, ...]
    n_entries: int


def evaluate(
    reference: HullReference,
    compositions: Sequence[Composition | str],
    formation_energies_per_atom: Sequence[float | None] | NDArray[np.float64],
    exclude: Sequence[Collection[str]] | None = None,
) -> list[HullResult]:
    """Hold candidates against a reference; see :meth:`HullReference.evaluate`."""
    n = len(compositions)
    if exclude is not None and len(exclude) != n:
        raise InputError(
            f"{n} compositions and {len(exclude)} sets of excluded ids: give one for each"
        )
    rows = None if exclude is None else [reference.rows_of(ids) for ids in exclude]
    found = find(reference, compositions, formation_energies_per_atom, rows)
    return [_result(reference, one) for one in found]


def find(
    reference: HullReference,
    compositions: Sequence[Composition | str],
    formation_energies_per_atom: Sequence[float | None] | NDArray[np.float64],
    exclude: Sequence[Set[int]] | None = None,
) -> list[Found | str]:
    """
    Find where candidates stand, in rows of the reference.

    Parameters
    ----------
    reference, compositions, formation_energies_per_atom
        As for :meth:`HullReference.evaluate`.
    exclude
        For each candidate the rows that it is not held against.

    Returns
    -------
    list
        For each candidate what was found, or the reason why nothing was.

    Raises
    ------
    InputError
        If the lists differ in length.
    """
    n = len(compositions)
    if len(formation_energies_per_atom) != n:
        raise InputError(
            f"{n} compositions and {len(formation_energies_per_atom)} formation energies: give "
            "one for each candidate"
        )
    out: Sequence[Set[int]] = [frozenset()] * n if exclude is None else exclude
    found: list[Found | str] = [""] * n
    candidates: list[_Candidate] = []
    for i in range(n):
        numbers, fractions, reason = read_composition(compositions[i])
        energy, energy_reason = read_energy(formation_energies_per_atom[i])
        reason = reason or energy_reason or _unknown(reference, numbers)
        if energy is None or reason is not None:
            found[i] = str(reason)
        else:
            system = reference.system(tuple(numbers))
            candidates.append(_Candidate(i, system, fractions, energy, out[i]))
    # alike ones together, so that arrays are filled well
    candidates.sort(key=lambda c: (len(c.system.numbers), len(c.system.rows), c.system.numbers))
    for chunk in _chunks(candidates):
        for candidate, one in zip(chunk, _find_alike(reference, chunk), strict=True):
            found[candidate.place] = one
    return found


class _Candidate(NamedTuple):
    place: int
    system: System
    fractions: list[float]
    energy: float
    excluded: Set[int]


def _chunks(candidates: list[_Candidate]) -> Iterator[list[_Candidate]]:
    """Split sorted candidates where the number of elements changes, or arrays become large."""
    chunk: list[_Candidate] = []
    for candidate in candidates:
        k, m = len(candidate.system.numbers), len(candidate.system.rows)
        if chunk and (
            len(chunk[0].system.numbers) != k or (len(chunk) + 1) * (m + k) * k > MAX_NUMBERS
        ):
            yield chunk
            chunk = []
        chunk.append(candidate)
    if chunk:
        yield chunk


def _find_alike(reference: HullReference, candidates: list[_Candidate]) -> list[Found]:
    """Find where candidates of the same number of elements stand."""
    n, k = len(candidates), len(candidates[0].system.numbers)
    unique = list({candidate.system.numbers: candidate.system for candidate in candidates}.values())
    place = {system.numbers: i for i, system in enumerate(unique)}
    which = np.array([place[candidate.system.numbers] for candidate in candidates])
    most = max(len(system.rows) for system in unique)
    rows = np.full((len(unique), most), -1)
    for i, system in enumerate(unique):
        rows[i, : len(system.rows)] = system.rows
    numbers = np.array([system.numbers for system in unique])
    points = np.zeros((len(unique), k + most, k))
    points[:, :k] = np.eye(k)
    for part in range(reference.numbers.shape[1]):
        same = reference.numbers[rows, part][:, :, None] == numbers[:, None, :]
        points[:, k:] += same * reference.fractions[rows, part][:, :, None]
    levels = np.zeros((len(unique), k + most))
    levels[:, k:] = np.where(rows >= 0, reference.energies[rows], np.inf)
    energies = levels[which]
    for i, candidate in enumerate(candidates):
        for row in candidate.excluded:
            energies[i, k:][rows[which[i]] == row] = np.inf
    fractions = np.array([candidate.fractions for candidate in candidates])
    corners, amounts = lowest_mixtures(points, energies, which, fractions)
    hull = (amounts * energies[np.arange(n)[:, None], corners]).sum(axis=1)
    labels = np.concatenate([-numbers, rows], axis=1)[which[:, None], corners]
    order = np.lexsort((labels, -amounts.round(9)), axis=1)
    labels = np.take_along_axis(labels, order, axis=1)
    amounts = np.take_along_axis(amounts, order, axis=1)
    return [
        Found(
            candidate.energy - level,
            [
                (row if row >= 0 else reference.element_row(-row, candidate.excluded), amount)
                for row, amount in zip(ours, shares, strict=True)
                if amount > MIN_AMOUNT
            ],
            candidate.system.numbers,
            candidate.system.n_compounds
            - sum(reference.is_compound_of(candidate.system, row) for row in candidate.excluded),
        )
        for candidate, level, ours, shares in zip(
            candidates, hull.tolist(), labels.tolist(), amounts.tolist(), strict=True
        )
    ]


def _unknown(reference: HullReference, numbers: list[int]) -> str | None:
    """Tell why the reference cannot judge a system."""
    unknown = [Element.from_Z(z).symbol for z in numbers if z not in reference.elements]
    if unknown:
        return f"element unknown to the reference: {', '.join(unknown)}"
    asked = reference.systems
    if asked is not None and not any(system.issuperset(numbers) for system in asked):
        return f"chemical system not in the reference: {chemical_system(tuple(numbers))}"
    return None


def _result(reference: HullReference, found: Found | str) -> HullResult:
    """Write what was found with formulas and ids."""
    if isinstance(found, str):
        return HullResult(None, {}, (), None, 0, False, found)
    decomposition: dict[str, float] = {}
    ids: list[str | None] = []
    for row, amount in found.mixture:
        decomposition[reference.formulas[row] if row >= 0 else element_formula(-row)] = amount
        ids.append(reference.ids[row] if row >= 0 else None)
    return HullResult(
        energy_above_hull=found.energy_above_hull,
        decomposition=decomposition,
        decomposition_ids=tuple(ids),
        chemical_system=chemical_system(found.system),
        n_entries=found.n_entries,
        elements_only=found.n_entries == 0,
        reason=None,
    )

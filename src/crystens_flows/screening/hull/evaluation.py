"""Where candidates stand to the hull of a reference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element

from crystens_flows.errors import InputError
from crystens_flows.screening.hull.compositions import (
    chemical_system,
    read_composition,
    read_energy,
    reduced_formula,
)
from crystens_flows.screening.hull.system import SystemHull

if TYPE_CHECKING:
    from crystens_flows.screening.hull.reference import HullReference


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
        The reference phases that the hull mixes at the candidate's composition: reduced formula,
        and the fraction of all atoms in that phase.
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
    """Where a candidate stands, in rows of the reference; see :meth:`SystemHull.at`."""

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
    energies = [0.0] * n
    fractions: list[list[float]] = [[]] * n
    by_system: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for i in range(n):
        numbers, fractions[i], reason = read_composition(compositions[i])
        energy, energy_reason = read_energy(formation_energies_per_atom[i])
        reason = reason or energy_reason or _unknown(reference, numbers)
        if energy is None or reason is not None:
            found[i] = str(reason)
        else:
            energies[i] = energy
            by_system[tuple(numbers)].append(i)
    for system, candidates in by_system.items():
        whole = reference.hull(system)
        groups: dict[SystemHull, list[int]] = defaultdict(list)
        for i in candidates:
            # most entries are no corner of the hull, which is the same without them
            hull = SystemHull(reference, system, out[i]) if whole.changes_without(out[i]) else whole
            groups[hull].append(i)
        for hull, group in groups.items():
            levels, mixtures = hull.at(np.array([fractions[i] for i in group]))
            for i, level, mixture in zip(group, levels, mixtures, strict=True):
                above = energies[i] - float(level)
                found[i] = Found(above, mixture, system, hull.n_compounds(out[i]))
    return found


def _unknown(reference: HullReference, numbers: list[int]) -> str | None:
    """Tell why the reference cannot judge a system."""
    unknown = [Element.from_Z(z).symbol for z in numbers if z not in reference.elements]
    if unknown:
        return f"element unknown to the reference: {', '.join(unknown)}"
    asked = reference.systems
    if asked is not None and not any(system.issuperset(numbers) for system in asked):
        return f"chemical system not in the reference: {chemical_system(numbers)}"
    return None


def _result(reference: HullReference, found: Found | str) -> HullResult:
    """Write what was found with formulas and ids."""
    if isinstance(found, str):
        return HullResult(None, {}, (), None, 0, False, found)
    decomposition: dict[str, float] = {}
    ids: list[str | None] = []
    for row, amount in found.mixture:
        phase = reference.formulas[row] if row >= 0 else Element.from_Z(-row).symbol
        decomposition[reduced_formula(phase)] = amount
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

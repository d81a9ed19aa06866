"""Candidates held against a reference and against each other."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystens_flows.screening.hull.compositions import read_composition
from crystens_flows.screening.hull.evaluation import HullResult, evaluate, find

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from crystens_flows.screening.hull.reference import HullReference


@dataclass(frozen=True)
class HullRank:
    """
    Where a candidate stands among the reference entries and the other candidates.

    Parameters
    ----------
    result
        The candidate against the reference alone.
    energy_above_hull_with_candidates
        In eV/atom, from the hull of the reference and all *other* candidates; never below the
        energy above the hull of the reference alone. None where there is no result.
    decomposition_candidates
        The candidates that this hull mixes at the candidate's composition: their places in the
        list and the fraction of all atoms in each.
    rank
        The place by ``result.energy_above_hull`` among the candidates of the same chemical
        system, from 1; equals within 1e-9 eV/atom share a place. None where there is no result.
    n_in_system
        How many candidates were ranked in that system.
    """

    result: HullResult
    energy_above_hull_with_candidates: float | None
    decomposition_candidates: dict[int, float]
    rank: int | None
    n_in_system: int


def rank_in_system(
    reference: HullReference,
    compositions: Sequence[Composition | str],
    formation_energies_per_atom: Sequence[float | None] | NDArray[np.float64],
) -> list[HullRank]:
    """Rank candidates; see :meth:`HullReference.rank_in_system`."""
    alone = evaluate(reference, compositions, formation_energies_per_atom)
    judged = [i for i, result in enumerate(alone) if result.reason is None]
    chosen = [compositions[i] for i in judged]
    energies = np.array([formation_energies_per_atom[i] for i in judged], dtype=float)
    known = len(reference)
    joined = _with_candidates(reference, chosen, energies)
    found = find(joined, chosen, energies, [{known + place} for place in range(len(judged))])
    among = dict(zip(judged, found, strict=True))
    levels: dict[str | None, list[float]] = defaultdict(list)
    for i in judged:
        levels[alone[i].chemical_system].append(_level(alone[i]))
    for system_levels in levels.values():
        system_levels.sort()
    ranks = []
    for i, result in enumerate(alone):
        one = among.get(i)
        if one is None or isinstance(one, str):
            ranks.append(HullRank(result, None, {}, None, 0))
            continue
        others = levels[result.chemical_system]
        ranks.append(
            HullRank(
                result=result,
                energy_above_hull_with_candidates=one.energy_above_hull,
                decomposition_candidates={
                    judged[row - known]: amount for row, amount in one.mixture if row >= known
                },
                rank=1 + bisect_left(others, _level(result)),
                n_in_system=len(others),
            )
        )
    return ranks


def _with_candidates(
    reference: HullReference,
    compositions: Sequence[Composition | str],
    energies: NDArray[np.float64],
) -> HullReference:
    """Append candidates to the entries of a reference, in order."""
    parts = [read_composition(composition)[:2] for composition in compositions]
    width = max([reference.numbers.shape[1], *(len(numbers) for numbers, _ in parts)])
    n = len(reference)
    numbers = np.zeros((n + len(parts), width), dtype=np.uint8)
    fractions = np.zeros((n + len(parts), width))
    numbers[:n, : reference.numbers.shape[1]] = reference.numbers
    fractions[:n, : reference.numbers.shape[1]] = reference.fractions
    for row, (elements, shares) in enumerate(parts, n):
        numbers[row, : len(elements)] = elements
        fractions[row, : len(elements)] = shares
    return replace(
        reference,
        ids=reference.ids + (None,) * len(parts),
        # the rows of candidates become places in their list, not formulas
        formulas=reference.formulas + ("",) * len(parts),
        numbers=numbers,
        fractions=fractions,
        energies=np.concatenate([reference.energies, energies]),
    )


def _level(result: HullResult) -> float:
    # equals share a place whatever the rounding
    return round(result.energy_above_hull or 0.0, 9)

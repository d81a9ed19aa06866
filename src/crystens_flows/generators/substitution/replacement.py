"""How often an element stands where another does in crystals that are otherwise the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import permutations

import numpy as np

from crystens_flows.generators.elements import MAX_Z

PRIOR = 30.0
"""
Pairs that count as seen beforehand for each element replaced, times 1 / (1 + distance) on
Pettifor's scale; the best of 1 to 100 for pairs left out.
"""


def replacement_probabilities(
    crystals: Iterable[tuple[int, dict[int, int]]], prior: float = PRIOR
) -> np.ndarray:
    """
    Count pairs of crystals of the same space group that differ in one element.

    Where three or more crystals differ in the same place, each of their elements counts as
    replaced once in all.

    Parameters
    ----------
    crystals
        Space group and atoms by atomic number, in the primitive cell.
    prior
        Weight of the distance of elements on Pettifor's scale.

    Returns
    -------
    numpy.ndarray
        Probability of each element in place of another; columns, the elements replaced, sum to
        one; zero on the diagonal and for elements that no crystal has. Shape (101, 101).
    """
    from pymatgen.core import Element

    seen: dict[tuple, set[int]] = defaultdict(set)
    present = np.zeros(MAX_Z + 1, dtype=bool)
    for group, atoms in crystals:
        for z, count in atoms.items():
            present[z] = True
            rest = tuple(sorted((other, n) for other, n in atoms.items() if other != z))
            seen[group, rest, count].add(z)
    matrix = np.zeros((MAX_Z + 1, MAX_Z + 1))
    for elements in seen.values():
        for old, new in permutations(sorted(elements), 2):
            matrix[new, old] += 1 / (len(elements) - 1)
    scale = np.array([0.0] + [Element.from_Z(z).mendeleev_no for z in range(1, MAX_Z + 1)])
    matrix += prior / (1 + np.abs(scale[:, None] - scale))
    matrix[~present] = 0
    np.fill_diagonal(matrix, 0)
    matrix[:, 0] = 0
    return matrix / np.maximum(matrix.sum(0), 1e-300)

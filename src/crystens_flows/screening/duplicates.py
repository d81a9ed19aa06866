"""Structures that are the same crystal as an earlier one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher
from pymatgen.core import Structure

LENGTH_TOLERANCE = 0.2
"""StructureMatcher's default `ltol`."""

MAX_LATTICE_POINTS = 1_000_000
"""Collapsed cells, where more lattice points than this are to be searched for a reduced cell, are
compared with nothing: pymatgen would take minutes for each."""


def find_duplicates(structures: Sequence[Structure]) -> list[int | None]:
    """
    Find the structures that are the same crystal as an earlier one.

    pymatgen's StructureMatcher, with its default tolerances, decides. A structure is compared with
    the earlier ones that were kept, in their order, so the first of each crystal stays. Only those
    that can match at all are compared: of the same reduced formula and with as many sites in the
    primitive cell, which is found once for each structure.

    Parameters
    ----------
    structures
        The structures, in an order that means something: the first of equal ones is kept.

    Returns
    -------
    list of int or None
        For each structure the index of the earlier one it equals, or None.
    """
    matcher = StructureMatcher(ltol=LENGTH_TOLERANCE, comparator=ElementComparator())
    duplicate_of: list[int | None] = [None] * len(structures)
    by_formula: dict[str, list[int]] = defaultdict(list)
    for i, structure in enumerate(structures):
        by_formula[structure.composition.element_composition.reduced_formula].append(i)
    for indices in by_formula.values():
        if len(indices) == 1:
            continue
        kept: dict[int, list[_Cell]] = defaultdict(list)
        for i in indices:
            cell = _reduced_cell(i, structures[i])
            if cell is None:
                continue
            earlier = kept[len(cell.structure)]
            same = next((other for other in earlier if _match(matcher, other, cell)), None)
            if same is None:
                earlier.append(cell)
            else:
                duplicate_of[i] = same.index
    return duplicate_of


@dataclass(frozen=True)
class _Cell:
    """A primitive Niggli cell; `lengths` are sorted and of a cell of unit volume."""

    index: int
    structure: Structure
    lengths: np.ndarray


def _reduced_cell(index: int, structure: Structure) -> _Cell | None:
    """Reduce a cell as StructureMatcher does; None where that fails, and so would the matcher."""
    lattice = structure.lattice
    longest = max(lattice.get_lll_reduced_lattice().lengths)
    heights = 1 / np.array(lattice.reciprocal_lattice_crystallographic.lengths)
    if np.prod(2 * longest / heights + 1) > MAX_LATTICE_POINTS:
        return None
    try:
        niggli = structure.get_reduced_structure(reduction_algo="niggli")
        cell = niggli.get_primitive_structure()
    except (ValueError, ArithmeticError, RuntimeError):
        return None
    return _Cell(index, cell, np.sort(cell.lattice.lengths) / cell.volume ** (1 / 3))


def _match(matcher: StructureMatcher, first: _Cell, second: _Cell) -> bool:
    # The matcher looks for a basis of the first lattice whose vectors are as long as those of the
    # second, within ltol. The lengths of a Niggli cell are the shortest any basis can have, so
    # there is none if one of them is longer already. Needles and plates, over whose lattice points
    # the matcher would loop for minutes, end here.
    if (first.lengths > second.lengths * (1 + LENGTH_TOLERANCE) * 1.001).any():
        return False
    try:
        return bool(matcher.fit(first.structure, second.structure, skip_structure_reduction=True))
    except (ValueError, ArithmeticError, RuntimeError):
        return False  # what the matcher cannot compare is no proven duplicate

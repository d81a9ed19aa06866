"""Structures that are the same crystal as an earlier one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pymatgen.core import Structure

from crystens_flows.screening.matching import CrystalIndex
from crystens_flows.screening.reduced_cell import reduce_cell


def find_duplicates(structures: Sequence[Structure]) -> list[int | None]:
    """
    Find the structures that are the same crystal as an earlier one.

    pymatgen's StructureMatcher, with its default tolerances, decides. A structure is compared with
    the earlier ones that were kept, in their order, so the first of each crystal stays, as
    `StructureMatcher.group_structures` has it. Only those that can match at all are compared: of
    the same reduced formula, and see :class:`~crystens_flows.screening.matching.CrystalIndex`.

    Parameters
    ----------
    structures
        The structures, in an order that means something: the first of equal ones is kept.

    Returns
    -------
    list of int or None
        For each structure the index of the earlier one it equals, or None.
    """
    duplicate_of: list[int | None] = [None] * len(structures)
    by_formula: dict[str, list[int]] = defaultdict(list)
    for i, structure in enumerate(structures):
        by_formula[structure.composition.element_composition.reduced_formula].append(i)
    for indices in by_formula.values():
        if len(indices) == 1:
            continue
        kept = CrystalIndex()
        for i in indices:
            cell = reduce_cell(structures[i])
            if cell is None:
                continue
            duplicate_of[i] = kept.find(cell)
            if duplicate_of[i] is None:
                kept.add(cell, i)
    return duplicate_of

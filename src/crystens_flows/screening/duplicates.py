"""Structures that are the same crystal as an earlier one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

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
        by_formula[reduced_formula(structure)].append(i)
    for indices in by_formula.values():
        if len(indices) > 1:
            found = first_equals(structures[i] for i in indices)
            for i, first in zip(indices, found, strict=True):
                duplicate_of[i] = None if first is None else indices[first]
    return duplicate_of


def first_equals(structures: Iterable[Structure]) -> list[int | None]:
    """
    Find duplicates among structures of one reduced formula; see :func:`find_duplicates`.

    Parameters
    ----------
    structures
        The structures, which may be made one at a time: only what the comparison needs is kept,
        and that of the first of equal ones only.

    Returns
    -------
    list of int or None
        For each structure the index of the earlier one it equals, or None.
    """
    duplicate_of: list[int | None] = []
    kept = CrystalIndex()
    for i, structure in enumerate(structures):
        cell = reduce_cell(structure)
        first = None if cell is None else kept.find(cell)
        duplicate_of.append(first)
        if cell is not None and first is None:
            kept.add(cell, i)
    return duplicate_of


def reduced_formula(structure: Structure) -> str:
    """Return the formula that equal crystals share: elements alone, without oxidation states."""
    return str(structure.composition.element_composition.reduced_formula)

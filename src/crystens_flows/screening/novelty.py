"""Which structures are crystals that are known already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from pymatgen.core import Structure

from crystens_flows.datasets import Dataset, shipped
from crystens_flows.errors import InputError
from crystens_flows.screening.matching import CrystalIndex
from crystens_flows.screening.reduced_cell import reduce_cell


class KnownCrystals:
    """
    Known crystals, to be asked whether a structure is one of them.

    pymatgen's StructureMatcher, with its default tolerances, decides, as for duplicates. Of the
    known crystals only those of a formula that is asked for are made, once, when it first is.

    Parameters
    ----------
    ids
        What each known crystal is called.
    formulas
        The reduced formula of each, as pymatgen writes it.
    structure
        Makes the structure of one by its position.

    Raises
    ------
    InputError
        If there is not one formula for each id.
    """

    def __init__(
        self,
        ids: Sequence[str],
        formulas: Sequence[str],
        structure: Callable[[int], Structure],
    ) -> None:
        if len(ids) != len(formulas):
            raise InputError(f"{len(ids)} ids and {len(formulas)} formulas: give as many of each")
        self._ids = list(ids)
        self._structure = structure
        self._rows: dict[str, list[int]] = defaultdict(list)
        for row, formula in enumerate(formulas):
            self._rows[formula].append(row)
        self._indices: dict[str, CrystalIndex] = {}

    @classmethod
    def from_dataset(cls, dataset: Dataset | None = None) -> KnownCrystals:
        """
        Take all crystals of a data set.

        Parameters
        ----------
        dataset
            The data set; by default the one that ships, with all its splits.

        Returns
        -------
        KnownCrystals
            By material id; no structure is made yet.
        """
        if dataset is None:
            dataset = shipped()
        return cls(dataset.material_ids, dataset.reduced_formulas, dataset.structure)

    @classmethod
    def from_structures(cls, ids: Sequence[str], structures: Sequence[Structure]) -> KnownCrystals:
        """
        Take structures.

        Parameters
        ----------
        ids
            What each is called.
        structures
            The structures, in the same order.

        Returns
        -------
        KnownCrystals
            The first of equal ones is the one that is found.

        Raises
        ------
        InputError
            If there is not one structure for each id.
        """
        formulas = [_formula(structure) for structure in structures]
        return cls(ids, formulas, structures.__getitem__)

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, structures: Sequence[Structure]) -> list[str | None]:
        """
        Find the known crystal that each structure equals.

        Parameters
        ----------
        structures
            The structures.

        Returns
        -------
        list of str or None
            For each the id of the first known crystal that it matches; None for a new one, and
            for cells that have collapsed, which match nothing.
        """
        found = []
        for structure in structures:
            formula = _formula(structure)
            cell = reduce_cell(structure) if formula in self._rows else None
            found.append(None if cell is None else self._index(formula).find(cell))
        return found

    def _index(self, formula: str) -> CrystalIndex:
        if formula not in self._indices:
            index = CrystalIndex()
            for row in self._rows[formula]:
                cell = reduce_cell(self._structure(row))
                if cell is not None:
                    index.add(cell, self._ids[row])
            self._indices[formula] = index
        return self._indices[formula]


def _formula(structure: Structure) -> str:
    return structure.composition.element_composition.reduced_formula

"""Cells of crystals in which ions were replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crystens_flows.generators.substitution.drawing import Substitution
from crystens_flows.generators.substitution.ions import IonTable
from crystens_flows.generators.substitution.templates import SYMPREC, Crystals, Roles

LATTICE_DECIMALS = 6


@dataclass(frozen=True)
class Cells:
    """
    Cells that were made.

    Parameters
    ----------
    numbers
        Atomic numbers, zero after the last site, shape (n, 52).
    frac_coords
        Fractional coordinates, shape (n, 52, 3).
    lattice
        Lattice parameters in Angstrom and degrees, shape (n, 6).
    space_groups
        Space group numbers, shape (n,).
    """

    numbers: np.ndarray
    frac_coords: np.ndarray
    lattice: np.ndarray
    space_groups: np.ndarray

    def has_group(self, index: int) -> bool:
        """Tell whether a cell has the space group of its template, and no more symmetry."""
        import spglib
        from pymatgen.core import Lattice

        n = int((self.numbers[index] > 0).sum())
        matrix = Lattice.from_parameters(*self.lattice[index]).matrix
        cell: Any = (matrix, self.frac_coords[index, :n], self.numbers[index, :n])
        found = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
        return found is not None and found.number == self.space_groups[index]


def replaced_cells(
    substitutions: Sequence[Substitution],
    crystals: Crystals,
    roles: Roles,
    table: IonTable,
    volumes: np.ndarray,
) -> Cells:
    """
    Put ions in the roles of templates, and scale the cells.

    The volume is the template's, times the ratio of the sums of the elements' volumes.

    Parameters
    ----------
    substitutions
        Templates and ions.
    crystals, roles
        The templates.
    table
        The ions.
    volumes
        Volume of each element in A^3, shape (101,).

    Returns
    -------
    Cells
        In the same order.
    """
    templates = np.array([each.template for each in substitutions], dtype=np.int64)
    before = crystals.numbers[templates].astype(np.int64)
    after = np.zeros_like(before)
    for k, each in enumerate(substitutions):
        new = np.zeros(len(volumes), dtype=np.int64)
        new[table.numbers[roles.ions[each.template]]] = table.numbers[each.ions]
        after[k] = new[before[k]]
    present = before > 0
    old_volume, new_volume = ((volumes[z] * present).sum(1) for z in (before, after))
    lattice = crystals.lattice[templates].astype(float)
    lattice[:, :3] *= np.cbrt(new_volume / old_volume)[:, None]
    return Cells(
        after,
        crystals.frac_coords[templates].astype(float),
        np.round(lattice, LATTICE_DECIMALS),
        crystals.space_groups[templates].astype(np.int64),
    )

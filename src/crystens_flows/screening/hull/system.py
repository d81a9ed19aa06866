"""The hull of one chemical system over some entries of a reference."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystens_flows.screening.hull.geometry import LowerHull

if TYPE_CHECKING:
    from crystens_flows.screening.hull.reference import HullReference

MIN_AMOUNT = 1e-8
"""Phases that hold a smaller fraction of the atoms are no part of a decomposition."""


class SystemHull:
    """
    The hull of one chemical system, elements at zero included.

    Parameters
    ----------
    reference
        The entries.
    system
        The atomic numbers of the system, in ascending order.
    excluded
        Rows of the reference that are left out.
    """

    def __init__(
        self,
        reference: HullReference,
        system: tuple[int, ...],
        excluded: Set[int] = frozenset(),
    ) -> None:
        rows = reference.rows_in(system)
        rows = rows[~np.isin(rows, list(excluded))]
        self._compounds = frozenset(rows[(reference.numbers[rows] > 0).sum(axis=1) > 1].tolist())
        # above zero nothing can be on the hull
        rows = rows[reference.energies[rows] <= 0]
        fractions = (
            (reference.numbers[rows][:, :, None] == np.array(system))
            * reference.fractions[rows][:, :, None]
        ).sum(axis=1)
        missing = [i for i in range(len(system)) if not (fractions[:, i] == 1.0).any()]
        self._rows = np.concatenate([-np.array(system)[missing], rows]).astype(np.int64)
        self._lower = LowerHull(
            np.concatenate([np.eye(len(system))[missing], fractions]),
            np.concatenate([np.zeros(len(missing)), reference.energies[rows]]),
        )
        self._corners = frozenset(self._rows[np.unique(self._lower.facets)].tolist())

    def changes_without(self, excluded: Set[int]) -> bool:
        """Tell whether leaving out some more rows can change the hull."""
        if not excluded:
            return False
        return not self._lower.has_facets or not self._corners.isdisjoint(excluded)

    def n_compounds(self, excluded: Set[int] = frozenset()) -> int:
        """Count the entries other than elements, less some more rows."""
        return len(self._compounds) - len(self._compounds & excluded)

    def at(
        self, fractions: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], list[list[tuple[int, float]]]]:
        """
        Find the hull at some compositions.

        Parameters
        ----------
        fractions
            Fractions of atoms in the order of the system, shape ``(n, elements)``.

        Returns
        -------
        tuple
            The energies in eV/atom, shape ``(n,)``, and for each composition the rows that mix
            with their fractions of the atoms, the largest first; an element without an entry
            stands as minus its atomic number.
        """
        energies, points, amounts = self._lower.decompose(fractions)
        mixtures = []
        for rows, shares in zip(self._rows[points].tolist(), amounts.tolist(), strict=True):
            mixture = [
                (row, share) for row, share in zip(rows, shares, strict=True) if share > MIN_AMOUNT
            ]
            mixtures.append(sorted(mixture, key=lambda pair: (-round(pair[1], 9), pair[0])))
        return energies, mixtures

"""The lower convex hull of energies over compositions, as facets or as a linear programme."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_FACET_ELEMENTS = 5
"""With more elements than this there are too many facets; each candidate is solved by itself."""

TOLERANCE = 1e-9
"""Of energies in eV/atom and of fractions of atoms."""

_MIN_DETERMINANT = 1e-13
_CHUNK = 4_000_000


class LowerHull:
    """
    The lower hull of points (composition, energy) of one chemical system.

    The energy of the hull at a composition is the lowest energy of any mixture of the points with
    that composition. Up to five elements the facets are found once, by Qhull, and proven: a facet
    is kept only if no point lies below its plane, so that a composition inside it has the energy of
    its plane and decomposes into its corners (duality of linear programmes). Where no kept facet
    holds a composition, as for more elements, HiGHS solves the linear programme.

    Parameters
    ----------
    fractions
        Fractions of atoms, shape ``(points, elements)``, rows summing to one; every element alone
        is among the points.
    energies
        In eV/atom, shape ``(points,)``.
    """

    def __init__(self, fractions: NDArray[np.float64], energies: NDArray[np.float64]) -> None:
        self.fractions = fractions
        self.energies = energies
        n_elements = fractions.shape[1]
        if n_elements == 1:
            facets = np.array([[np.argmin(energies)]])
        elif n_elements <= MAX_FACET_ELEMENTS:
            facets = _lower_facets(fractions, energies)
        else:
            facets = np.empty((0, n_elements), dtype=np.int64)
        # a facet without area holds nothing
        facets = facets[np.abs(np.linalg.det(fractions[facets])) > _MIN_DETERMINANT]
        inverses = np.linalg.inv(fractions[facets])
        potentials = np.einsum("fij,fj->fi", inverses, energies[facets])
        proven = (fractions @ potentials.T <= energies[:, None] + TOLERANCE).all(axis=0)
        self.facets = facets[proven]
        self._inverses = inverses[proven]

    @property
    def has_facets(self) -> bool:
        """Whether the facets are known."""
        return len(self.facets) > 0

    def decompose(
        self, fractions: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """
        Find the mixture of least energy for each composition.

        Parameters
        ----------
        fractions
            Fractions of atoms, shape ``(n, elements)``, rows summing to one.

        Returns
        -------
        tuple
            The energies of the hull in eV/atom, shape ``(n,)``; the points that mix and the
            fraction of all atoms in each, both of shape ``(n, elements)``, zero for points that
            take no part.
        """
        n, k = fractions.shape
        corners = np.zeros((n, k), dtype=np.int64)
        amounts = np.zeros((n, k))
        unsolved = np.ones(n, dtype=bool)
        step = max(1, _CHUNK // max(1, self._inverses.size))
        for start in range(0, n if self.has_facets else 0, step):
            part = slice(start, start + step)
            shares = np.einsum("ni,fij->nfj", fractions[part], self._inverses)
            inside = shares.min(axis=2) >= -TOLERANCE
            first = inside.argmax(axis=1)
            corners[part] = self.facets[first]
            amounts[part] = shares[np.arange(len(first)), first]
            mixed = np.einsum("nj,nji->ni", amounts[part], self.fractions[corners[part]])
            unsolved[part] = ~inside.any(axis=1) | (
                np.abs(mixed - fractions[part]).max(axis=1) > TOLERANCE
            )
        for i in np.flatnonzero(unsolved):
            corners[i], amounts[i] = self._programme(fractions[i])
        # the share of a corner opposite to a composition's edge is zero but for rounding
        return (amounts * self.energies[corners]).sum(axis=1), corners, np.maximum(amounts, 0.0)

    def _programme(
        self, fractions: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        from scipy.optimize import linprog

        found = linprog(
            self.energies,
            A_eq=self.fractions.T,
            b_eq=fractions,
            method="highs-ds",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        if found.status != 0:
            raise RuntimeError(f"the hull was not solved: {found.message}")
        # a vertex of the programme has no more points than there are elements
        corners = np.argsort(-found.x, kind="stable")[: len(fractions)]
        return corners, found.x[corners]


def _lower_facets(
    fractions: NDArray[np.float64], energies: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the corners of the facets that face downwards, shape ``(facets, elements)``."""
    from scipy.spatial import ConvexHull, QhullError

    n, k = fractions.shape
    points = np.column_stack([fractions[:, 1:], energies])
    # one point above all the others gives the hull a volume whatever the energies are
    above = np.append(np.full(k - 1, 1.0 / k), energies.max() + 1.0)
    try:
        hull = ConvexHull(np.vstack([points, above]))
    except QhullError:
        return np.empty((0, k), dtype=np.int64)
    facing_down = hull.equations[:, -2] < 0
    facets = hull.simplices[facing_down & (hull.simplices < n).all(axis=1)]
    return facets.astype(np.int64)

"""The hull as a linear programme, solved for many candidates at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-10
"""No point lies further below the plane of a solution than this, in eV/atom."""

MAX_STEPS = 100
"""Candidates that take more steps, should there be any, are solved by HiGHS."""

_MIN_PIVOT = 1e-9
_TIE = 1e-12


def lowest_mixtures(
    points: NDArray[np.float64],
    energies: NDArray[np.float64],
    systems: NDArray[np.int64],
    fractions: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """
    Find the mixture of points of least energy at given compositions.

    That energy is the lower convex hull of the points. The simplex method starts from the elements
    and exchanges, for all candidates together, one corner of the mixture a step for the point
    that lies lowest below the plane through the corners; it ends when no point lies below. This
    proves the solution (duality), whatever way led to it. Making the facets of each system with
    Qhull takes about as long as pymatgen's ``PhaseDiagram``, since most systems have few
    candidates.

    Parameters
    ----------
    points
        Fractions of atoms of the points of each system, shape ``(systems, points, elements)``; the
        first are the elements, in order.
    energies
        In eV/atom as each candidate meets them, shape ``(n, points)``: finite for the elements,
        infinite for points that it is not held against and where a system has fewer.
    systems
        The system of each candidate, shape ``(n,)``.
    fractions
        The compositions of the candidates, shape ``(n, elements)``, rows summing to one.

    Returns
    -------
    tuple
        The corners as places among the points, and the fraction of all atoms in each; both of
        shape ``(n, elements)``.
    """
    n, k = fractions.shape
    corners = np.tile(np.arange(k), (n, 1))
    amounts = fractions.copy()
    active = np.arange(n)
    for _ in range(MAX_STEPS):
        ours, system = np.arange(len(active)), systems[active]
        inverses = np.linalg.inv(points[system[:, None], corners[active]])
        amounts[active] = np.einsum("ni,nij->nj", fractions[active], inverses)
        levels = energies[active]
        planes = np.einsum("nij,nj->ni", inverses, levels[ours[:, None], corners[active]])
        heights = levels - np.einsum("npi,ni->np", points[system], planes)
        entering = heights.argmin(axis=1)
        below = heights[ours, entering] < -TOLERANCE
        if not below.any():
            return corners, np.maximum(amounts, 0.0)
        active, ours, entering = active[below], ours[below], entering[below]
        pivots = np.einsum("ni,nij->nj", points[systems[active], entering], inverses[ours])
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.where(pivots > _MIN_PIVOT, np.maximum(amounts[active], 0.0) / pivots, np.inf)
        # among corners that would vanish together, that of the largest pivot
        vanishing = steps <= steps.min(axis=1, keepdims=True) + _TIE
        leaving = np.where(vanishing, pivots, -np.inf).argmax(axis=1)
        corners[active, leaving] = entering
    for i in active:
        corners[i], amounts[i] = _solve_one(points[systems[i]], energies[i], fractions[i])
    return corners, np.maximum(amounts, 0.0)


def _solve_one(
    points: NDArray[np.float64], energies: NDArray[np.float64], fractions: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    from scipy.optimize import linprog

    known = np.flatnonzero(np.isfinite(energies))
    found = linprog(
        energies[known],
        A_eq=points[known].T,
        b_eq=fractions,
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if found.status != 0:
        raise RuntimeError(f"the hull was not found: {found.message}")
    # a vertex of the programme has no more points than there are elements
    corners = np.argsort(-found.x, kind="stable")[: len(fractions)]
    return known[corners], found.x[corners]

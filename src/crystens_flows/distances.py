"""Atoms that are too close to one another."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

MIN_DISTANCE = 0.5
"""Atoms nearer than this, in Angstrom, overlap: no crystal."""


def plane_spacings(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the distances, in Angstrom, between opposite faces of a cell, shape ``(3,)``."""
    return 1.0 / np.linalg.norm(np.linalg.inv(matrix), axis=0)


def shortest_distance(frac_coords: NDArray[np.float64], matrix: NDArray[np.float64]) -> float:
    """
    Find the shortest distance between atoms, periodic images included, where atoms overlap.

    Parameters
    ----------
    frac_coords
        Fractional coordinates, shape ``(n, 3)``.
    matrix
        Lattice vectors as rows, in Angstrom; they enclose a volume.

    Returns
    -------
    float
        The shortest distance in Angstrom where it is under :data:`MIN_DISTANCE`, else at least
        that. In a lattice with so short a vector, the length of that vector.
    """
    from pymatgen.core import Lattice

    # without thin or slanted cells, hardly any image is within MIN_DISTANCE
    lattice = Lattice(matrix).get_lll_reduced_lattice()
    if min(lattice.abc) < MIN_DISTANCE:
        return float(min(lattice.abc))
    coords = lattice.get_fractional_coords(frac_coords @ matrix)
    difference = coords[:, None] - coords[None]
    difference -= np.round(difference)
    reach = np.floor(0.5 + MIN_DISTANCE / plane_spacings(lattice.matrix)).astype(int)
    shortest = np.inf
    for image in product(*(range(-r, r + 1) for r in reach)):
        vectors = (difference + image) @ lattice.matrix
        squares = np.einsum("ijx,ijx->ij", vectors, vectors)
        if not any(image):
            np.fill_diagonal(squares, np.inf)
        shortest = min(shortest, squares.min())
    return float(np.sqrt(shortest))

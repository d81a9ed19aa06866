"""What the viewer of a page draws of a structure."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

FACE_TOLERANCE = 0.01
"""So near to a face, as a fraction of the cell, an atom is drawn on the opposite one too."""


def scene(structure: Structure) -> dict[str, Any]:
    """
    Say what is drawn of a structure: its cell, the atoms in and on it, and where it is seen from.

    Parameters
    ----------
    structure
        The structure.

    Returns
    -------
    dict
        ``atoms`` as element and Cartesian coordinates in angstrom, around the centre of the cell;
        ``cell`` as three vectors; ``views`` as the quaternions (x, y, z, w) that turn the axes a,
        b and c towards the eye, and one between them.
    """
    matrix = np.asarray(structure.lattice.matrix, dtype=float)
    centre = matrix.sum(axis=0) / 2
    atoms = [
        [site.specie.symbol, *np.round(image @ matrix - centre, 3).tolist()]
        for site in structure
        for image in _images(np.asarray(site.frac_coords, dtype=float))
    ]
    return {"atoms": atoms, "cell": np.round(matrix, 4).tolist(), "views": _views(matrix)}


def _images(place: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return where a site is in a cell that shows its faces, edges and corners on all sides."""
    place = place % 1.0
    place = np.where(place > 1 - FACE_TOLERANCE, place - 1, place)
    shifts = [(0, 1) if abs(each) < FACE_TOLERANCE else (0,) for each in place]
    return [place + np.array(shift) for shift in product(*shifts)]


def _views(matrix: NDArray[np.float64]) -> dict[str, list[float]]:
    a, b, c = (vector / np.linalg.norm(vector) for vector in matrix)
    looks = {"a": (a, c), "b": (b, c), "c": (c, b), "start": (a + 0.55 * b + 0.35 * c, c)}
    return {name: _turned(towards, up) for name, (towards, up) in looks.items()}


def _turned(towards: NDArray[np.float64], up: NDArray[np.float64]) -> list[float]:
    """Return the rotation after which one vector points to the eye and another one upwards."""
    from scipy.spatial.transform import Rotation

    z = towards / np.linalg.norm(towards)
    y = up - (up @ z) * z
    y /= np.linalg.norm(y)
    quaternion: NDArray[np.float64] = Rotation.from_matrix([np.cross(y, z), y, z]).as_quat()
    return np.round(quaternion, 6).tolist()

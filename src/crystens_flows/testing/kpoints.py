"""The k-points of a mesh, as VASP lists them: one of each set that symmetry makes equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray


def irreducible(
    atoms: Any, scheme: str, mesh: tuple[int, int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Return the irreducible points of a mesh and their weights.

    Parameters
    ----------
    atoms
        The structure.
    scheme
        ``"Gamma"`` or ``"Monkhorst-Pack"``, which for even divisions leaves out Gamma.
    mesh
        The divisions.

    Returns
    -------
    points, weights
        Shapes ``(n, 3)``, fractional, and ``(n,)``, adding to 1.
    """
    shift = [int(scheme != "Gamma" and n % 2 == 0) for n in mesh]
    cell = (atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.get_ir_reciprocal_mesh(mesh, cell, is_shift=shift)
    if found is None:  # spglib finds no symmetry in cells that are far from any crystal
        grid = np.array(list(np.ndindex(*mesh)))
        kept, counts = np.arange(len(grid)), np.ones(len(grid))
    else:
        kept, counts = np.unique(found[0], return_counts=True)
        grid = found[1]
    points = (grid[kept] + np.array(shift) / 2) / np.array(mesh)
    return points - np.round(points), counts / counts.sum()

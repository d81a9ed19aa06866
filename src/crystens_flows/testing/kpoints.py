"""K-points: read from KPOINTS, and those of a mesh as VASP lists them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray

from crystens_flows.errors import InputError


@dataclass(frozen=True)
class Mesh:
    """
    A mesh without a shift.

    Parameters
    ----------
    scheme
        ``"Gamma"`` or ``"Monkhorst-Pack"``, which for even divisions leaves out Gamma.
    divisions
        Along the three axes.
    """

    scheme: str
    divisions: tuple[int, int, int]


@dataclass(frozen=True)
class PointList:
    """
    Points one by one, as of a line through the zone.

    Parameters
    ----------
    points, weights
        Shapes ``(n, 3)``, fractional, and ``(n,)``, adding to 1.
    """

    points: NDArray[np.float64]
    weights: NDArray[np.float64]


def read_kpoints(text: str) -> Mesh | PointList:
    """
    Read a KPOINTS file.

    Parameters
    ----------
    text
        Its text.

    Returns
    -------
    Mesh or PointList
        What it says.

    Raises
    ------
    InputError
        If it is neither a mesh without a shift nor a list of fractional points.
    """
    lines = text.splitlines()
    kind = "".join(lines[2:3]).strip()[:1].lower()
    scheme = {"g": "Gamma", "m": "Monkhorst-Pack"}.get(kind)
    try:
        number = int(lines[1].split()[0])
        if number > 0 and kind == "r":
            words = [line.split()[:4] for line in lines[3 : 3 + number]]
            rows = np.array([[float(each) for each in row] for row in words])
            if rows.shape != (number, 4) or not np.isfinite(rows).all() or rows[:, 3].sum() <= 0:
                raise ValueError
            return PointList(rows[:, :3], rows[:, 3] / rows[:, 3].sum())
        shift = [float(each) for each in lines[4].split()[:3]] if len(lines) > 4 else []
        x, y, z = (int(each) for each in lines[3].split()[:3])
        if scheme is None or number != 0 or any(shift) or min(x, y, z) < 1:
            raise ValueError
    except (ValueError, IndexError):
        raise InputError(
            "KPOINTS: the stand-in reads Gamma and Monkhorst-Pack meshes without a shift, and "
            "lists of fractional points, only"
        ) from None
    return Mesh(scheme, (x, y, z))


def mesh_of_spacing(spacing: float, reciprocal: Any) -> Mesh:
    """
    Return the mesh that VASP takes where there is no KPOINTS.

    Parameters
    ----------
    spacing
        KSPACING, 1/A.
    reciprocal
        Reciprocal vectors without 2 pi, shape ``(3, 3)``.
    """
    lengths: NDArray[np.float64] = 2 * math.pi * np.linalg.norm(reciprocal, axis=1)
    x, y, z = (max(1, math.ceil(length / spacing)) for length in lengths)
    return Mesh("Gamma", (x, y, z))


def irreducible(atoms: Any, mesh: Mesh) -> PointList:
    """
    Return the points of a mesh, one of each set that symmetry makes equal.

    Parameters
    ----------
    atoms
        The structure.
    mesh
        The mesh.
    """
    shift = [int(mesh.scheme != "Gamma" and n % 2 == 0) for n in mesh.divisions]
    cell = (atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.get_ir_reciprocal_mesh(mesh.divisions, cell, is_shift=shift)
    if found is None:  # spglib finds no symmetry in cells that are far from any crystal
        grid = np.array(list(np.ndindex(*mesh.divisions)))
        kept, counts = np.arange(len(grid)), np.ones(len(grid))
    else:
        kept, counts = np.unique(found[0], return_counts=True)
        grid = found[1]
    points = (grid[kept] + np.array(shift) / 2) / np.array(mesh.divisions)
    return PointList(points - np.round(points), counts / counts.sum())

"""The space group of a cell, from spglib."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import spglib

SYMPREC = 0.01
"""Tolerance of the space group search, angstrom: pymatgen's default."""

ANGLE_TOLERANCE = 5.0
"""Tolerance of the space group search, degree: pymatgen's default."""


def find_space_group(
    matrix: np.ndarray, frac_coords: np.ndarray, numbers: Sequence[int]
) -> int | None:
    """
    Find the space group that a CrysTens of a cell holds.

    Parameters
    ----------
    matrix
        Lattice vectors as rows, angstrom, shape (3, 3).
    frac_coords
        Fractional coordinates, shape (n, 3).
    numbers
        Atomic numbers.

    Returns
    -------
    int or None
        Its number at 0.01 angstrom and 5 degrees; None where spglib finds none.
    """
    dataset = symmetry_dataset(matrix, frac_coords, numbers, SYMPREC, ANGLE_TOLERANCE)
    return None if dataset is None else int(dataset.number)


def symmetry_dataset(
    matrix: np.ndarray,
    frac_coords: np.ndarray,
    numbers: Sequence[int] | np.ndarray,
    symprec: float,
    angle_tolerance: float = -1.0,
) -> Any:
    """
    Ask spglib for the symmetry of a cell.

    Parameters
    ----------
    matrix, frac_coords, numbers
        As for :func:`find_space_group`.
    symprec
        Distance within which positions count as equivalent, angstrom.
    angle_tolerance
        Tolerance of angles, degree; -1 for spglib's own, which follows from ``symprec``.

    Returns
    -------
    spglib.SpglibDataset or None
        None where spglib finds no symmetry, as where atoms overlap within the tolerance.
    """
    cell: Any = (matrix, frac_coords, numbers)
    with quiet_spglib():
        try:
            return spglib.get_symmetry_dataset(cell, symprec, angle_tolerance)
        except spglib.SpglibError:
            return None


@contextmanager
def quiet_spglib() -> Iterator[None]:
    """Keep spglib, which tells of each tolerance it gives up, from writing to standard error."""
    before = os.environ.get("SPGLIB_WARNING")
    os.environ["SPGLIB_WARNING"] = "OFF"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            del os.environ["SPGLIB_WARNING"]
        else:
            os.environ["SPGLIB_WARNING"] = before

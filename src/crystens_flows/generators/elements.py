"""Chemical features of the elements that the networks start from."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np

MAX_Z = 100
"""Largest atomic number the networks know."""

MAX_ELEMENTS = 9
"""Most elements of a crystal that is generated."""


def element_features() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Tabulate group, period and three scaled properties by atomic number.

    Returns
    -------
    tuple
        Groups and periods, int64 of shape (101,), and electronegativity (Pauling), atomic radius
        and atomic number, each shifted and scaled to order one, float32 of shape (101, 3). Row 0
        stands for no atom. The tables are stored with the weights.
    """
    from pymatgen.core import Element

    groups = np.zeros(MAX_Z + 1, dtype=np.int64)
    periods = np.zeros(MAX_Z + 1, dtype=np.int64)
    properties = np.zeros((MAX_Z + 1, 3), dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for z in range(1, MAX_Z + 1):
            element = Element.from_Z(z)
            groups[z], periods[z] = element.group, element.row
            electronegativity = element.X if np.isfinite(element.X) else 1.3
            radius = float(element.atomic_radius or 1.5)
            properties[z] = (electronegativity - 1.8, radius - 1.4, (z - 40) / 30)
    return groups, periods, properties


@cache
def electronegativity_order() -> np.ndarray:
    """
    Rank the elements by electronegativity, ties by atomic number.

    Returns
    -------
    numpy.ndarray
        Rank of each atomic number, int64 of shape (101,); 0 for no atom.
    """
    electronegativity = element_features()[2][:, 0].astype(np.float64)
    electronegativity += 1e-4 * np.arange(MAX_Z + 1)
    electronegativity[0] = -np.inf
    return np.argsort(np.argsort(electronegativity))


def crystal_systems() -> np.ndarray:
    """
    Tabulate the crystal system of each space group number.

    Returns
    -------
    numpy.ndarray
        1 (triclinic) to 7 (cubic), int64 of shape (231,); 0 for space group 0 (none stated).
    """
    systems = np.zeros(231, dtype=np.int64)
    for system, first in enumerate((1, 3, 16, 75, 143, 168, 195), start=1):
        systems[first:] = system
    return systems

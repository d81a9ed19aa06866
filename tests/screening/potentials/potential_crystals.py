"""What the tests of the potentials ask about."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.screening.potentials import POTENTIALS, available_potentials

NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name not in available_potentials(), reason=f"{package} is not installed"
        ),
    )
    for name, package in POTENTIALS.items()
]


def rock_salt() -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    ).get_primitive_structure()


def grid(edge: float, n: int, filled: float) -> Structure:
    """Sodium on n^3 points that fill a part of the edges of a cube."""
    points = np.stack(np.meshgrid(*[np.arange(n) / n * filled] * 3), axis=-1).reshape(-1, 3)
    return Structure(Lattice.cubic(edge), ["Na"] * len(points), points)


def odd_cells() -> dict[str, tuple[Structure, str | None]]:
    """Structures at the limits, with the kind of reason each has; None for an energy."""
    cubic = Lattice.cubic
    return {
        "one atom": (
            Structure(Lattice.from_parameters(2.55, 2.55, 2.55, 60, 60, 60), ["Cu"], [[0] * 3]),
            None,
        ),
        "noble gas": (
            Structure.from_spacegroup("Fm-3m", cubic(6.3), ["Xe"], [[0] * 3]),
            None,
        ),
        "no reference": (
            Structure.from_spacegroup("Fm-3m", cubic(5.3), ["Ar"], [[0] * 3]),
            "element without a reference energy",
        ),
        "unknown element": (
            Structure(cubic(4), ["Og"], [[0] * 3]),
            "element unknown to the potential",
        ),
        "dummy species": (
            Structure(cubic(4), ["X"], [[0] * 3]),
            "no element",
        ),
        "isolated": (Structure(cubic(9), ["Na"], [[0] * 3]), "isolated site"),
        "one isolated": (
            Structure(cubic(20), ["Na", "Cl", "Na"], [[0] * 3, [0.12, 0, 0], [0.5] * 3]),
            "isolated site",
        ),
        "overlapping": (
            Structure(cubic(4), ["Na", "O"], [[0, 0, 0], [0, 0, 0.01]]),
            "sites too close",
        ),
        "needle": (
            Structure(Lattice.from_parameters(0.6, 60, 60, 90, 90, 90), ["Na"], [[0] * 3]),
            "atoms overlap",
        ),
        "1,008 sites": (
            Structure.from_spacegroup("Fm-3m", cubic(4.09), ["Ag"], [[0] * 3]) * (6, 6, 7),
            None,
        ),
        "heaped": (grid(20, 10, 0.3), "too many neighbours"),
        "dense": (grid(6, 10, 1), "density out of range"),
        "empty": (
            Structure(cubic(3e5), ["Na", "Cl"], [[0] * 3, [1e-5, 0, 0]]),
            "density out of range",
        ),
        "slanted": (
            Structure(Lattice([[4, 0, 0], [4000, 4, 0], [4000, 4000, 4]]), ["Na"], [[0] * 3]),
            None,
        ),
        "disordered": (Structure(cubic(4), [{"Na": 0.5, "K": 0.5}], [[0] * 3]), "disordered sites"),
        "not a number": (
            Structure(cubic(4), ["Na"], [[np.nan, 0, 0]]),
            "lattice or coordinates are not finite",
        ),
        "charged": (Structure(cubic(2.9), ["Na+", "Cl-"], [[0] * 3, [0.5] * 3]), None),
    }

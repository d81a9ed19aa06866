from __future__ import annotations

from functools import cache

import pytest
from pymatgen.core import Lattice, Structure


@cache
def crystals() -> dict[str, Structure]:
    """Real crystals, small, of every kind that has its own difficulty."""
    quartz = Structure.from_spacegroup(
        "P3_221",
        Lattice.hexagonal(4.916, 5.405),
        ["Si", "O"],
        [[0.4697, 0, 0], [0.4135, 0.2669, 0.1191]],
    )
    return {
        "copper, one site, angles of 60": Structure(
            Lattice.from_parameters(2.556, 2.556, 2.556, 60, 60, 60), ["Cu"], [[0, 0, 0]]
        ),
        "bismuth, angles of 57": Structure(
            Lattice.from_parameters(4.745, 4.745, 4.745, 57.23, 57.23, 57.23),
            ["Bi", "Bi"],
            [[0.2339] * 3, [0.7661] * 3],
        ),
        "rock salt": Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        ),
        "perovskite": Structure.from_spacegroup(
            "Pm-3m",
            Lattice.cubic(3.905),
            ["Sr", "Ti", "O"],
            [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]],
        ),
        "quartz": quartz,
        "quartz, outside the cell": Structure(
            quartz.lattice, quartz.species, quartz.frac_coords - [0.5, 1.2, -0.7]
        ),
        "hydrogen cyanide": Structure.from_spacegroup(
            "I4mm",
            Lattice.tetragonal(4.63, 4.34),
            ["H", "C", "N"],
            [[0, 0, -0.245], [0, 0, 0], [0, 0, 0.265]],
        ),
        "gahnite, 42 sites of a cell of 56": _first_sites(
            Structure.from_spacegroup(
                "Fd-3m",
                Lattice.cubic(8.086),
                ["Zn", "Al", "O"],
                [[0.125, 0.125, 0.125], [0.5, 0.5, 0.5], [0.2636, 0.2636, 0.2636]],
            ),
            42,
        ),
        "gahnite, 52 sites": _first_sites(
            Structure.from_spacegroup(
                "Fd-3m",
                Lattice.cubic(8.086),
                ["Zn", "Al", "O"],
                [[0.125, 0.125, 0.125], [0.5, 0.5, 0.5], [0.2636, 0.2636, 0.2636]],
            ),
            52,
        ),
        "double perovskite, neighbours in the periodic table": Structure.from_spacegroup(
            "Fm-3m",
            Lattice.cubic(7.89),
            ["Ba", "Mn", "Fe", "O"],
            [[0.25, 0.25, 0.25], [0, 0, 0], [0.5, 0.5, 0.5], [0.2478, 0, 0]],
        ),
    }


def _first_sites(structure: Structure, n: int) -> Structure:
    return Structure.from_sites(structure[:n])


@pytest.fixture(params=list(crystals()), scope="session")
def crystal(request: pytest.FixtureRequest) -> Structure:
    return crystals()[request.param]


@pytest.fixture(scope="session")
def all_crystals() -> list[Structure]:
    return list(crystals().values())

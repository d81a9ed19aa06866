"""Crystals that show each kind of symmetry."""

from functools import cache

from pymatgen.core import Lattice, Structure


@cache
def crystals() -> dict[str, Structure]:
    """Return real crystals of all seven systems, with free coordinates and without."""
    cubic, hexagonal = Lattice.cubic, Lattice.hexagonal
    return {
        "NaCl": Structure.from_spacegroup(
            "Fm-3m", cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        ),
        "SrTiO3": Structure.from_spacegroup(
            "Pm-3m", cubic(3.905), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]
        ),
        "Si": Structure.from_spacegroup("Fd-3m", cubic(5.43), ["Si"], [[0, 0, 0]]),
        "MgAl2O4": Structure.from_spacegroup(
            "Fd-3m",
            cubic(8.08),
            ["Mg", "Al", "O"],
            [[0, 0, 0], [0.625] * 3, [0.3888] * 3],
        ),
        "FeS2": Structure.from_spacegroup(
            "Pa-3", cubic(5.42), ["Fe", "S"], [[0, 0, 0], [0.385] * 3]
        ),
        "ZnO": Structure.from_spacegroup(
            "P6_3mc", hexagonal(3.25, 5.2), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]]
        ),
        "Al2O3": Structure.from_spacegroup(
            "R-3c", hexagonal(4.76, 12.99), ["Al", "O"], [[0, 0, 0.352], [0.306, 0, 0.25]]
        ),
        "quartz": Structure.from_spacegroup(
            "P3_221",
            hexagonal(4.913, 5.405),
            ["Si", "O"],
            [[0.4697, 0, 2 / 3], [0.4135, 0.2669, 0.7858]],
        ),
        "rutile": Structure.from_spacegroup(
            "P4_2/mnm",
            Lattice.tetragonal(4.594, 2.959),
            ["Ti", "O"],
            [[0, 0, 0], [0.305, 0.305, 0]],
        ),
        "CaTiO3": Structure.from_spacegroup(
            "Pnma",
            Lattice.orthorhombic(5.442, 7.64, 5.38),
            ["Ca", "Ti", "O", "O"],
            [[0.036, 0.25, -0.007], [0, 0, 0.5], [0.484, 0.25, 0.071], [0.289, 0.037, -0.289]],
        ),
        "ZrO2": Structure.from_spacegroup(
            "P2_1/c",
            Lattice.monoclinic(5.15, 5.21, 5.32, 99.2),
            ["Zr", "O", "O"],
            [[0.275, 0.04, 0.208], [0.07, 0.33, 0.345], [0.45, 0.757, 0.479]],
        ),
        "B(OH)3-like P-1": Structure.from_spacegroup(
            "P-1",
            Lattice.from_parameters(7.04, 7.05, 6.58, 92.6, 101.2, 119.8),
            ["B", "O"],
            [[0.646, 0.427, 0.258], [0.424, 0.302, 0.261]],
        ),
    }

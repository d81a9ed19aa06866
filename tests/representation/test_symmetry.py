from __future__ import annotations

import os

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.representation import find_symmetry


def test_a_noisy_perovskite_is_symmetrised():
    generator = np.random.default_rng(0)
    perovskite = Structure.from_spacegroup(
        "Pm-3m",
        Lattice.cubic(3.905),
        ["Sr", "Ti", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]],
    )
    noisy = Structure(
        Lattice.from_parameters(3.90, 3.91, 3.905, 90.1, 89.9, 90.0),
        perovskite.species,
        perovskite.frac_coords + generator.normal(0, 0.004, (5, 3)),
    )
    assert find_symmetry(noisy).number < 10
    found = find_symmetry(noisy, symprec=0.15)
    assert (found.number, found.symbol) == (221, "Pm-3m")
    assert found.structure.lattice.a == found.structure.lattice.b
    assert found.structure.get_space_group_info()[1] == 221


def test_primitive_and_conventional_cells():
    copper = Structure(Lattice.from_parameters(2.556, 2.556, 2.556, 60, 60, 60), ["Cu"], [[0] * 3])
    assert len(find_symmetry(copper).structure) == 4
    assert len(find_symmetry(copper, primitive=True).structure) == 1


def test_overlapping_atoms():
    before = dict(os.environ)
    overlapping = Structure(Lattice.cubic(4), ["Na", "Na"], [[0, 0, 0], [0, 0, 0.001]])
    with pytest.raises(InputError, match="Na: spglib finds no space group"):
        find_symmetry(overlapping, 0.1)
    assert dict(os.environ) == before

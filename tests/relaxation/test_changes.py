import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from crystens_flows.datasets import shipped
from crystens_flows.relaxation.changes import (
    broken,
    displacement,
    space_group,
)

CRYSTALS = list(shipped().structures([5, 500, 1500]))


@given(
    crystal=st.sampled_from(CRYSTALS),
    seed=st.integers(0, 1000),
    size=st.floats(0.001, 0.1),
    strain=st.floats(-0.1, 0.1),
)
@settings(max_examples=60, deadline=None)
def test_displacement_is_what_sites_moved(crystal, seed, size, strain):
    rng = np.random.default_rng(seed)
    moved = crystal.copy()
    shifts = rng.normal(size=(len(crystal), 3)) * size
    moved = Structure(
        crystal.lattice, crystal.species, crystal.cart_coords + shifts, coords_are_cartesian=True
    )
    expected = np.sqrt(((shifts - shifts.mean(axis=0)) ** 2).sum(axis=1).mean())
    assert displacement(crystal, moved) == pytest.approx(expected, abs=1e-6)

    # neither drift, images, order of elements nor orientation of the cell count
    elsewhere = moved.copy()
    elsewhere.translate_sites(range(len(moved)), rng.random(3), to_unit_cell=True)
    turned = Lattice(moved.lattice.matrix @ Rotation.random(random_state=seed).as_matrix())
    elsewhere = Structure(turned, elsewhere.species, elsewhere.frac_coords)
    elsewhere = elsewhere.get_sorted_structure()
    assert displacement(crystal, elsewhere) == pytest.approx(expected, abs=1e-6)

    # a change of the cell alone is no displacement
    swollen = crystal.copy()
    swollen.scale_lattice(crystal.volume * (1 + strain))
    assert displacement(crystal, swollen) == pytest.approx(0, abs=1e-6)


def test_other_sites_have_no_displacement():
    assert displacement(CRYSTALS[0], CRYSTALS[1]) is None


def salt(a=5.64, shift=0.0):
    cell = Lattice.cubic(a)
    return Structure.from_spacegroup(225, cell, ["Na", "Cl"], [[0, 0, 0], [0.5 + shift, 0.5, 0.5]])


def test_space_group_of_what_relaxed():
    assert space_group(salt()) == 225
    rattled = salt()
    rattled.perturb(0.05, seed=0)
    assert space_group(rattled) == 1


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (salt(9.0), "the cell exploded, its volume is 4.06"),
        (salt(3.5), "the cell collapsed, its volume is 0.239"),
        (salt(5.0), None),
        (salt(8.9), None),
    ],
)
def test_volume_has_bounds(after, reason):
    found = broken(salt(), after)
    assert found is None if reason is None else found.startswith(reason)


def test_atoms_that_collide():
    near = salt()
    near.translate_sites([0], near.lattice.get_fractional_coords([2.82 - 0.4, 0, 0]))
    assert broken(salt(), near) == "atoms collided, two are 0.40 A apart"
    assert broken(salt(), salt()) is None
    thin = Structure(Lattice.orthorhombic(0.4, 8, 8), ["He"], [[0, 0, 0]])
    wide = Structure(Lattice.orthorhombic(0.8, 8, 8), ["He"], [[0, 0, 0]])
    assert "atoms collided, two are 0.40 A" in str(broken(wide, thin))

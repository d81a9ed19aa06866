from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.screening.matching import CrystalIndex
from crystens_flows.screening.reduced_cell import reduce_cell

FORMULAS = [["Na"], ["Na", "Cl"], ["Ca", "Ti", "O", "O", "O"], ["Si"] * 4, ["Fe", "Fe", "O", "O"]]


def answers(first, second):
    """What the index and the matcher say about two structures."""
    known, new = reduce_cell(first), reduce_cell(second)
    index = CrystalIndex()
    index.add(known, "known")
    fits = StructureMatcher(comparator=ElementComparator()).fit(first, second)
    return index.find(new) is not None, fits


def deformed(rng, structure, strain, displacement):
    """Strain a cell, move its sites by about a share of the free length, describe it anew."""
    size = (structure.volume / len(structure)) ** (1 / 3)
    lattice = structure.lattice.matrix @ (np.eye(3) + rng.normal(0, strain, (3, 3)))
    moved = structure.cart_coords + rng.normal(0, displacement * size, (len(structure), 3))
    coords = structure.lattice.get_fractional_coords(moved) + rng.random(3)
    order = rng.permutation(len(structure))
    return Structure(lattice, [structure[i].species for i in order], coords[order])


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(FORMULAS),
    st.integers(1, 3),
    st.floats(0, 0.15),
    st.floats(0, 0.2),
)
def test_says_what_the_matcher_says(seed, species, units, strain, displacement):
    rng = np.random.default_rng(seed)
    lattice = Lattice.from_parameters(*rng.uniform(3, 9, 3), *rng.uniform(60, 120, 3))
    if not lattice.volume > 20:
        return
    species = species * units
    first = Structure(lattice, species, rng.random((len(species), 3)))
    second = deformed(rng, first, strain, displacement)
    found, fits = answers(first, second)
    assert found == fits


@pytest.mark.parametrize("displacement", [0.05, 0.1, 0.15])
def test_real_crystals_about_the_tolerance(displacement):
    dataset = shipped()
    rng = np.random.default_rng(int(displacement * 100))
    small = np.flatnonzero(dataset.n_sites <= 24)
    said = []
    for row in rng.choice(small, 40, replace=False):
        crystal = dataset.structure(int(row))
        said.append(answers(crystal, deformed(rng, crystal, 0.02, displacement)))
    assert all(found == fits for found, fits in said)
    assert any(fits for _, fits in said)
    if displacement > 0.1:
        assert not all(fits for _, fits in said)


def test_reduced_cells_are_the_matchers():
    dataset = shipped()
    rng = np.random.default_rng(0)
    reduce = StructureMatcher(comparator=ElementComparator())._get_reduced_structure
    for row in rng.choice(np.flatnonzero(dataset.n_sites <= 20), 60, replace=False):
        crystal = dataset.structure(int(row))
        if row % 2:
            crystal = crystal * rng.permutation([1, 1, 2]).tolist()
        cell, expected = reduce_cell(crystal), reduce(crystal)
        assert cell.structure.composition == expected.composition
        lengths = np.sort(expected.lattice.lengths) / expected.volume ** (1 / 3)
        assert np.allclose(np.sort(cell.parameters[:3]), lengths, rtol=1e-5)
        angles = np.abs(np.array(expected.lattice.angles) - 90)
        assert np.allclose(np.sort(np.abs(cell.parameters[3:] - 90)), np.sort(angles), atol=1e-2)
        squares = [np.sort(s.distance_matrix.ravel()) for s in (cell.structure, expected)]
        assert np.allclose(squares[0] * expected.volume ** (1 / 3), squares[1], atol=1e-4)


def test_disordered_sites_and_charges():
    rng = np.random.default_rng(0)
    lattice = Lattice.from_parameters(5, 6, 7, 80, 95, 100)
    coords = rng.random((4, 3))
    mixed = Structure(lattice, [{"Na": 0.5, "K": 0.5}] * 2 + ["Cl"] * 2, coords)
    other = Structure(lattice, [{"Na": 0.4, "K": 0.6}] * 2 + ["Cl"] * 2, coords)
    charged = Structure(lattice, [{"Na+": 0.5, "K+": 0.5}] * 2 + ["Cl-"] * 2, coords)
    for second, expected in ((mixed, True), (other, False), (charged, True)):
        assert answers(mixed, second) == (expected, expected)


def test_collapsed_cells_are_compared_with_nothing():
    flat = Structure(Lattice.from_parameters(4, 4, 4, 60, 60, 119.99999), ["Na"], [[0, 0, 0]])
    assert reduce_cell(flat) is None

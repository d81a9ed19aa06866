from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from potential_crystals import NAMES, rock_salt
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystens_flows.datasets import shipped
from crystens_flows.screening.potentials.chgnet_graphs import crystal_graph
from crystens_flows.screening.potentials.neighbors import find_neighbors
from crystens_flows.screening.potentials.registry import load_potential


@pytest.fixture(scope="module")
def crystals():
    """Real crystals, strained and disturbed lest forces vanish; the first has no angles."""
    dataset = shipped()
    rows = dataset.split["holdout_a"][100::300]
    isolated = Structure.from_spacegroup("Fm-3m", Lattice.cubic(6.3), ["Xe"], [[0] * 3])
    found = [isolated, *(c for c in dataset.structures(rows) if len(c) <= 20)]
    for seed, structure in enumerate(found):
        structure.apply_strain([-0.04, 0.02, -0.02])
        structure.perturb(0.05, seed=seed)
    return found


def own_calculator(name):
    """Make the calculator of the potential's own package."""
    with contextlib.redirect_stdout(io.StringIO()):
        if name == "chgnet":
            from chgnet.model.dynamics import CHGNetCalculator

            return CHGNetCalculator(use_device="cpu")
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator(name, device="cpu")


@pytest.mark.parametrize("name", NAMES)
def test_equal_those_of_the_potentials_own_calculator(crystals, name):
    potential, calculator = load_potential(name), own_calculator(name)
    found = potential.derivatives([potential.graph(crystal)[0] for crystal in crystals])
    for crystal, derivatives in zip(crystals, found, strict=True):
        atoms = AseAtomsAdaptor.get_atoms(crystal)
        atoms.calc = calculator
        assert derivatives.energy == pytest.approx(
            atoms.get_potential_energy(), abs=1e-5 * len(crystal)
        )
        assert derivatives.forces == pytest.approx(atoms.get_forces(), abs=1e-4)
        assert derivatives.stress == pytest.approx(atoms.get_stress(voigt=False), abs=1e-5)
    assert max(np.abs(each.forces).max() for each in found) > 0.5
    assert max(np.abs(each.stress).max() for each in found) > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_are_the_slopes_of_the_energy(name):
    """The energy of displaced and strained rock salt, to the second order of the difference."""
    potential, step = load_potential(name), 0.02
    crystal = rock_salt()
    crystal.perturb(0.1, seed=1)
    cell, positions = crystal.lattice.matrix, crystal.cart_coords
    numbers = np.array([site.specie.Z for site in crystal])
    (found,) = potential.derivatives([potential.graph(crystal)[0]])

    def energy(positions, cell):
        graph, _ = potential.graph_of(numbers, positions, cell)
        return float(potential.energies([graph])[0]) * len(numbers)

    for axis in range(3):
        shift = np.zeros_like(positions)
        shift[1, axis] = step
        slope = (energy(positions + shift, cell) - energy(positions - shift, cell)) / (2 * step)
        assert -slope == pytest.approx(found.forces[1, axis], abs=0.02)
    for strain in (np.diag([1, 0, 0]), np.array([[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]])):
        more, less = (np.eye(3) + sign * 0.01 * strain for sign in (1, -1))
        slope = (energy(positions @ more, cell @ more) - energy(positions @ less, cell @ less)) / (
            0.02 * crystal.volume
        )
        assert slope == pytest.approx((found.stress * strain).sum(), abs=0.001)


def rows(array):
    return sorted(map(tuple, np.round(np.asarray(array), 4).tolist()))


@settings(max_examples=40)
@given(
    st.lists(st.tuples(*[st.floats(-1.5, 1.5)] * 3), min_size=1, max_size=5),
    st.tuples(*[st.floats(2.5, 9)] * 3),
    st.tuples(*[st.floats(60, 110)] * 3),
)
def test_neighbors_are_those_of_pymatgen_each_from_both_ends(coords, lengths, angles):
    structure = Structure(Lattice.from_parameters(*lengths, *angles), ["Na"] * len(coords), coords)
    found = find_neighbors(structure.cart_coords, structure.lattice.matrix, 5.0)
    centers, others, images, distances = structure.get_neighbor_list(5.0 - 1e-6)
    apart = distances > 1e-6
    near = found.distances < 5.0 - 1e-6
    near &= found.distances > 1e-6
    table = np.c_[found.centers, found.others, found.images, found.distances]
    expected = np.c_[centers, others, images, distances]
    assert rows(table[near]) == rows(expected[apart])
    half = len(table) // 2
    assert (found.centers[:half] == found.others[half:]).all()
    assert (found.images[:half] == -found.images[half:]).all()
    vectors = (
        structure.cart_coords[found.others]
        - structure.cart_coords[found.centers]
        + found.images @ structure.lattice.matrix
    )
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(found.distances, abs=1e-8)


def test_graphs_are_those_of_chgnet_but_for_the_order(crystals):
    from chgnet.graph import CrystalGraphConverter

    with contextlib.redirect_stdout(io.StringIO()):
        converter = CrystalGraphConverter(atom_graph_cutoff=6, bond_graph_cutoff=3)
    n_angles = []
    for crystal in crystals:
        numbers = np.array([site.specie.Z for site in crystal])
        cell = crystal.lattice.matrix
        neighbors = find_neighbors(crystal.cart_coords, cell, 6)
        ours, theirs = (
            crystal_graph(numbers, crystal.cart_coords, cell, neighbors, 3),
            converter(crystal),
        )
        assert rows(edges(ours)) == rows(edges(theirs))
        assert rows(angles(ours)) == rows(angles(theirs))
        for graph in (ours, theirs):  # a pair is one, whichever end it is seen from
            of_pair = graph.directed2undirected[graph.undirected2directed.long()]
            assert of_pair.tolist() == list(range(len(graph.undirected2directed)))
        n_angles.append(len(angles(ours)))
    assert min(n_angles) == 0
    assert max(n_angles) > 100


def edges(graph):
    return np.c_[graph.atom_graph.numpy(), graph.neighbor_image.numpy()]


def angles(graph):
    """Name each angle by its two bonds, and each bond by its ends, the pair too."""
    bond = graph.bond_graph.numpy().reshape(-1, 5)
    ends = edges(graph)
    assert (graph.directed2undirected.numpy()[bond[:, 2]] == bond[:, 1]).all()
    assert (graph.directed2undirected.numpy()[bond[:, 4]] == bond[:, 3]).all()
    return np.c_[bond[:, 0], ends[bond[:, 2]], ends[bond[:, 4]]]

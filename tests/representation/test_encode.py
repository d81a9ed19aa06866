from __future__ import annotations

import numpy as np
import plain_loop
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import DummySpecies, Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from random_structures import structures

from crystens_flows.errors import InputError
from crystens_flows.representation import REFERENCE, Normalization, decode, encode, render


def test_every_entry_is_that_of_the_plain_loop(crystal):
    tensors = encode([crystal], [225])
    assert tensors.dtype == np.float32
    assert tensors.shape == (1, 4, 64, 64)
    np.testing.assert_allclose(
        tensors[0], plain_loop.encode(crystal, 225, REFERENCE.ranges), atol=1e-6
    )


@settings(max_examples=40, deadline=None)
@given(structure=structures(), space_group=st.integers(1, 230))
def test_random_structures_as_the_plain_loop(structure, space_group):
    expected = plain_loop.encode(structure, space_group, REFERENCE.ranges)
    np.testing.assert_allclose(encode([structure], [space_group])[0], expected, atol=3e-6)


def test_layout_of_rock_salt():
    structure = Structure(
        Lattice.from_parameters(4, 5, 6, 80, 90, 100), ["H", "Cl"], [[0.1, 0.2, 0.3], [0.5, 0, 0]]
    )
    raw = Normalization(dict.fromkeys(REFERENCE.ranges, (0.0, 1.0)), "none")
    tensor = encode([structure], [2], normalization=raw)[0]
    first, second = [1, 0.1, 0.2, 0.3, 4, 5, 6, 80, 90, 100, 2], [17, 0.5, 0, 0]
    for layer in range(4):
        np.testing.assert_allclose(tensor[layer, :11, 12], first, rtol=1e-6)
        np.testing.assert_allclose(tensor[layer, 12, :11], first, rtol=1e-6)
        np.testing.assert_allclose(tensor[layer, :4, 13], second, rtol=1e-6)
    np.testing.assert_allclose(tensor[1:, 12, 13], [-0.4, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose(tensor[1:, 13, 12], [0.4, -0.2, -0.3], rtol=1e-6)
    assert tensor[0, 12, 13] == tensor[0, 13, 12] == pytest.approx(np.sqrt(0.29))


def test_what_is_not_used_is_exactly_zero(crystal):
    tensor, end = encode([crystal], [1])[0], 12 + len(crystal)
    assert not tensor[:, :12, :12].any()
    assert not tensor[:, 11].any()
    assert not tensor[:, :, 11].any()
    assert not tensor[:, end:].any()
    assert not tensor[:, :, end:].any()
    assert not tensor[:, np.arange(12, 64), np.arange(12, 64)].any()


def test_space_groups_are_found_as_pymatgen_finds_them(all_crystals):
    found = encode(all_crystals)
    expected = [structure.get_space_group_info()[1] for structure in all_crystals]
    assert len(set(expected)) > 5
    np.testing.assert_array_equal(found, encode(all_crystals, expected))


def test_a_structure_is_encoded_the_same_in_any_batch(all_crystals):
    groups = list(range(1, len(all_crystals) + 1))
    alone = [encode([s], [g])[0] for s, g in zip(all_crystals, groups, strict=True)]
    np.testing.assert_array_equal(encode(all_crystals, groups), alone)
    assert encode([]).shape == (0, 4, 64, 64)


def test_a_left_handed_lattice_keeps_lengths_and_angles():
    lattice = Lattice([[4, 0, 0], [1, 5, 0], [0.5, 0.3, -6]])
    right = Lattice.from_parameters(*lattice.parameters)
    coordinates = np.array([[0, 0, 0], [0.3, 0.4, 1.6]])
    np.testing.assert_allclose(
        encode([Structure(lattice, ["Na", "Cl"], coordinates)], [1]),
        encode([Structure(right, ["Na", "Cl"], -coordinates)], [1]),
        atol=1e-6,
    )


def handedness(structure):
    """Sum the triple products of chains of three bonds: the mirror image has the opposite sign."""
    images = np.array(list(np.ndindex(5, 5, 5))) - 2
    coords = structure.cart_coords
    everywhere = (coords[:, None] + images @ structure.lattice.matrix).reshape(-1, 3)
    bonds = everywhere[None] - coords[:, None]  # from each site of the cell
    lengths = np.linalg.norm(bonds, axis=2)
    atom = np.repeat(np.arange(len(coords)), len(images))
    steps = [
        [(atom[k], bonds[i, k]) for k in np.flatnonzero((lengths[i] > 0.1) & (lengths[i] < 1.8))]
        for i in range(len(coords))
    ]
    return sum(
        np.dot(np.cross(first, second), third)
        for chain in steps
        for i, first in chain
        for j, second in steps[i]
        for _, third in steps[j]
    )


@pytest.mark.parametrize(("symbol", "number"), [("P3_221", 154), ("P3_121", 152)])
def test_a_left_handed_cell_keeps_its_crystal(symbol, number):
    """The mirror image of quartz has the other space group."""
    sign = 1 if number == 154 else -1
    right = Structure.from_spacegroup(
        symbol,
        Lattice.hexagonal(4.916, 5.405),
        ["Si", "O"],
        [[0.4697, 0, 0], [0.4135, 0.2669, sign * 0.1191]],
    )
    # the same atoms in space, in the cell of the inverted lattice vectors
    left = Structure(
        Lattice(-right.lattice.matrix), right.species, right.cart_coords, coords_are_cartesian=True
    )
    assert np.linalg.det(left.lattice.matrix) < 0
    (found,) = decode(encode([left]))
    assert found.space_group == number
    assert SpacegroupAnalyzer(found.structure).get_space_group_number() == number
    assert abs(handedness(right)) > 1
    assert handedness(left) == pytest.approx(handedness(right))
    assert handedness(found.structure) == pytest.approx(handedness(right), rel=1e-3)


def test_render_ignores_what_stands_beyond_the_last_site():
    numbers = np.full((1, 5), 9)
    coordinates = np.random.default_rng(0).random((1, 5, 3))
    lattice = np.array([[4.0, 5, 6, 80, 90, 100]])
    tensor = render(numbers, coordinates, lattice, np.array([1]), np.array([2], dtype=np.uint8))
    structure = Structure(Lattice.from_parameters(*lattice[0]), ["F", "F"], coordinates[0, :2])
    np.testing.assert_allclose(tensor, encode([structure], [1]), atol=1e-6)


CELL = Lattice.cubic(4.0)
DISORDERED = Structure(CELL, [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5] * 3])
VACANT = Structure(CELL, [{"Na": 0.5}, "Cl"], [[0, 0, 0], [0.5] * 3])
TOO_LARGE = Structure(CELL, ["Na"] * 53, np.random.default_rng(0).random((53, 3)))
NOT_FINITE = Structure(CELL, ["Na"], [[0, 0, np.nan]])
NO_VOLUME = Structure(Lattice(np.zeros((3, 3))), ["Na"], [[0, 0, 0]])
DUMMY = Structure(CELL, [DummySpecies("X")], [[0, 0, 0]])
GOOD = Structure(CELL, ["Na"], [[0, 0, 0]])


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        (DISORDERED, ["structure 1 (K0.5Na0.5Cl1)", "disordered", "order it"]),
        (VACANT, ["structure 1", "disordered"]),
        (TOO_LARGE, ["structure 1 (Na)", "53 sites", "52", "primitive"]),
        (Structure(CELL, [], []), ["structure 1", "0 sites"]),
        (NOT_FINITE, ["structure 1 (Na)", "not finite"]),
        (NO_VOLUME, ["structure 1 (Na)", "not finite"]),
        (DUMMY, ["structure 1", "no element"]),
    ],
)
def test_bad_structures_are_named(structure, words):
    with pytest.raises(InputError) as caught:
        encode([GOOD, structure], [1, 1])
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("space_groups", [[1], [1, 231], [1, 0], [1, 2.5], ["a", "b"], [[1, 1]]])
def test_bad_space_groups(space_groups):
    with pytest.raises(InputError, match=r"space_groups|space group"):
        encode([GOOD, GOOD], space_groups)


def test_overlapping_atoms_have_no_space_group():
    overlapping = Structure(CELL, ["Na", "Na"], [[0, 0, 0], [0, 0, 0.001]])
    with pytest.raises(InputError, match=r"structure 1 \(Na\).*space_groups"):
        encode([GOOD, overlapping])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (GOOD, ["sequence", "one Structure", "[structure]"]),
        ("x", ["sequence", "str", "Structure.from_file"]),
        (None, ["sequence", "NoneType", "Structure.from_file"]),
        ([None], ["structure 0", "NoneType", "Structure.from_file"]),
        ([GOOD, "NaCl.cif"], ["structure 1", "str", "Structure.from_file"]),
    ],
)
def test_what_is_no_list_of_structures(given, words):
    with pytest.raises(InputError) as caught:
        encode(given)
    for word in words:
        assert word in str(caught.value)


def test_render_checks_shapes():
    with pytest.raises(InputError, match="expected"):
        render(np.ones((2, 3)), np.ones((2, 3, 3)), np.ones((2, 5)), np.ones(2), np.ones(2))
    with pytest.raises(InputError, match="n_sites"):
        render(np.ones((1, 3)), np.ones((1, 3, 3)), np.ones((1, 6)), np.ones(1), np.array([4]))

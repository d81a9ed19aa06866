from __future__ import annotations

import numpy as np
import plain_loop
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noise import noisy, right_if_grouped
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from random_structures import structures

from crystens_flows.errors import InputError
from crystens_flows.representation import MAX_SITES, REFERENCE, decode, encode, render


def assert_same(decoded: Structure, structure: Structure) -> None:
    assert decoded.atomic_numbers == structure.atomic_numbers
    np.testing.assert_allclose(decoded.lattice.parameters, structure.lattice.parameters, atol=1e-3)
    np.testing.assert_allclose(decoded.frac_coords, structure.frac_coords, atol=1e-3)


def test_round_trip(crystal):
    space_group = crystal.get_space_group_info()[1]
    decoded = decode(encode([crystal]))[0]
    assert decoded.reason is None
    assert decoded.space_group == space_group
    assert_same(decoded.structure, crystal)
    assert max(decoded.consistency.as_dict().values()) < 1e-4


@settings(max_examples=80, deadline=None)
@given(structure=structures(), space_group=st.integers(1, 230))
def test_round_trip_of_random_structures(structure, space_group):
    decoded = decode(encode([structure], [space_group]))[0]
    assert decoded.reason is None
    assert decoded.space_group == space_group
    assert_same(decoded.structure, structure)


@settings(max_examples=25, deadline=None)
@given(structure=structures(max_sites=12), seed=st.integers(0, 1000))
def test_little_noise_changes_little(structure, seed):
    decoded = decode(noisy(encode([structure], [75]), 1e-3, seed))[0]
    assert decoded.structure.atomic_numbers == structure.atomic_numbers
    assert decoded.space_group == 75
    shift = decoded.structure.frac_coords - structure.frac_coords
    assert np.abs(shift).max() < 0.01
    difference = np.subtract(decoded.structure.lattice.parameters, structure.lattice.parameters)
    assert np.abs(difference).max() < 0.5


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.05])
def test_every_number_of_sites_is_found(sigma):
    generator = np.random.default_rng(1)
    n_sites = np.arange(1, MAX_SITES + 1)
    n = len(n_sites)
    tensors = render(
        np.full((n, MAX_SITES), 1),
        generator.random((n, MAX_SITES, 3)),
        np.tile([5.0, 6, 7, 50, 60, 70], (n, 1)),
        np.full(n, 2),
        n_sites,
    )
    decoded = decode(noisy(tensors, sigma))
    assert [len(d.structure) for d in decoded] == n_sites.tolist()


@pytest.mark.parametrize(("sigma", "fewer"), [(0.005, 1), (0.01, 3), (0.02, 8)])
def test_nearly_as_much_is_right_as_the_noise_allows(all_crystals, sigma, fewer):
    matcher = StructureMatcher()
    tensors = encode(all_crystals)
    matched = allowed = 0
    for seed in range(5):
        spoiled = noisy(tensors, sigma, seed)
        for decoded, structure, tensor in zip(decode(spoiled), all_crystals, spoiled, strict=True):
            matched += matcher.fit(decoded.structure, structure)
            allowed += right_if_grouped(tensor, structure.atomic_numbers)
    assert matched >= allowed - fewer


def test_the_space_group_tells_equivalent_sites():
    structure = Structure.from_spacegroup(
        "Pm-3",
        Lattice.cubic(7.5),
        ["Mn", "Fe", "O"],
        [[0.24, 0, 0], [0.27, 0.27, 0.27], [0, 0.36, 0.29]],
    )
    right = []
    for space_groups in ([200], [1]):
        tensors = np.repeat(encode([structure], space_groups), 60, axis=0)
        decoded = decode(noisy(tensors, 0.01, 5))
        right.append(
            np.mean([d.structure.atomic_numbers == structure.atomic_numbers for d in decoded])
        )
    assert right[0] > 0.9
    assert right[1] < 0.5


def test_a_fixed_number_of_clusters(all_crystals):
    tensors = encode(all_crystals)
    for result, structure in zip(
        decode(tensors, element_clusters=4, coordinate_clusters=60), all_crystals, strict=True
    ):
        assert_same(result.structure, structure)
    double_perovskite = decode(tensors[-1:], element_clusters=3)[0].structure
    assert len(double_perovskite.composition) == 3
    fewer = decode(tensors, coordinate_clusters=2)
    assert all(len(np.unique(axis)) <= 2 for d in fewer for axis in d.structure.frac_coords.T)
    again = decode(tensors, element_clusters=2, coordinate_clusters=2)
    first = decode(tensors, element_clusters=2, coordinate_clusters=2)
    assert [d.structure for d in first] == [d.structure for d in again]


def test_a_tensor_is_decoded_the_same_in_any_batch(all_crystals):
    tensors = np.concatenate([noisy(encode(all_crystals), sigma) for sigma in (0.0, 0.003, 0.01)])
    together = decode(tensors)
    for step in (1, 7):
        apart = [d for i in range(0, len(tensors), step) for d in decode(tensors[i : i + step])]
        for one, other in zip(together, apart, strict=True):
            assert one.consistency == other.consistency
            assert one.structure.atomic_numbers == other.structure.atomic_numbers
            np.testing.assert_array_equal(one.structure.frac_coords, other.structure.frac_coords)
            np.testing.assert_array_equal(
                one.structure.lattice.matrix, other.structure.lattice.matrix
            )


def test_more_than_one_chunk_keeps_the_order():
    n = 600
    numbers = np.arange(n) % 90 + 1
    tensors = render(
        numbers[:, None],
        np.zeros((n, 1, 3)),
        np.tile([4.0, 4, 4, 90, 90, 90], (n, 1)),
        np.ones(n),
        np.ones(n, dtype=int),
    )
    assert [d.structure.atomic_numbers[0] for d in decode(tensors)] == numbers.tolist()


def test_float64_and_float16_are_decoded_too(crystal):
    tensors = encode([crystal])
    assert_same(decode(tensors.astype(np.float64))[0].structure, crystal)
    half = decode(tensors.astype(np.float16))[0].structure
    assert half.composition == crystal.composition


def test_a_bad_sample_has_a_reason_and_stops_no_other(all_crystals):
    good = encode([all_crystals[2]])[0]
    with_nan, infinite, no_lattice, foreign = (good.copy() for _ in range(4))
    with_nan[2, 40, 50] = np.nan
    infinite[0, 0, 0] = np.inf
    for angle in (7, 8, 9):
        value = (130.0 - REFERENCE.low[angle]) / REFERENCE.span[angle]
        no_lattice[:, angle, 12:20] = no_lattice[:, 12:20, angle] = value
    foreign[:, 0, 14] = foreign[:, 14, 0] = -0.2
    batch = [good, with_nan, infinite, np.zeros_like(good), no_lattice, foreign, good]
    decoded = decode(np.stack(batch))
    assert [d.structure is not None for d in decoded] == [True] + [False] * 5 + [True]
    for result, words in zip(
        decoded[1:-1],
        ["NaN", "NaN", "no sites", "no volume", "atomic number of no element: -18.6 at site 2"],
        strict=True,
    ):
        assert words in result.reason
        assert "\n" not in result.reason
    assert decoded[1].consistency.as_dict()["length_variance"] is None
    assert decoded[4].consistency.length_variance < 1e-6
    assert decoded[0].structure == decoded[-1].structure
    assert_same(decoded[0].structure, all_crystals[2])


def test_a_space_group_that_is_none(all_crystals):
    tensor = encode([all_crystals[2]])
    tensor[:, :, 10, 12:20] = tensor[:, :, 12:20, 10] = 1.5
    decoded = decode(tensor)[0]
    assert decoded.structure is not None
    assert decoded.space_group is None


@pytest.mark.parametrize("scale", [0.01, 1.0, 1e5])
def test_noise_alone_holds_no_sites(scale):
    tensors = np.random.default_rng(0).normal(0, scale, (20, 4, 64, 64)).astype(np.float32)
    assert {d.reason for d in decode(tensors)} == {"the tensor holds no sites"}


def test_rubbish_is_decoded_or_refused():
    generator = np.random.default_rng(0)
    rubbish = [
        generator.random((6, 4, 64, 64)),
        -generator.random((6, 4, 64, 64)),
        0.5 + generator.normal(size=(6, 4, 64, 64)),
        np.full((1, 4, 64, 64), 0.5),
        np.full((1, 4, 64, 64), 1e300),
        np.full((1, 4, 64, 64), 9e5),
    ]
    for tensors in rubbish:
        for decoded in decode(tensors):
            assert (decoded.structure is None) == (decoded.reason is not None)
            if decoded.structure is not None:
                assert np.isfinite(decoded.structure.frac_coords).all()
                assert decoded.structure.volume > 0


@pytest.mark.parametrize(
    "tensors",
    [
        np.zeros((4, 64, 64)),
        np.zeros((2, 64, 64, 4)),
        np.zeros((2, 4, 64, 64), dtype=int),
        np.zeros((2, 4, 64, 64), dtype=complex),
        np.zeros(3),
        "tensors",
    ],
)
def test_a_batch_of_another_shape_or_type(tensors):
    with pytest.raises(InputError, match=r"\(n, 4, 64, 64\)"):
        decode(tensors)


@pytest.mark.parametrize("clusters", [0, -1, 2.5, "three"])
def test_bad_numbers_of_clusters(clusters):
    with pytest.raises(InputError, match="element_clusters"):
        decode(np.zeros((1, 4, 64, 64)), element_clusters=clusters)
    with pytest.raises(InputError, match="coordinate_clusters"):
        decode(np.zeros((1, 4, 64, 64)), coordinate_clusters=clusters)


def test_no_tensors():
    assert decode(np.zeros((0, 4, 64, 64))) == []


def test_the_plain_loop_decodes_the_same(crystal):
    tensor = encode([crystal])[0]
    structure, _ = plain_loop.decode(tensor, REFERENCE.ranges)
    assert_same(decode(tensor[None])[0].structure, structure)

"""Crystals by their Wyckoff positions, and back."""

import numpy as np
import pytest
import spglib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from crystens_flows.generators.wyckoff.coupling import match_noise, variants
from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal, symmetrise
from crystens_flows.generators.wyckoff.occupation import allowed_letters, can_hold
from crystens_flows.generators.wyckoff.positions import space_group


def found_group(structure: Structure, symprec: float = 1e-3) -> int:
    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    return spglib.get_symmetry_dataset(cell, symprec=symprec).number


def test_a_crystal_comes_back(crystal):
    described = symmetrise(crystal)
    back = described.structure()
    assert described.number == found_group(crystal, 0.1) == found_group(back)
    assert len(back) == len(crystal.get_primitive_structure())
    distance = StructureMatcher(ltol=0.05, stol=0.05, angle_tol=2).get_rms_dist(crystal, back)
    assert distance is not None
    assert distance[0] < 1e-4
    assert back.volume / len(back) == pytest.approx(crystal.volume / len(crystal), rel=1e-6)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000))
def test_origin_order_and_cell_do_not_matter(crystal, seed):
    rng = np.random.default_rng(seed)
    moved = crystal.copy()
    moved.translate_sites(list(range(len(moved))), rng.random(3))
    moved = Structure.from_sites([moved[int(k)] for k in rng.permutation(len(moved))])
    moved.make_supercell(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]))
    one, other = symmetrise(crystal), symmetrise(moved)
    assert one.number == other.number
    assert one.numbers.tolist() == other.numbers.tolist()
    assert one.letters.tolist() == other.letters.tolist()


def test_letters_are_those_of_the_literature():
    rutile = Structure.from_spacegroup(
        "P4_2/mnm",
        [[4.594, 0, 0], [0, 4.594, 0], [0, 0, 2.959]],
        ["Ti", "O"],
        [[0, 0, 0], [0.305, 0.305, 0]],
    )
    described = symmetrise(rutile)
    letters = [described.group.positions[k].letter for k in described.letters]
    assert dict(zip(described.numbers.tolist(), letters, strict=True)) == {22: "a", 8: "f"}


def test_each_variant_is_the_same_crystal(crystal):
    described = symmetrise(crystal)
    rng = np.random.default_rng(0)
    matcher = StructureMatcher(ltol=0.05, stol=0.05, angle_tol=2)
    found = variants(described)
    for _ in range(4):
        firsts, difference = match_noise(found, rng)
        again = SymmetricCrystal(
            described.number, described.numbers, described.letters, firsts, described.lattice
        )
        assert matcher.get_rms_dist(crystal, again.structure())[0] < 1e-4
        projectors = [described.group.positions[k].projector for k in described.letters]
        along = (np.array(projectors) @ difference[..., None]).squeeze(-1)
        assert np.allclose(along, difference, atol=1e-6)
        drift = described.group.polar @ (described.multiplicities @ difference)
        assert np.allclose(drift, 0, atol=1e-5)


def test_matching_is_no_farther_than_any_single_choice(crystal):
    described = symmetrise(crystal)
    found = variants(described)
    if not np.abs(found.bases).any() or np.abs(found.polar).any():
        pytest.skip("nothing to choose, or the origin is moved too")
    rng = np.random.default_rng(3)
    state = rng.bit_generator.state
    _, difference = match_noise(found, rng)
    rng.bit_generator.state = state
    noise = rng.random((len(described.letters), 3)) * (np.abs(found.bases).max(1) > 0)
    chosen = (found.inverses @ difference[..., None]).squeeze(-1)
    least = (chosen**2).sum(-1) @ found.weights
    for free in found.free:  # each variant with the nearest first sites, orbits in their order
        apart = free - noise[:, None]
        apart -= np.round(apart)
        assert least <= (apart**2).sum(-1).min(1) @ found.weights + 1e-6


def test_occupations_agree_with_enumeration():
    def by_enumeration(number, counts, used=frozenset()):
        if not any(counts):
            return True
        k = next(k for k, n in enumerate(counts) if n)
        for letter, position in enumerate(space_group(number).positions):
            if position.multiplicity > counts[k] or letter in used:
                continue
            left = (*counts[:k], counts[k] - position.multiplicity, *counts[k + 1 :])
            taken = used if position.freedom else used | {letter}
            if by_enumeration(number, left, taken):
                return True
        return False

    rng = np.random.default_rng(0)
    for _ in range(300):
        number = int(rng.integers(1, 231))
        counts = tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 4)))
        assert can_hold(number, counts) == by_enumeration(number, counts), (number, counts)


def test_letters_of_real_crystals_are_allowed(crystal):
    described = symmetrise(crystal)
    elements = list(dict.fromkeys(described.numbers.tolist()))
    left = {z: int(described.multiplicities[described.numbers == z].sum()) for z in elements}
    done: list[int] = []
    for k, (z, letter) in enumerate(
        zip(described.numbers.tolist(), described.letters.tolist(), strict=True)
    ):
        lowest = done[-1] if k and described.numbers[k - 1] == z else 0
        later = tuple(n for y, n in left.items() if y != z and n)
        allowed = allowed_letters(described.number, done, left[z], later, lowest)
        assert allowed[letter]
        left[z] -= int(described.multiplicities[k])
        done.append(letter)


def test_what_a_group_cannot_hold():
    assert can_hold(225, (1, 1))
    assert not can_hold(225, (1, 1, 1))  # a and b are all that hold one atom
    assert can_hold(221, (1, 1, 3))
    assert not can_hold(62, (2,))

"""The table of Wyckoff positions, against spglib."""

import numpy as np
import pytest
import spglib

from crystens_flows.generators.wyckoff.positions import (
    LETTERS,
    N_POSITIONS,
    position_features,
    position_number,
    space_group,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_all_groups_have_the_letters_of_the_tables():
    counts = [len(space_group(number).positions) for number in range(1, 231)]
    assert sum(counts) == N_POSITIONS
    for number in range(1, 231):
        letters = "".join(p.letter for p in space_group(number).positions)
        assert LETTERS.startswith(letters)


@pytest.mark.parametrize("number", range(1, 231))
def test_positions_are_whole_orbits_that_stay_on_them(number):
    group = space_group(number)
    rng = np.random.default_rng(number)
    for letter, position in enumerate(group.positions):
        first = position.offset + position.basis @ rng.random(position.freedom)
        sites = group.site_of(letter, first)
        assert len(sites) == position.multiplicity
        images = group.rotations @ first + group.translations
        apart = images[:, None] - sites
        nearest = np.abs(apart - np.round(apart)).max(-1).min(1)
        assert nearest.max() < 1e-6  # every operation leads to one of the sites
        moved = position.projector @ position.basis
        assert np.allclose(moved, position.basis)


@pytest.mark.parametrize("number", [5, 15, 38, 43, 62, 70, 88, 122, 146, 160, 166, 194, 216, 227])
def test_letters_and_site_symmetries_are_spglibs(number):
    group = space_group(number)
    rng = np.random.default_rng(number)
    general = len(group.positions) - 1
    vectors = group.primitive.T @ _cell(number)
    for letter, position in enumerate(group.positions):
        places = [group.site_of(general, rng.random(3)) for _ in range(2)]
        places.append(
            group.site_of(letter, position.offset + position.basis @ rng.random(position.freedom))
        )
        sizes = [len(p) for p in places]
        cell = (vectors, np.concatenate(places), np.repeat([1, 2, 3], sizes))
        found = spglib.get_symmetry_dataset(cell, symprec=1e-3, hall_number=_first_hall(number))
        assert found.number == number
        conventional = found.transformation_matrix @ group.primitive
        if np.allclose(conventional, np.eye(3), atol=1e-6) and np.allclose(
            found.origin_shift, np.round(found.origin_shift), atol=1e-6
        ):
            assert found.wyckoffs[-1] == position.letter
            assert found.site_symmetry_symbols[-1] == position.site_symmetry
        multiplicity = round(np.linalg.det(np.linalg.inv(group.primitive))) * position.multiplicity
        same = [w for w, t in zip(found.wyckoffs, cell[2], strict=True) if t == 3]
        assert len(same) == position.multiplicity
        assert multiplicity >= position.multiplicity


def _first_hall(number: int) -> int:
    return next(h for h in range(1, 531) if spglib.get_spacegroup_type(h).number == number)


def _cell(number: int) -> np.ndarray:
    """Return a conventional cell with nothing more than the group asks for."""
    if number <= 2:
        return 4 * np.array([[5, 0, 0], [0.7, 6, 0], [0.9, 1.1, 7.0]])
    if number < 16:
        return 4 * np.array([[5, 0, 0], [0, 6, 0], [-1.9, 0, 7.0]])
    if number < 75:
        return 4 * np.diag([5, 6, 7.0])
    if number < 143:
        return 4 * np.diag([5, 5, 7.0])
    if number < 195:
        return 4 * np.array([[5, 0, 0], [-2.5, 2.5 * 3**0.5, 0], [0, 0, 7.0]])
    return 4 * 5 * np.eye(3)


def test_normalisers_carry_the_group_into_itself():
    for number in range(1, 231):
        group = space_group(number)
        for turn, shift in zip(*group.normaliser, strict=True):
            back = np.linalg.inv(turn)
            for rotation, translation in zip(group.rotations, group.translations, strict=True):
                rotated = turn @ rotation @ back
                moved = turn @ translation + shift - rotated @ shift
                same = np.abs(group.rotations - rotated).max((1, 2)) < 1e-6
                apart = group.translations[same] - moved
                assert same.any()
                assert np.abs(apart - np.round(apart)).max(-1).min() < 1e-6


def test_features_are_those_of_the_position():
    symmetry, freedom, multiplicity, symbols = position_features()
    number = position_number(225, 0)
    assert symbols[symmetry[number] - 1] == "m-3m"
    assert (freedom[number], multiplicity[number]) == (0, 1)
    general = position_number(225, 11)
    assert symbols[symmetry[general] - 1] == "1"
    assert (freedom[general], multiplicity[general]) == (3, 48)

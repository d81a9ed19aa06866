"""Conditions: what is refused, and what samples then have."""

import math

import numpy as np
import pytest
import torch
from pymatgen.core import Element
from random_streams import streams

from crystens_flows.errors import InputError
from crystens_flows.generators.conditions import Conditions
from crystens_flows.generators.wyckoff.decoding import sample_specifications
from crystens_flows.generators.wyckoff.occupation import can_hold
from crystens_flows.generators.wyckoff.positions import space_group
from crystens_flows.generators.wyckoff.sentences import sentences
from crystens_flows.generators.wyckoff.specification import log_likelihood


def counts(specification):
    positions = space_group(specification.space_group).positions
    found: dict[str, int] = {}
    for z, letter in zip(specification.numbers, specification.letters, strict=True):
        symbol = Element.from_Z(z).symbol
        found[symbol] = found.get(symbol, 0) + positions[letter].multiplicity
    return found


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"formula": "Xx2"}, "'Xx2' is no formula"),
        ({"formula": "NaF0.333"}, "is no formula with whole numbers"),
        ({"formula": "LrF3"}, "elements up to Z = 100"),
        ({"formula": "CH4(CH2)30"}, "at most 52"),
        ({"formula": "NaF", "chemical_system": "Na-F"}, "not both"),
        ({"formula": "NaF", "n_sites": 5}, "no multiple of the 2"),
        ({"formula": "NaF", "space_group": 227, "n_sites": 2}, "227 cannot hold NaF with 2"),
        ({"chemical_system": "Na-Zz"}, "no chemical system"),
        ({"chemical_system": "Li-Fe-O", "n_sites": 2}, "cannot hold 3 elements"),
        ({"n_sites": 53}, "1 to 52 sites"),
        ({"n_sites": 6, "space_group": 62}, "space group 62 cannot hold 6 sites"),
        ({"space_group": 231}, "from 1 to 230"),
        ({"band_gap": -1.0}, "not negative"),
        ({"band_gap": math.inf}, "band_gap is inf: give a finite number"),
        ({"formation_energy_per_atom": math.nan}, "formation_energy_per_atom is nan"),
        ({"guidance": 30.0}, "from 0 to 20"),
    ],
)
def test_refuses_what_cannot_be(asked, reason):
    with pytest.raises(InputError, match=reason):
        Conditions(**asked)


def test_what_is_asked_for_holds(model):
    for made in sample_specifications(model, Conditions(formula="Ca(TiO3)"), streams(6)):
        found = counts(made)
        assert found["O"] == 3 * found["Ca"] == 3 * found["Ti"]
    conditions = Conditions(formula="SrTiO3", space_group=221)
    for made in sample_specifications(model, conditions, streams(6)):
        assert made.space_group == 221
        assert set(counts(made)) == {"Sr", "Ti", "O"}
    for made in sample_specifications(model, Conditions(chemical_system="O-Fe-Li"), streams(6)):
        assert set(counts(made)) == {"Li", "Fe", "O"}
    conditions = Conditions(chemical_system="Li-O", n_sites=8, space_group=62)
    for made in sample_specifications(model, conditions, streams(6)):
        assert made.space_group == 62
        assert sum(counts(made).values()) == 8
    for made in sample_specifications(model, Conditions(n_sites=7), streams(6)):
        assert sum(counts(made).values()) == 7


@pytest.mark.parametrize("n_sites", [47, 51, 52])
def test_large_cells_are_filled_by_the_last_element(model, n_sites):
    for made in sample_specifications(model, Conditions(n_sites=n_sites), streams(6)):
        assert sum(counts(made).values()) == n_sites


def test_formulas_are_reduced_by_their_numbers_alone():
    """Not to the molecules that pymatgen writes for some: three atoms of nitrogen may be a cell."""
    assert Conditions(formula="N2", n_sites=3).compositions == [{7: 3}]
    assert Conditions(formula="Na2O2", n_sites=2).compositions == [{11: 1, 8: 1}]
    assert Conditions(formula="Ca2Ti2O6", n_sites=5).compositions == [{20: 1, 22: 1, 8: 3}]
    assert Conditions(formula="HDO", n_sites=3).compositions == [{1: 2, 8: 1}]


def test_nothing_is_followed_without_guidance():
    asked = {"formula": "MgO", "formation_energy_per_atom": -3.0}
    assert Conditions(**asked).aims
    assert not Conditions(**asked, guidance=0.0).aims
    assert not Conditions(formula="MgO").aims


def test_samples_are_crystals_that_can_be(model):
    for made in sample_specifications(model, Conditions(), streams(24)):
        found = counts(made)
        assert 1 <= sum(found.values()) <= 52
        assert can_hold(made.space_group, tuple(found.values()))
        positions = space_group(made.space_group).positions
        fixed = [letter for letter in made.letters if positions[letter].freedom == 0]
        assert len(fixed) == len(set(fixed))


def test_a_sample_depends_on_its_stream_alone(model):
    for conditions in (
        Conditions(),
        Conditions(formula="NaF"),
        Conditions(formation_energy_per_atom=-2.0),
    ):
        whole = sample_specifications(model, conditions, streams(9))
        assert sample_specifications(model, conditions, streams(9)[4:6]) == whole[4:6]


def test_reading_word_by_word_is_reading_at_once(model):
    tokens = torch.tensor([[1, 4, 15, 30, 130, 3, 200]])
    nothing = torch.zeros_like(tokens)
    at_once = model.read(tokens, nothing, nothing)
    past: list[list[torch.Tensor]] = [[] for _ in model.layers]
    parts = [model.read(tokens[:, :3], nothing[:, :3], nothing[:, :3], past, 0)]
    for k in range(3, 7):
        word = slice(k, k + 1)
        parts.append(model.read(tokens[:, word], nothing[:, word], nothing[:, word], past, k))
    assert torch.allclose(torch.cat(parts, dim=1), at_once, atol=1e-12)
    past = [[] for _ in model.layers]
    parts = [
        model.read(
            tokens[:, first:last], nothing[:, first:last], nothing[:, first:last], past, first
        )
        for first, last in ((0, 3), (3, 6), (6, 7))
    ]
    assert torch.allclose(torch.cat(parts, dim=1), at_once, atol=1e-12)


@pytest.mark.slow
def test_formulas_are_drawn_by_their_likelihood(model):
    """Shares of space groups and letters among samples are those of the likelihoods."""
    from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal

    drawn = sample_specifications(model, Conditions(formula="NaF", n_sites=2), streams(4000, 5))
    number: dict[tuple, int] = {}
    for made in drawn:
        key = (made.space_group, made.numbers, made.letters)
        number[key] = number.get(key, 0) + 1
    common = sorted(number, key=lambda key: -number[key])[:6]
    crystals = [
        SymmetricCrystal(g, np.array(z), np.array(w), np.zeros((len(z), 3)), np.ones(6))
        for g, z, w in common
    ]
    written = sentences(crystals, [0] * 6, [0] * 6, True)
    with torch.no_grad():
        head, orbits = log_likelihood(model, written, torch.device("cpu"))
    share = np.exp((head + orbits).numpy())
    got = np.array([number[key] for key in common])
    expected = share / share.sum() * got.sum()
    assert (np.abs(got - expected) < 5 * np.sqrt(expected) + 5).all()

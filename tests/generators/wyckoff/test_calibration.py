"""Shares of elements and of their number, brought to those of crystals."""

import math

import numpy as np
import pytest
from pymatgen.core import Element
from random_streams import streams

from crystens_flows.generators.conditions import Conditions
from crystens_flows.generators.wyckoff.calibration import Calibration, calibrate
from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal
from crystens_flows.generators.wyckoff.decoding import (
    sample_compositions,
    sample_specifications,
)
from crystens_flows.generators.wyckoff.sentences import END, FIRST_ELEMENT


def crystals_with(*formulas):
    """Return crystals of group 1, an atom in each orbit."""
    found = []
    for formula in formulas:
        numbers = np.array([Element(symbol).Z for symbol in formula.split("-")])
        found.append(
            SymmetricCrystal(1, numbers, np.zeros_like(numbers), np.zeros((len(numbers), 3)), 0)
        )
    return found


def test_a_correction_is_the_logarithm_of_what_is_missing():
    wanted = [{3: 1, 8: 1}] * 3 + [{3: 1, 8: 1, 9: 1}]
    drawn = [{3: 1, 8: 1}, {3: 1, 8: 1, 9: 1}, {3: 2, 9: 1}, {8: 1, 9: 1, 17: 1}]
    corrected = Calibration().towards(wanted, drawn, 0.5)
    # shares of F are 1/4 and 3/4, of Li 1 and 3/4; four compositions are added to four drawn
    assert corrected.elements[8] == pytest.approx(0.5 * math.log((0.25 + 1) / (0.75 + 1)))
    assert corrected.elements[2] == pytest.approx(0.5 * math.log((1 + 1) / (0.75 + 1)))
    assert corrected.elements[25] == 0
    # of those with two elements at least, 3 of 4 end there, and 2 of 4 of the drawn
    odds = (0.75 + 1) / (0.25 + 1), (0.5 + 1) / (0.5 + 1)
    assert corrected.ends[2] == pytest.approx(0.5 * math.log(odds[0] / odds[1]))
    assert corrected.ends[0] == corrected.ends[9] == 0
    again = corrected.towards(wanted, drawn, 0.5)
    assert again.elements[8] == pytest.approx(2 * corrected.elements[8])


def test_words_get_what_is_added_to_their_element_or_end():
    elements, ends = np.linspace(-1, 1, 100), np.linspace(0, 2, 10)
    table = Calibration(tuple(elements), tuple(ends)).of_words
    for z in (1, 50, 100):
        assert (table[:, FIRST_ELEMENT + z - 1] == elements[z - 1]).all()
    assert table[:, END].tolist() == ends.tolist()
    table[:, FIRST_ELEMENT : FIRST_ELEMENT + 100] = 0
    table[:, END] = 0
    assert not table.any()


def test_calibrated_samples_have_the_shares_of_crystals(model):
    """A model without any training, which writes nine of a hundred elements, learns from shares."""
    common = ["Na-Cl"] * 120 + ["Na-Br"] * 80 + ["K-Fe-O"] * 150 + ["Cu"] * 50
    crystals = crystals_with(*common)
    found = calibrate(model, crystals, 0.8, seed=3)
    assert found == calibrate(model, crystals, 0.8, seed=3)
    before = sample_compositions(model, streams(400), 0.8)
    after = sample_compositions(model, streams(400), 0.8, found.of_words)

    def sizes(compositions):
        return np.bincount([len(each) for each in compositions], minlength=10)[1:4] / 400

    def share_of_common(compositions):
        written = [z for each in compositions for z in each]
        return np.isin(written, [11, 17, 35, 19, 26, 8, 29]).mean()

    wanted = np.array([50, 200, 150]) / 400
    assert np.abs(sizes(before) - wanted).sum() > 0.4
    assert np.abs(sizes(after) - wanted).sum() < 0.2
    assert share_of_common(before) < 0.2
    assert share_of_common(after) > 3 * share_of_common(before)


def test_what_is_asked_for_holds_with_a_calibration(model):
    added = Calibration(tuple(np.linspace(-3, 3, 100)), tuple(np.linspace(-3, 3, 10))).of_words
    conditions = Conditions(chemical_system="O-Fe-Li", n_sites=7)
    for made in sample_specifications(model, conditions, streams(6), 0.8, added):
        assert set(made.numbers) == {3, 8, 26}
    whole = sample_specifications(model, Conditions(), streams(9), 0.8, added)
    assert sample_specifications(model, Conditions(), streams(9)[4:6], 0.8, added) == whole[4:6]

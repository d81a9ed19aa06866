"""Samples beside real crystals: the same numbers as the evaluation finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crystens_flows import datasets
from crystens_flows.datasets import shipped
from crystens_flows.evaluation.distributions import Distributions
from crystens_flows.report.samples import SHOWN, compare, comparison_section


@pytest.fixture(scope="module")
def crystals():
    """The first crystals of the training split, on their own."""
    dataset = shipped()
    return dataset.subset(dataset.split["train"][:60])


def test_the_numbers_are_those_of_the_evaluation(crystals, monkeypatch):
    few = replace(crystals, split={"train": np.arange(len(crystals))})
    monkeypatch.setattr(datasets, "shipped", lambda: few)
    structures = list(few.structures())
    comparisons = compare(structure.as_dict() for structure in structures)
    expected = Distributions()
    for structure in structures:
        expected.add(structure, 1)
    assert len(comparisons) == len(SHOWN)
    for name, found in zip(SHOWN, comparisons, strict=True):
        median = np.median(expected.values[name])
        # of both: the reference is read from arrays, the samples from documents
        assert found.medians == pytest.approx((median, median), rel=1e-4), name
        assert found.statistic < 0.1
        assert sum(found.samples) == pytest.approx(1)
        assert sum(found.reference) == pytest.approx(1)
        assert found.n_samples == len(structures)


def test_what_is_unlike_real_crystals_shows(crystals):
    dense = []
    for structure in crystals.structures():
        structure.scale_lattice(structure.volume / 4)
        dense.append(structure.as_dict())
    comparisons = compare(dense)
    statistics = {each.quantity.split(" (")[0]: each.statistic for each in comparisons}
    assert statistics["density"] > 0.5
    assert statistics["elements"] < 0.3
    section = comparison_section(comparisons)
    assert section.count("<svg") == len(SHOWN)
    assert f"KS {statistics['density']:.2f}" in section


def test_without_samples_there_is_nothing_to_compare():
    assert compare([]) == []

"""Crystals in the form that generators train on."""

import os

import numpy as np

from crystens_flows.datasets import shipped
from crystens_flows.generators import training_set
from crystens_flows.generators.training_set import for_each_structure


def described(structure):
    return os.getpid(), structure.formula, structure.lattice.parameters


def test_many_crystals_are_shared_out_and_few_are_not(monkeypatch):
    monkeypatch.setattr(training_set, "AT_A_TIME", 3)
    dataset, rows = shipped(), np.array([9, 4, 1, 7, 30, 2, 8])
    expected = [described(structure)[1:] for structure in dataset.structures(rows)]
    found = for_each_structure(described, dataset, rows)
    assert [each[1:] for each in found] == expected
    assert os.getpid() not in {each[0] for each in found}
    few = for_each_structure(described, dataset, rows[:3])
    assert few == [(os.getpid(), *each) for each in expected[:3]]

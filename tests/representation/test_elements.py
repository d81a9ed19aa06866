from __future__ import annotations

from itertools import combinations, product
from math import comb, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystens_flows.representation.elements import (
    assign_elements,
    margin,
    partitions,
    rounding_is_safe,
)


def brute_force(values, weights, error, window):
    """Try every assignment of the elements in `window`; return the lowest cost."""
    best = np.inf
    for k in range(1, len(values) + 1):
        for elements in combinations(window, k):
            misfit = sum(
                min(w * (v - z) ** 2 for z in elements)
                for v, w in zip(values, weights, strict=True)
            )
            cost = misfit / (2 * error**2) + log(comb(118, k)) + len(values) * log(k)
            best = min(best, cost)
    return best


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(0.3, 7.2), min_size=1, max_size=5),
    error=st.floats(0.05, 1.5),
    seed=st.integers(0, 99),
)
def test_the_best_partition_is_that_of_brute_force(values, error, seed):
    weights = np.random.default_rng(seed).integers(1, 4, len(values)).astype(float)
    found = partitions(np.array(values), weights, error)[0]
    assert found.cost == pytest.approx(brute_force(values, weights, error, range(1, 9)), abs=1e-6)
    misfit = (weights * (np.array(values) - found.numbers) ** 2).sum() / (2 * error**2)
    k = found.n_elements
    assert found.cost == pytest.approx(misfit + log(comb(118, k)) + len(values) * log(k), abs=1e-6)


def test_the_example_of_the_paper():
    values = np.array([12.2, 12.6, 12.4, 12.5, 7.7, 7.4, 8.4, 8.5])
    assignments, error = assign_elements(values, 0.05)
    assert assignments[0].numbers.tolist() == [12] * 4 + [8] * 4
    assert error > 0.2


def test_well_determined_numbers_stay_apart():
    values = np.array([25.02, 25.98, 27.01, 8.0, 8.01, 7.99])
    assert assign_elements(values, 0.05)[0][0].numbers.tolist() == [25, 26, 27, 8, 8, 8]


def test_hydrogen_is_the_lightest():
    assert assign_elements(np.array([0.2, -0.1, 8.3]), 0.5)[0][0].numbers.tolist() == [1, 1, 8]


def test_rounding_is_safe():
    values = np.array([[1.0, 8.01, 26.0], [1.2, 8.3, 26.4], [1.0, 8.01, 99.7]])
    sites = np.array([[True] * 3, [True] * 3, [True, True, False]])
    assert rounding_is_safe(values, np.array([0.02] * 3), sites).tolist() == [True, False, True]
    assert not rounding_is_safe(values, np.array([0.2] * 3), sites).any()


@pytest.mark.parametrize("error", [0.2, 0.4])
def test_the_margin_is_the_cost_of_the_next_assignment(error):
    values = np.array([8.1, 7.8, 25.3, 26.2])
    assignments, error = assign_elements(values, error)
    rise = margin(assignments, values, error)
    best = assignments[0].numbers
    costs = [
        ((values - other) ** 2).sum() / (2 * error**2)
        + log(comb(118, len(set(other))))
        + 4 * log(len(set(other)))
        for other in product(range(6, 11), range(6, 11), range(23, 29), range(23, 29))
        if list(other) != best.tolist()
    ]
    assert rise >= min(costs) - assignments[0].cost - 1e-9
    assert rise < 12

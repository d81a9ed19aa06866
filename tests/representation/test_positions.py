from __future__ import annotations

import numpy as np
import pytest

from crystens_flows.representation.positions import (
    cluster_coordinates,
    estimate_positions,
    pair_residuals,
)

N = 9


def measurements(own_error, pair_error, seed=0, n_absent=3):
    generator = np.random.default_rng(seed)
    true = generator.random((N, 3))
    m = N + n_absent
    copies = np.full((1, 8, 3, m), 7.0)
    copies[0, :, :, :N] = true.T + generator.normal(0, own_error, (8, 3, N))
    directions = np.full((1, 3, m, m), -5.0)
    difference = true.T[:, :, None] - true.T[:, None, :]
    directions[0, :, :N, :N] = difference + generator.normal(0, pair_error, (3, N, N))
    sites = np.arange(m)[None] < N
    return true, copies, directions, sites


def estimate(copies, directions, sites):
    residuals = pair_residuals(copies.mean(axis=1), directions, sites)
    return estimate_positions(copies, residuals, sites)


@pytest.mark.parametrize(("own_error", "pair_error"), [(0.01, 0.02), (0.03, 0.01)])
def test_positions_are_the_least_squares_solution(own_error, pair_error):
    _, copies, directions, sites = measurements(own_error, pair_error)
    found, error = estimate(copies, directions, sites)
    # What the weights come down to can be read off the error and the spread of the copies.
    own = copies[0, :, :, :N].mean(axis=0)
    spread = copies[0, :, :, :N] - own
    own_weight = 1 / ((spread**2).sum() / (7 * 8 * 3 * N))
    pair_weight = (1 / error[0] ** 2 - own_weight) / N
    assert own_weight == pytest.approx(8 / own_error**2, rel=0.3)
    assert pair_weight == pytest.approx(2 / pair_error**2, rel=0.5)
    rows, rights = [], []
    for i in range(N):
        rows.append(np.sqrt(own_weight) * np.eye(N)[i])
        rights.append(np.sqrt(own_weight) * own[:, i])
        for j in range(i):
            both = (directions[0, :, i, j] - directions[0, :, j, i]) / 2
            rows.append(np.sqrt(pair_weight) * (np.eye(N)[i] - np.eye(N)[j]))
            rights.append(np.sqrt(pair_weight) * both)
    expected = np.linalg.lstsq(np.array(rows), np.array(rights), rcond=None)[0]
    np.testing.assert_allclose(found[0, :N], expected, atol=1e-4)


def test_the_error_is_right_and_below_that_of_the_plain_average():
    ratios, gains = [], []
    for seed in range(40):
        true, copies, directions, sites = measurements(0.02, 0.04, seed)
        found, error = estimate(copies, directions, sites)

        def relative(positions, true=true):
            shift = positions - true
            return np.sqrt(((shift - shift.mean(axis=0)) ** 2).sum() / (3 * (N - 1)))

        own = copies[0, :, :, :N].mean(axis=0)
        guesses = own[:, :, None] - directions[0, :, :N, :N]
        guesses[:, np.arange(N), np.arange(N)] = own
        ratios.append(relative(found[0, :N]) / error[0])
        gains.append(relative(found[0, :N]) / relative(guesses.mean(axis=1).T))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.1)
    assert np.mean(gains) < 0.8


def test_guesses_off_by_a_lattice_translation_are_brought_back():
    true, copies, directions, sites = measurements(1e-4, 1e-4)
    directions[0, 0, 2, 5] += 1.0
    directions[0, 0, 5, 2] -= 1.0
    found, _ = estimate(copies, directions, sites)
    np.testing.assert_allclose(found[0, :N], true, atol=1e-3)


def test_one_wrong_guess_has_little_influence():
    _, copies, directions, sites = measurements(1e-3, 1e-3)
    clean, _ = estimate(copies, directions, sites)
    directions[0, 0, 2, 5] += 0.4
    directions[0, 0, 5, 2] -= 0.4
    spoiled, _ = estimate(copies, directions, sites)
    plain = 0.4 / N
    assert np.abs(spoiled - clean)[0, :N].max() < plain / 2


def test_one_site():
    copies = np.full((1, 8, 3, 4), 0.25)
    sites = np.array([[True, False, False, False]])
    residuals = pair_residuals(copies.mean(axis=1), np.ones((1, 3, 4, 4)), sites)
    assert not residuals.any()
    positions, _ = estimate_positions(copies, residuals, sites)
    np.testing.assert_allclose(positions[0, 0], 0.25)


def test_coordinates_that_agree_become_one():
    positions = np.array(
        [
            [
                [0.001, 0.499, 0.3],
                [0.999, 0.5, 0.7],
                [-0.0005, 0.501, 0.302],
                [1.25, 0.2501, -0.7502],
                [9.0, 9.0, 9.0],
            ]
        ]
    )
    sites = np.array([[True] * 4 + [False]])
    found = cluster_coordinates(positions, np.array([0.001]), sites)[0]
    assert found[0, 0] == pytest.approx(found[1, 0] - 1) == found[2, 0]
    assert found[0, 1] == found[1, 1] == found[2, 1] == pytest.approx(0.5)
    assert found[0, 2] == found[2, 2] == pytest.approx(0.301)
    assert found[1, 2] == pytest.approx(0.7)
    assert found[3, 0] - 1 == pytest.approx(found[3, 1]) == pytest.approx(found[3, 2] + 1)
    assert np.abs(found[:4] - positions[0, :4]).max() < 0.0021


def test_a_chain_wider_than_the_error_is_left_alone():
    positions = np.linspace(0.1, 0.2, 36).reshape(1, 12, 3)
    found = cluster_coordinates(positions, np.array([0.002]), np.ones((1, 12), dtype=bool))
    np.testing.assert_array_equal(found, positions)

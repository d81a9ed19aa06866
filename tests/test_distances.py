from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice

from crystens_flows.distances import shortest_distance

COORDINATES = st.lists(st.tuples(*[st.floats(-2, 2, allow_nan=False)] * 3), min_size=1, max_size=4)


def by_brute_force(coords, matrix):
    """Loop over every image near enough."""
    coords = coords % 1
    images = np.array(
        [(i, j, k) for i in range(-60, 61) for j in (-2, -1, 0, 1, 2) for k in (-1, 0, 1)]
    )
    vectors = (coords[:, None, None] - coords[None, :, None] + images) @ matrix
    lengths = np.linalg.norm(vectors, axis=-1)
    same = np.arange(len(coords))
    lengths[same, same, np.flatnonzero((images == 0).all(axis=1))[0]] = np.inf
    return lengths.min()


@given(COORDINATES, *[st.floats(2, 20)] * 3, st.floats(25, 155))
@settings(max_examples=100, deadline=None)
def test_random_cells(coords, a, b, c, gamma):
    coords = np.array(coords)
    matrix = Lattice.from_parameters(a / 8, b, c, 90, 90, gamma).matrix
    expected, found = by_brute_force(coords, matrix), shortest_distance(coords, matrix)
    if expected >= 0.5:
        assert found >= 0.5 - 1e-9
    elif a / 8 >= 0.5:
        assert found == pytest.approx(expected, abs=1e-9)
    else:  # the atoms overlap with their own images
        assert expected - 1e-9 <= found < 0.5 + 1e-9


def test_slanted_cell_of_an_ordinary_lattice():
    """The faces of this cell are 0.02 A apart, its atoms more than 3 A."""
    cubic = Lattice.cubic(4).matrix
    slanted = np.array([[1, 100, 0], [0, 1, 0], [30, 7, 1]]) @ cubic
    coords = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    assert shortest_distance(coords @ cubic @ np.linalg.inv(slanted), slanted) >= 0.5
    close = np.array([[0, 0, 0], [0.1, 0, 0.99]])
    found = shortest_distance(close @ cubic @ np.linalg.inv(slanted), slanted)
    assert found == pytest.approx(np.hypot(0.4, 0.04), abs=1e-6)


def test_large_cells_need_no_more_memory():
    tracemalloc.start()
    coords = np.random.default_rng(0).random((50, 3))
    assert shortest_distance(coords, Lattice.cubic(1000).matrix) > 0.5
    assert tracemalloc.get_traced_memory()[1] < 2e7
    tracemalloc.stop()

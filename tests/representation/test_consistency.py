from __future__ import annotations

import numpy as np
import plain_loop
import pytest

from crystens_flows.representation import REFERENCE, decode, encode


@pytest.mark.parametrize("sigma", [0.002, 0.02])
def test_tables_1_and_2_are_those_of_the_plain_loop(crystal, sigma):
    noise = np.random.default_rng(3).normal(0, sigma, (4, 64, 64))
    tensor = (encode([crystal])[0] + noise).astype(np.float32)
    n = len(crystal)
    found = plain_loop.read(plain_loop.unscale(tensor.astype(float), n, REFERENCE.ranges), n)
    measured = decode(tensor[None])[0].consistency.as_dict()
    assert set(measured) < set(found)
    for name, value in measured.items():
        assert value == pytest.approx(found[name], rel=1e-3, abs=1e-6), name


def test_the_quantities_grow_with_what_is_inconsistent():
    from pymatgen.core import Lattice, Structure

    structure = Structure(
        Lattice.cubic(5), ["Na", "Cl", "K"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.2, 0.1, 0.7]]
    )
    clean = encode([structure], [1])[0]

    def changed(index, value):
        tensor = clean.copy()
        tensor[index] += value
        return decode(tensor[None])[0].consistency

    n_copies = 8 * 3
    span = REFERENCE.span
    shifted = changed((0, 4, 12), 0.1)
    variance = (0.1 * span[4]) ** 2 * (1 / n_copies - 1 / n_copies**2) / 3
    assert shifted.length_variance == pytest.approx(variance, rel=1e-3)
    assert shifted.angle_variance < 1e-6
    assert changed((0, 8, 12), 0.1).angle_variance > 0.1
    assert changed((0, 10, 12), 0.1).space_group_variance > 1
    for axis in (1, 2, 3):  # x, y and z count alike
        expected = (0.1 * span[axis]) ** 2 * (1 / 8 - 1 / 64) / 9
        assert changed((0, axis, 12), 0.1).coordinate_variance == pytest.approx(expected, rel=1e-3)
        moved = changed((axis, 12, 13), 0.1)
        assert moved.coordinate_disagreement == pytest.approx(0.1 * span[11] / 18, rel=1e-3)
    stretched = changed((0, 12, 13), 0.1)
    assert stretched.pairwise_disagreement == pytest.approx(0.1 * span[12] / 3, rel=1e-3)
    assert stretched.coordinate_disagreement < 1e-6

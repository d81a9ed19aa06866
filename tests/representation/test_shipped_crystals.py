from __future__ import annotations

import numpy as np
import pytest
from noise import noisy, right_if_grouped
from pymatgen.analysis.structure_matcher import StructureMatcher

from crystens_flows.datasets import shipped
from crystens_flows.representation import decode, encode


@pytest.fixture(scope="module")
def structures():
    dataset = shipped()
    return list(dataset.structures(np.linspace(0, len(dataset) - 1, 200).astype(int)))


@pytest.fixture(scope="module")
def tensors(structures):
    return encode(structures)


def test_round_trip(structures, tensors):
    for decoded, structure in zip(decode(tensors), structures, strict=True):
        assert decoded.structure.atomic_numbers == structure.atomic_numbers
        np.testing.assert_allclose(decoded.structure.frac_coords, structure.frac_coords, atol=1e-3)
        np.testing.assert_allclose(
            decoded.structure.lattice.parameters, structure.lattice.parameters, atol=1e-3
        )


@pytest.mark.parametrize(("sigma", "fewer"), [(0.005, 1), (0.01, 7), (0.02, 14)])
def test_nearly_as_much_is_right_as_the_noise_allows(structures, tensors, sigma, fewer):
    matcher = StructureMatcher()
    spoiled = noisy(tensors[::2], sigma)
    matched = allowed = 0
    for decoded, structure, tensor in zip(decode(spoiled), structures[::2], spoiled, strict=True):
        matched += decoded.structure is not None and matcher.fit(decoded.structure, structure)
        allowed += right_if_grouped(tensor, structure.atomic_numbers)
    assert matched >= allowed - fewer

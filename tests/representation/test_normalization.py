from __future__ import annotations

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.representation import REFERENCE, Normalization, decode, encode

# Mean, standard deviation, and how many of them the range reaches below and above the mean, by
# which the published code defines its scaling.
MOMENTS = {
    "atomic_number": (27.503517675, 22.417031299, 1.182293825, 3.189382277),
    "x": (0.425202628, 0.293463257, 1.448912659, 1.958646244),
    "y": (0.436386684, 0.291906738, 1.494952421, 1.930776430),
    "z": (0.444294463, 0.293083504, 1.515931320, 1.896031435),
    "a": (7.576401996, 2.976937138, 1.953014702, 11.786475957),
    "b": (7.901420691, 3.559553637, 1.724660257, 10.473666956),
    "c": (9.930851748, 6.749988198, 1.150054122, 15.742864303),
    "alpha": (89.962707203, 3.137330421, 9.624649990, 9.574156614),
    "beta": (93.786887738, 9.618284408, 3.543759603, 4.640756124),
    "gamma": (95.659750239, 12.237549175, 3.002296433, 1.988980752),
    "space_group": (99.501887673, 76.656404905, 1.284979224, 1.702377153),
    "direction": (0.0, 0.409935043, 2.439394605, 2.439394605),
    "distance": (0.669346435, 0.236887250, 2.735343261, 4.159475793),
}


@pytest.mark.parametrize("quantity", MOMENTS)
def test_reference_is_the_scaling_of_the_published_code(quantity):
    mean, deviation, below, above = MOMENTS[quantity]
    low, high = REFERENCE.ranges[quantity]
    for value in (low, mean, high):
        published = ((value - mean) / deviation + below) / (below + above)
        assert (value - low) / (high - low) == pytest.approx(published, abs=2e-8)


def test_hydrogen_becomes_zero(all_crystals):
    hydrogen = Structure(Lattice.cubic(3), ["H"], [[0, 0, 0]])
    assert encode([hydrogen], [221])[0, 0, 0, 12] == 0.0


def test_a_fitted_scaling_covers_its_data(all_crystals):
    fitted = Normalization.fit(all_crystals, name="ten crystals")
    tensors = encode(all_crystals, normalization=fitted)
    assert tensors.min() > -1e-6
    assert tensors.max() == pytest.approx(1.0, abs=1e-6)
    for decoded, structure in zip(decode(tensors, normalization=fitted), all_crystals, strict=True):
        assert decoded.structure.atomic_numbers == structure.atomic_numbers
        np.testing.assert_allclose(decoded.structure.frac_coords, structure.frac_coords, atol=1e-5)


def test_a_scaling_fitted_to_one_atom_can_be_undone():
    copper = Structure(Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    fitted = Normalization.fit([copper])
    decoded = decode(encode([copper], normalization=fitted), normalization=fitted)[0]
    assert decoded.structure.formula == "Cu1"
    assert decoded.structure.lattice.a == pytest.approx(3.6, abs=1e-5)


def test_through_json():
    restored = Normalization.from_dict(json.loads(json.dumps(REFERENCE.to_dict())))
    assert restored == REFERENCE
    np.testing.assert_array_equal(restored.low, REFERENCE.low)


def test_bad_input():
    with pytest.raises(InputError, match="nothing to fit"):
        Normalization.fit([])
    with pytest.raises(InputError, match="missing: atomic_number"):
        Normalization({"x": (0, 1)})
    with pytest.raises(InputError, match="unknown: charge"):
        Normalization({**REFERENCE.ranges, "charge": (0, 1)})
    with pytest.raises(InputError, match="range of a"):
        Normalization({**REFERENCE.ranges, "a": (2.0, 2.0)})
    with pytest.raises(InputError, match="expected"):
        Normalization.from_dict({"ranges": [1, 2]})
    with pytest.raises(InputError, match="expected"):
        Normalization.from_dict({})

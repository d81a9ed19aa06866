"""The table of Wyckoff positions that ships is what the code that makes it finds."""

import gzip
import itertools
import json

import numpy as np
import pytest

from crystens_flows.generators.wyckoff.make_positions import record
from crystens_flows.generators.wyckoff.positions import DENOMINATOR, TABLE

LATTICE_VECTORS = np.array(list(itertools.product(range(-2, 3), repeat=3)))


@pytest.mark.parametrize("number", [1, 2, 5, 15, 40, 62, 88, 146, 148, 166, 186, 194, 216])
def test_a_group_comes_out_as_it_is_shipped(number):
    """Of each crystal system, with each kind of centring; offsets but for a lattice vector."""
    with gzip.open(TABLE) as stream:
        shipped = json.load(stream)[number - 1]
    made = json.loads(json.dumps(record(number)))
    for one, other in zip(made.pop("positions"), shipped.pop("positions"), strict=True):
        apart = np.array(one.pop("offset")) - other.pop("offset")
        assert one == other
        across = DENOMINATOR * np.eye(3, dtype=int) - one["projector"]
        assert (apart == LATTICE_VECTORS @ across.T).all(1).any()
    assert made == shipped

"""The table of Wyckoff positions that ships is what the code that makes it finds."""

import gzip
import json

import pytest

from crystens_flows.generators.wyckoff.make_positions import record
from crystens_flows.generators.wyckoff.positions import TABLE


@pytest.mark.parametrize("number", [1, 2, 5, 15, 40, 62, 88, 146, 148, 166, 186, 194, 216])
def test_a_group_comes_out_as_it_is_shipped(number):
    """Of each crystal system, with each kind of centring."""
    with gzip.open(TABLE) as stream:
        shipped = json.load(stream)[number - 1]
    assert json.loads(json.dumps(record(number))) == shipped

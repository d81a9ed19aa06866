"""One real crystal at a time."""

import pytest
from pymatgen.core import Structure
from symmetric_crystals import crystals


@pytest.fixture(params=list(crystals()))
def crystal(request) -> Structure:
    """Give one real crystal at a time."""
    return crystals()[request.param].copy()

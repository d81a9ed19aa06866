"""One real crystal at a time, and a network that has learned nothing."""

import pytest
import torch
from pymatgen.core import Structure
from symmetric_crystals import crystals

from crystens_flows.generators.wyckoff.specification import SpecificationModel


@pytest.fixture(scope="module")
def model():
    """Return a small model as it is before training: all it is asked must hold even then."""
    torch.manual_seed(1)
    return SpecificationModel(width=24, layers=2, heads=2).double().eval()


@pytest.fixture(params=list(crystals()))
def crystal(request) -> Structure:
    """Give one real crystal at a time."""
    return crystals()[request.param].copy()

import pytest

from crystens_flows.datasets import shipped
from crystens_flows.evaluation.reference import reference_of


@pytest.fixture(scope="session")
def small_reference():
    """Six crystals to compare with, six others as floor, 15,198 known ones."""
    return reference_of(shipped(), "shipped", size=6)

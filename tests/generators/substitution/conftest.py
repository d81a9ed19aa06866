"""A substitution generator of a few shipped crystals, and the one that ships."""

import pytest

from crystens_flows.generators import load_generator
from crystens_flows.generators.substitution.generator import SubstitutionGenerator


@pytest.fixture(scope="session")
def fitted_folder(few_crystals, tmp_path_factory):
    """Return the folder of a checkpoint with 60 crystals as templates."""
    folder = tmp_path_factory.mktemp("substitution") / "checkpoint"
    SubstitutionGenerator.fit(few_crystals, folder, data="76 crystals")
    return folder


@pytest.fixture(scope="session")
def fitted(fitted_folder):
    """Return the generator of `fitted_folder`."""
    return load_generator(fitted_folder)


@pytest.fixture(scope="session")
def shipped_substitution():
    """Return the substitution generator that ships."""
    return load_generator("substitution")

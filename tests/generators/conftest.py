"""A generator trained for a few steps on a few of the shipped crystals."""

from dataclasses import replace

import numpy as np
import pytest

from crystens_flows.datasets import shipped


@pytest.fixture(scope="session")
def few_crystals():
    """Return 60 small shipped crystals for training and 16 for validation."""
    dataset = shipped()
    small = np.flatnonzero(dataset.n_sites <= 8)[:76]
    return replace(dataset, split={"train": small[:60], "validation": small[60:]})


@pytest.fixture(scope="session")
def trained_folder(few_crystals, tmp_path_factory):
    """Return the folder of a checkpoint trained for four steps."""
    from crystens_flows.generators.wyckoff.generator import WyckoffGenerator

    folder = tmp_path_factory.mktemp("checkpoint")
    WyckoffGenerator.fit(few_crystals, folder, data="76 crystals", seed=3, steps=4)
    return folder


@pytest.fixture(scope="session")
def trained(trained_folder):
    """Return the generator of `trained_folder`."""
    from crystens_flows.generators import load_generator

    return load_generator(trained_folder)

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
def fewer_crystals(few_crystals):
    """Return 24 of these for training and 8 for validation, for networks that learn slowly."""
    split = few_crystals.split
    return replace(
        few_crystals, split={"train": split["train"][:24], "validation": split["validation"][:8]}
    )


@pytest.fixture(scope="session")
def trained_folder(fewer_crystals, tmp_path_factory):
    """Return the folder of a checkpoint trained for four steps."""
    from crystens_flows.generators.wyckoff.generator import WyckoffGenerator

    folder = tmp_path_factory.mktemp("checkpoint")
    WyckoffGenerator.fit(fewer_crystals, folder, data="32 crystals", seed=3, steps=4)
    return folder


@pytest.fixture(scope="session")
def trained(trained_folder):
    """Return the generator of `trained_folder`."""
    from crystens_flows.generators import load_generator

    return load_generator(trained_folder)

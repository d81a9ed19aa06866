"""An M3GNet trained for two epochs on a few of the shipped crystals."""

from dataclasses import replace

import numpy as np
import pytest

from crystens_flows.datasets import shipped

ANIONS = [8, 9, 16, 17]
CATIONS = [3, 11, 12, 13, 14, 19, 20, 22, 25, 26]


@pytest.fixture(scope="session")
def minerals():
    """Return small shipped salts of few elements: 64 to train on and 32 to validate with."""
    dataset = shipped()
    common = np.isin(dataset.numbers, [0, *ANIONS, *CATIONS]).all(axis=1)
    common &= np.isin(dataset.numbers, ANIONS).any(axis=1) & (dataset.n_sites <= 12)
    small = np.flatnonzero(common)[:96]
    return replace(dataset, split={"train": small[:64], "validation": small[64:]})


@pytest.fixture(scope="session")
def settings():
    """Return settings of a short training."""
    from crystens_flows.screening.m3gnet.training import M3GNetSettings

    return M3GNetSettings(epochs=2, batch_size=8, learning_rate=3e-3, bfloat16=False)


@pytest.fixture(scope="session")
def trained_folder(minerals, settings, tmp_path_factory):
    """Return the folder of a trained model with its uncertainty."""
    from crystens_flows.screening.m3gnet.training import train_m3gnet
    from crystens_flows.screening.m3gnet.uncertainty import fit_uncertainty

    folder = tmp_path_factory.mktemp("m3gnet") / "trained"
    train_m3gnet(minerals, folder, settings, data="96 minerals")
    fit_uncertainty(folder, minerals)
    return folder


@pytest.fixture(scope="session")
def model(trained_folder):
    """Return the model of `trained_folder`."""
    from crystens_flows.screening.m3gnet.model import load_m3gnet

    return load_m3gnet(trained_folder)

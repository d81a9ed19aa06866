"""The diffusion model with layers of chemical descriptors."""

import json

import numpy as np
import pytest
import torch
from imagen_examples import SETTINGS, fit

from crystens_flows.errors import CheckpointError, OutputFolderError
from crystens_flows.generators import load_generator
from crystens_flows.generators.checkpoints import read_checkpoint, write_checkpoint
from crystens_flows.generators.imagen.downscale import DOWNSCALES
from crystens_flows.generators.imagen.sampling import SampleNoise, sample_cascade

pytest.importorskip("accelerate", reason="needs the extra imagen")

NAMES = ["group", "electronegativity"]
WITH = {**SETTINGS, "descriptors": NAMES}


@pytest.fixture(scope="module")
def folder(few_crystals, tmp_path_factory):
    """Return the folder of a training of two steps with two descriptors."""
    path = tmp_path_factory.mktemp("imagen")
    fit(few_crystals, path, steps=2, settings=WITH)
    return path


def test_networks_learn_descriptors_and_samples_are_without(folder):
    generator = load_generator(folder)
    config = json.loads((folder / "config.json").read_text())["config"]
    assert config["architecture"]["descriptors"] == NAMES
    assert generator.card["settings"]["descriptors"] == NAMES
    whole = generator.sample(7, seed=5)
    assert whole.shape == (7, 4, 64, 64)
    assert whole.dtype == np.float32
    again = load_generator(folder)
    assert again.sha256 == generator.sha256
    chunks = [again.sample(n, 5, start) for start, n in ((0, 1), (1, 4), (5, 2))]
    assert np.array_equal(whole, np.concatenate(chunks))
    noise = SampleNoise(5, range(3), generator.device)
    sampling = generator.settings.sampling
    images = sample_cascade(generator.networks, 3, noise, "phases", sampling, 6).cpu().numpy()
    assert images.shape == (3, 6, 64, 64)
    assert np.array_equal(whole[:3], images[:, :4])


def test_an_altered_list_is_named(folder, tmp_path):
    config, card, weights, _ = read_checkpoint(folder, "imagen")
    for names in (["group"], [], ["group", "colour"]):
        altered = config | {"architecture": config["architecture"] | {"descriptors": names}}
        write_checkpoint(tmp_path, "imagen", altered, card, weights)
        with pytest.raises(CheckpointError, match="does not fit this version's"):
            load_generator(tmp_path)


def test_without_descriptors_checkpoints_are_what_they_were(few_crystals, folder, tmp_path):
    plain = {**SETTINGS, "descriptors": []}
    given = fit(few_crystals, tmp_path / "run", steps=1, settings=plain)
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert set(config["architecture"]) == {"base", "super_resolution", "downscale"}
    assert "descriptors" not in given.card["settings"]
    with pytest.raises(OutputFolderError, match=r"descriptors None, not \['group'"):
        fit(few_crystals, tmp_path / "run", steps=1, settings=WITH)
    with pytest.raises(OutputFolderError, match=r"descriptors \['group', 'electronegativity'\], n"):
        fit(few_crystals, folder, steps=2)


@pytest.mark.parametrize("name", DOWNSCALES)
def test_the_four_layers_go_down_and_up_as_alone(few_crystals, name):
    rows = few_crystals.split["train"][:6]
    (batch,) = few_crystals.crystens_batches(rows, descriptors=[*NAMES, "radius"])
    tensors, way = torch.from_numpy(batch), DOWNSCALES[name]
    small = way.down(tensors)
    assert small.shape == (6, 7 * way.channels_each, 32, 32)
    shown = way.up(small)
    assert shown.shape == tensors.shape
    assert torch.equal(shown[:, :4], way.up(way.down(tensors[:, :4])))
    if name == "phases":  # quarters in turn, each entry shown in its place among four
        for layer, (row, column) in zip((4, 5, 6), ((0, 0), (0, 1), (1, 0)), strict=True):
            quarter = tensors[:, layer, row::2, column::2]
            assert torch.equal(shown[:, layer, row::2, column::2], quarter)
            assert torch.equal(shown[:, layer, 1 - row :: 2, 1 - column :: 2], quarter)


def test_every_way_down_can_be_trained_with_them(few_crystals, tmp_path):
    settings = {**WITH, "downscale": "unshuffle", "descriptors": ["block"]}
    generator = fit(few_crystals, tmp_path / "run", steps=1, settings=settings)
    assert generator.sample(1, seed=0).shape == (1, 4, 64, 64)

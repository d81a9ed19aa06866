"""What goes wrong with a training or a checkpoint of the diffusion model, and what is kept."""

import resource
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from imagen_examples import SETTINGS, TINY, fit, same, weights

from crystens_flows.errors import (
    CheckpointError,
    DatasetError,
    InputError,
    OutputFolderError,
    TrainingError,
)
from crystens_flows.generators import load_generator, train_generator
from crystens_flows.generators.checkpoints import read_checkpoint, write_checkpoint
from crystens_flows.generators.imagen.objective import Objective
from crystens_flows.generators.imagen.settings import ImagenSettings

pytest.importorskip("accelerate", reason="needs the extra imagen")


@pytest.fixture(scope="module")
def folder(few_crystals, tmp_path_factory):
    """Return the folder of a training of six steps."""
    path = tmp_path_factory.mktemp("imagen")
    fit(few_crystals, path, data="76 crystals", seed=3, steps=6)
    return path


@pytest.fixture(scope="module")
def trained(folder):
    return load_generator(folder)


@contextmanager
def small_disk(size):
    """Let no file grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_another_training_does_not_enter_the_same_folder(few_crystals, folder):
    wider = {**SETTINGS, "base": {**TINY, "dim": 16}}
    with pytest.raises(OutputFolderError, match=r"base\.dim 8, not 16"):
        fit(few_crystals, folder, seed=3, steps=6, settings=wider)
    with pytest.raises(OutputFolderError, match="seed 3, not 0"):
        fit(few_crystals, folder, steps=6)


def test_a_loss_that_is_no_number_stops_the_training(few_crystals, tmp_path):
    run = tmp_path / "run"
    fit(few_crystals, run, steps=3)
    checkpoint = (run / "weights.safetensors").read_bytes()
    wild = {**SETTINGS, "learning_rate": 1e30}
    with pytest.raises(
        TrainingError, match=r"'base' stopped at step [45]: .*the state of step 3 is kept in "
    ):
        fit(few_crystals, run, steps=9, settings=wild)
    assert (run / "weights.safetensors").read_bytes() == checkpoint
    assert fit(few_crystals, run, steps=9).card["steps"]["base"] == 9


def test_a_state_is_not_written_with_parameters_that_are_no_numbers(few_crystals, tmp_path):
    wild = {**SETTINGS, "learning_rate": 1e30}
    with pytest.raises(TrainingError, match="a parameter is not a number; no state had been"):
        fit(few_crystals, tmp_path / "run", steps=1, settings=wild)
    assert not list((tmp_path / "run").glob("*state*"))


def test_a_full_disk_loses_nothing(few_crystals, folder, tmp_path):
    run = tmp_path / "run"
    fit(few_crystals, run, seed=3, steps=2)
    before = {path.name: path.read_bytes() for path in run.glob("*.safetensors")}
    with (
        small_disk(100_000),
        pytest.raises(TrainingError, match=r"base-state.*the state of step 2 is kept: make room"),
    ):
        fit(few_crystals, run, seed=3, steps=6)
    assert {path.name: path.read_bytes() for path in run.glob("*.safetensors")} == before
    assert not list(run.glob(".*"))
    fit(few_crystals, run, seed=3, steps=6)
    assert same(weights(run), weights(folder))


def test_names_a_checkpoint_that_cannot_be_written(trained, tmp_path):
    with small_disk(100_000), pytest.raises(TrainingError, match=r"checkpoint in .*File too"):
        trained.save(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "replaced"])
def test_names_a_damaged_state(few_crystals, folder, tmp_path, damage):
    run = tmp_path / "run"
    fit(few_crystals, run, steps=1)
    state = run / "super_resolution-state.safetensors"
    state.write_bytes(
        state.read_bytes()[:-1000]
        if damage == "cut"
        else (folder / "base-state.safetensors").read_bytes()
    )
    with pytest.raises(CheckpointError, match=r"super_resolution-state\.safetensors cannot be"):
        fit(few_crystals, run, steps=2)
    (run / "train-crystals.npz").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"train-crystals\.npz is damaged"):
        fit(few_crystals, run, steps=2)


def test_names_a_checkpoint_of_other_sizes(folder, tmp_path):
    config, card, tensors, _ = read_checkpoint(folder, "imagen")
    config["architecture"]["base"]["dim"] = 16
    write_checkpoint(tmp_path, "imagen", config, card, tensors)
    with pytest.raises(CheckpointError, match="does not fit this version's 'imagen'"):
        load_generator(tmp_path)


def test_refuses_data_that_are_too_few(few_crystals, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(DatasetError, match="60 crystals, fewer than a batch of 64"):
        fit(few_crystals, run, steps=1, settings={**SETTINGS, "batch_size": 64})
    only = replace(few_crystals, split={"train": few_crystals.split["train"]})
    with pytest.raises(DatasetError, match="split 'validation'"):
        fit(only, run, steps=1)
    with pytest.raises(InputError, match=r"settings of 'imagen': base\.width is unknown"):
        train_generator("imagen", None, run, settings={"base": {"width": 8}})
    with pytest.raises(InputError, match="steps must be at least 1"):
        fit(few_crystals, run, steps=0)
    assert not run.exists()


def test_refuses_a_batch_that_processes_cannot_share():
    settings = ImagenSettings(batch_size=3)
    with pytest.raises(InputError, match="3 crystals cannot be divided among 2 processes"):
        Objective("base", settings, torch.device("cpu"), process=0, processes=2)


def test_refuses_negative_numbers(trained):
    with pytest.raises(InputError, match="negative"):
        trained.sample(1, seed=0, start=-1)

"""Checkpoints: what is saved is loaded, and damage is named."""

import json
import shutil

import pytest

from crystens_flows.errors import CheckpointError
from crystens_flows.generators import generator_class, load_generator
from crystens_flows.generators.checkpoints import read_checkpoint, write_atomically


@pytest.fixture
def copy(trained_folder, tmp_path):
    for name in ("config.json", "card.json", "weights.safetensors"):
        shutil.copy(trained_folder / name, tmp_path / name)
    return tmp_path


def test_names_a_missing_generator(tmp_path):
    with pytest.raises(CheckpointError, match=r"no generator '.*nowhere'.*default"):
        load_generator(tmp_path / "nowhere")


def test_names_a_folder_without_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint: it has no config\.json"):
        load_generator(tmp_path)


def test_names_truncated_weights(copy):
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated or altered"):
        load_generator(copy)


def test_names_missing_weights(copy):
    (copy / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has no weights"):
        load_generator(copy)


def test_names_a_truncated_configuration(copy):
    config = copy / "config.json"
    config.write_text(config.read_text()[:40])
    with pytest.raises(CheckpointError, match="damaged"):
        load_generator(copy)


def test_names_another_kind(copy):
    with pytest.raises(CheckpointError, match="kind 'flow', not 'gan'"):
        read_checkpoint(copy, "gan")
    with pytest.raises(CheckpointError, match="unknown kind of generator 'gan'"):
        generator_class("gan")


def test_names_another_architecture(copy):
    config = copy / "config.json"
    header = json.loads(config.read_text())
    header["config"]["architecture"]["network"]["width"] = 64
    config.write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_generator(copy)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]

"""Checkpoints: what is saved is loaded, and damage is named."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from crystens_flows.errors import CheckpointError, OutputFolderError
from crystens_flows.generators import (
    generator_class,
    generator_sha256,
    load_generator,
    resolve_generator,
    train_generator,
)
from crystens_flows.generators.checkpoints import (
    TRAINING_FILE,
    claim_folder,
    read_checkpoint,
    refuse_foreign,
    write_atomically,
    write_checkpoint,
)


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
    with pytest.raises(CheckpointError, match="kind 'wyckoff', not 'gan'"):
        read_checkpoint(copy, "gan")
    with pytest.raises(CheckpointError, match="unknown kind of generator 'vae'"):
        generator_class("vae")


def test_names_another_architecture(copy):
    config, card, weights, _ = read_checkpoint(copy, "wyckoff")
    config["architecture"]["network"]["width"] = 64
    write_checkpoint(copy, "wyckoff", config, card, weights)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_generator(copy)


def test_the_identity_includes_how_samples_are_drawn(copy):
    """A changed temperature makes other samples, so it is another checkpoint."""
    config = copy / "config.json"
    header = json.loads(config.read_text())
    header["config"]["sampling"]["temperature"] = 0.5
    config.write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match="truncated or altered"):
        load_generator(copy)


def test_names_a_configuration_of_wrong_types(copy):
    config = copy / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "kind": ["wyckoff"]}))
    with pytest.raises(CheckpointError, match="wrong type"):
        load_generator(copy)


def test_a_folder_is_for_one_training(tmp_path):
    folder = tmp_path / "run"
    claim_folder(folder, {"generator": "wyckoff", "seed": 1})
    claim_folder(folder, {"generator": "wyckoff", "seed": 1})
    with pytest.raises(OutputFolderError, match="a training with seed 1, not 2"):
        claim_folder(folder, {"generator": "wyckoff", "seed": 2})


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "nacl.cif").write_text("")
    with pytest.raises(OutputFolderError, match="in use for something else"):
        claim_folder(tmp_path, {"generator": "wyckoff", "seed": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["nacl.cif"]
    with pytest.raises(OutputFolderError, match=r"nacl\.cif is a file"):
        train_generator("default", None, tmp_path / "nacl.cif" / "run")
    with pytest.raises(OutputFolderError, match="in use for something else"):
        train_generator("default", None, tmp_path / "nacl.cif")


def test_processes_take_a_folder_at_the_same_time(tmp_path):
    """One claims it at any moment while another looks whether it may be taken."""
    folders = [tmp_path / str(k) for k in range(150)]

    def claim():
        for folder in folders:
            claim_folder(folder, {"generator": "wyckoff", "seed": 1})

    with ThreadPoolExecutor() as pool:
        claiming = pool.submit(claim)
        for folder in folders:
            while not (folder / TRAINING_FILE).exists() and not claiming.done():
                refuse_foreign(folder)
            refuse_foreign(folder)
        claiming.result()


@pytest.mark.parametrize("name", [".training.json.12.tmp", ".dataset.npz.x1", "dataset.json"])
def test_a_file_being_written_for_a_training_is_not_foreign(name, tmp_path):
    (tmp_path / name).write_text("")
    claim_folder(tmp_path, {"generator": "wyckoff", "seed": 1})
    assert (tmp_path / TRAINING_FILE).is_file()


def test_relative_folders_become_absolute(copy, monkeypatch):
    monkeypatch.chdir(copy.parent)
    assert resolve_generator(copy.name) == str(copy)
    assert resolve_generator("default") == "default"
    assert generator_sha256(copy) == load_generator(copy).sha256


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

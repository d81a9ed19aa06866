"""Weights in half precision, as they ship."""

from contextlib import contextmanager, nullcontext
from importlib.util import find_spec

import numpy as np
import pytest

from crystens_flows.errors import CheckpointError, InputError
from crystens_flows.generators import (
    GENERATOR_CLASSES,
    SHIPPED_GENERATORS,
    generator_class,
    generator_sha256,
    load_generator,
)
from crystens_flows.generators import make_shipped as module
from crystens_flows.generators.checkpoints import read_checkpoint, read_header, write_checkpoint
from crystens_flows.generators.make_shipped import make_shipped

NEEDS = {"wyckoff": "torch", "imagen": "imagen_pytorch", "gan": "tensorflow", "wgan": "tensorflow"}


@pytest.fixture(scope="module", params=list(NEEDS))
def trained(request, few_crystals, trained_folder, tmp_path_factory):
    """Return the folder of a checkpoint of each kind."""
    from imagen_examples import SETTINGS

    kind = request.param
    if find_spec(NEEDS[kind]) is None:
        pytest.skip(f"needs {NEEDS[kind]}")
    if kind == "wyckoff":
        return trained_folder
    settings = {
        "imagen": SETTINGS,
        "gan": {"width": 0.05, "batch_size": 2},
        "wgan": {"width": 0.25, "batch_size": 2, "critic_steps": 1},
    }.get(kind)
    folder = tmp_path_factory.mktemp(kind) / "run"
    with eager() if NEEDS[kind] == "tensorflow" else nullcontext():
        generator_class(kind).fit(few_crystals, folder, data="mine", steps=2, settings=settings)
    return folder


@contextmanager
def eager():
    """Take TensorFlow's graphs as the functions they are made of: building them takes long."""
    from crystens_flows.generators.adversarial.library import import_keras

    config = import_keras()[0].config
    config.run_functions_eagerly(True)
    try:
        yield
    finally:
        config.run_functions_eagerly(False)


def test_rounded_weights_sample_nearly_the_same(trained, tmp_path):
    before, after = load_generator(trained), load_generator(make_shipped(trained, "tiny", tmp_path))
    one, other = before.sample(6, seed=1), after.sample(6, seed=1)
    off = np.abs(one - other)
    # measured: 2e-4, 2e-7, 2e-6 and 2e-4 of the range of 0 to 1, in the order of the kinds
    assert off.mean() < 1e-3
    if before.kind != "wyckoff":  # where a coordinate may pass from 0 to 1
        assert off.max() < 1e-2
    assert not np.array_equal(one, other)
    again = load_generator(tmp_path / "tiny")
    parts = [again.sample(2, seed=1), again.sample(4, seed=1, start=2)]
    assert np.array_equal(np.concatenate(parts), other)


def test_a_shipped_checkpoint_is_one_of_its_own(trained, tmp_path):
    folder = make_shipped(trained, "tiny", tmp_path)
    kind = read_header(trained)["kind"]
    config, card, weights, sha256 = read_checkpoint(trained, kind, "numpy")
    shipped_config, shipped_card, shipped_weights, shipped_sha256 = read_checkpoint(
        folder, kind, "numpy"
    )
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.json",
        "config.json",
        "weights.safetensors",
    ]
    assert shipped_config == config
    note = shipped_card.pop("weights")
    assert note == f"rounded to half precision after training; before, SHA-256 {sha256}"
    assert shipped_card == card
    assert generator_sha256(folder) == shipped_sha256 != sha256
    for name, value in weights.items():
        found = shipped_weights[name]
        assert found.dtype == value.dtype
        if value.dtype == np.float32:
            value = value.astype(np.float16)
        np.testing.assert_array_equal(found, value)
    sizes = [(each / "weights.safetensors").stat().st_size for each in (trained, folder)]
    single = sum(value.nbytes for value in weights.values() if value.dtype == np.float32)
    assert sizes[0] - sizes[1] == pytest.approx(single / 2, rel=0.02)


def test_what_cannot_ship_is_refused(tmp_path, monkeypatch):
    def checkpoint(value):
        folder = tmp_path / f"checkpoint-{value}"
        write_checkpoint(folder, "gan", {}, {}, {"a.kernel": np.full((3, 4), value, np.float32)})
        return folder

    with pytest.raises(CheckpointError, match=r"'a\.kernel' has values up to 70000,"):
        make_shipped(checkpoint(7e4), "gan", tmp_path / "weights")
    for name in ("", "../gan", "a/b", ".."):
        with pytest.raises(InputError, match="no name of a generator"):
            make_shipped(checkpoint(1), name, tmp_path / "weights")
    monkeypatch.setattr(module, "MAX_BYTES", 80)
    with pytest.raises(CheckpointError, match="in half precision, and at most"):
        make_shipped(checkpoint(1), "gan", tmp_path / "weights")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        make_shipped(tmp_path, "gan", tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
    monkeypatch.undo()
    assert make_shipped(checkpoint(1), "gan", tmp_path / "weights").is_dir()


def test_every_folder_of_weights_is_known_by_its_name():
    folders = [folder for folder in module.SHIPPED_WEIGHTS.iterdir() if folder.is_dir()]
    assert sorted(SHIPPED_GENERATORS.values()) == sorted(folders)
    assert read_header(SHIPPED_GENERATORS["default"])["kind"] == "wyckoff"
    for name, folder in SHIPPED_GENERATORS.items():
        assert folder == module.SHIPPED_WEIGHTS / name
        assert read_header(folder)["kind"] in GENERATOR_CLASSES
        if name != "default":
            assert (folder / "weights.safetensors").stat().st_size <= module.MAX_BYTES

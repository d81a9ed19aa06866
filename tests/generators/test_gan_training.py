"""Training the adversarial networks: going on, going wrong, and what comes of it."""

import json
import resource
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from trainings import only_with_trainings

if find_spec("tensorflow") is None:  # to import it would take seconds here
    pytest.skip("the adversarial networks are TensorFlow's", allow_module_level=True)

from crystens_flows.errors import (
    CheckpointError,
    DatasetError,
    InputError,
    MissingExtraError,
    OutputFolderError,
    TrainingError,
)
from crystens_flows.generators import load_generator, train_generator
from crystens_flows.generators.adversarial.generator import GanGenerator, WganGenerator
from crystens_flows.generators.adversarial.library import import_keras
from crystens_flows.generators.adversarial.settings import GanSettings, WganSettings
from crystens_flows.generators.adversarial.training import LOG_FILE, STATE_FILE
from crystens_flows.generators.checkpoints import read_checkpoint, read_header, write_checkpoint
from crystens_flows.representation import decode

TINY = {
    "gan": {"width": 0.05, "batch_size": 2},
    "wgan": {"width": 0.25, "batch_size": 2, "critic_steps": 1},
}
SAMPLE_BATCH = "crystens_flows.generators.adversarial.generator.SAMPLE_BATCH"
CLASSES = {"gan": GanGenerator, "wgan": WganGenerator}


@pytest.fixture(scope="module", params=["gan", "wgan"])
def trained(request, few_crystals, tmp_path_factory):
    """Return the folder of a checkpoint, trained as usual."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    kind = request.param
    CLASSES[kind].fit(few_crystals, folder, data="76 crystals", steps=2, settings=TINY[kind])
    return folder


@pytest.fixture
def eager():
    """Take graphs as the functions they are made of, for building them takes long."""
    tf, _ = import_keras()
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def fit(few_crystals, tmp_path, eager, monkeypatch):
    """Return a function that trains in the same folder each time, and samples two at a time."""
    monkeypatch.setattr(SAMPLE_BATCH, 2)

    def run(kind="gan", steps=1, folder="run", dataset=few_crystals, progress=None, **settings):
        return CLASSES[kind].fit(
            dataset,
            tmp_path / folder,
            steps=steps,
            settings=TINY[kind] | settings,
            progress=progress,
        )

    return run


def losses(folder):
    return [json.loads(line) for line in (folder / LOG_FILE).read_text().splitlines()]


def test_a_checkpoint_says_what_it_is(trained):
    generator = load_generator(trained)
    card = generator.card
    assert card["data"] == "76 crystals"
    assert card["split"] == {"train": 60}
    assert card["steps"] == 2
    assert card["samples_per_second"] > 0
    assert set(card["parameters"]) in ({"generator", "discriminator"}, {"generator", "critic"})
    assert card["settings"]["batch_size"] == 2
    lines = losses(trained)
    assert [line["step"] for line in lines] == [1, 2]
    assert {k: lines[-1][k] for k in card["losses"]} == card["losses"]
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    for file in trained.iterdir():
        assert file.suffix in (".json", ".jsonl", ".npz", ".safetensors")


def test_graphs_train_as_the_functions_they_are_made_of(trained, fit, tmp_path):
    fit(read_header(trained)["kind"])
    graph, functions = losses(trained)[0], losses(tmp_path / "run")[0]
    assert list(graph) == list(functions)
    for name in graph.keys() - {"seconds"}:
        assert functions[name] == pytest.approx(graph[name], rel=1e-3, abs=1e-3)


def test_a_sample_depends_on_seed_and_index_alone(trained):
    generator = load_generator(trained)
    whole = generator.sample(18, seed=5)  # they are drawn by 16
    assert whole.shape == (18, 4, 64, 64)
    assert whole.dtype == np.float32
    assert whole.min() >= 0
    assert whole.max() <= 1
    seen = []
    again = load_generator(trained)
    chunks = [
        again.sample(n, 5, s, lambda *done: seen.append(done))
        for s, n in ((0, 1), (1, 16), (17, 0), (17, 1))
    ]
    assert np.array_equal(whole, np.concatenate(chunks))
    assert seen == [(1, 1), (15, 16), (16, 16), (1, 1)]
    assert len({tensor.tobytes() for tensor in whole}) == 18
    assert not np.array_equal(whole[:2], generator.sample(2, seed=6))
    far = generator.sample(2, seed=5, start=10**9)
    assert np.array_equal(far[1:], generator.sample(1, seed=5, start=10**9 + 1))
    for wrong in ((-1, 0, 0), (1, -1, 0), (1, 0, -1)):
        with pytest.raises(InputError, match="negative"):
            generator.sample(*wrong)


def test_samples_are_decoded_or_have_a_reason(trained):
    for decoded in decode(load_generator(trained).sample(4, seed=0)):
        assert (decoded.structure is None) == bool(decoded.reason)


def test_an_altered_architecture_is_named(trained, tmp_path):
    generator = load_generator(trained)
    config, card, weights, _ = read_checkpoint(trained, generator.kind, "numpy")
    for change in ({"width": 0.5}, {"latent_dim": 64}, {"depth": 3}, {"width": 0.0}):
        altered = config | {"architecture": config["architecture"] | change}
        write_checkpoint(tmp_path, generator.kind, altered, card, weights)
        with pytest.raises(CheckpointError, match="does not fit this version's"):
            load_generator(tmp_path)


@pytest.mark.parametrize("kind", ["gan", pytest.param("wgan", marks=only_with_trainings)])
def test_interrupted_training_goes_on_as_if_it_had_not_been(fit, kind, tmp_path, monkeypatch):
    def interrupt(done, total):
        assert total == 3
        if done == 1:
            raise KeyboardInterrupt

    whole = fit(kind, steps=3, folder="whole")
    # write the state at each step, as a long training does every few minutes
    monkeypatch.setattr("crystens_flows.generators.adversarial.training.SAVE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(kind, steps=3, folder="parts", progress=interrupt)
    assert not (tmp_path / "parts" / "config.json").exists()
    # as if it had been cut off after the losses of a step and before its state
    with (tmp_path / "parts" / LOG_FILE).open("a") as file:
        file.write('{"epoch": 1, "step": 2}\n{"epo')
    seen = []
    parts = fit(kind, steps=3, folder="parts", progress=lambda done, _: seen.append(done))
    assert seen == [2, 3]
    expected, found = losses(tmp_path / "whole"), losses(tmp_path / "parts")
    assert [line["step"] for line in found] == [1, 2, 3]
    for one, other in zip(expected, found, strict=True):
        for name in one.keys() - {"seconds"}:
            assert other[name] == pytest.approx(one[name], rel=1e-5, abs=1e-6)
    assert len({line["generator"] for line in found}) == 3
    for one, other in zip(whole.network.weights, parts.network.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6)


def test_epochs_decide_where_no_steps_are_given(few_crystals, fit, tmp_path):
    assert GanSettings().steps_per_epoch(53_856) == 420  # half an epoch of real crystals
    assert WganSettings().steps_per_epoch(53_856) == 841
    assert GanSettings(batch_size=10).steps_per_epoch(10) == 1
    eight = replace(few_crystals, split={**few_crystals.split, "train": np.arange(8)})
    assert fit(steps=None, dataset=eight, epochs=2, batch_size=4).card["steps"] == 2
    lines = losses(tmp_path / "run")
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 1), (2, 2)]


def test_another_training_does_not_enter_the_same_folder(fit, few_crystals):
    fit()
    with pytest.raises(OutputFolderError, match=r"width 0\.05, not 0\.06"):
        fit(width=0.06)
    with pytest.raises(OutputFolderError, match="generator gan, not wgan"):
        fit("wgan")
    fewer = {**few_crystals.split, "train": few_crystals.split["train"][:40]}
    with pytest.raises(OutputFolderError, match="data_sha256"):
        fit(dataset=replace(few_crystals, split=fewer))


def test_losses_that_are_no_numbers_end_the_training(fit, tmp_path):
    fit(steps=1)
    state = (tmp_path / "run" / STATE_FILE).read_bytes()
    with pytest.raises(TrainingError) as caught:
        fit(steps=6, discriminator_learning_rate=1e30, generator_learning_rate=1e30)
    assert "the state of step 1 is kept in" in str(caught.value)
    assert "smaller learning rates" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / STATE_FILE).read_bytes() == state
    assert fit(steps=1).card["steps"] == 1
    again = fit(steps=2)
    assert [line["step"] for line in losses(tmp_path / "run")] == [1, 2]
    assert np.isfinite(again.sample(1, 0)).all()


def test_a_full_disk_costs_no_state(fit, tmp_path):
    """Files may not grow above a limit, which to the writer is a disk that is full."""
    first = fit(steps=1)
    state = (tmp_path / "run" / STATE_FILE).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(TrainingError, match=r"state of step 1 is kept.*make room"):
            fit(steps=2)
        with pytest.raises(TrainingError, match=r"checkpoint in .* cannot be written .*make room"):
            first.save(tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "run" / STATE_FILE).read_bytes() == state
    assert not list((tmp_path / "run").glob(".*"))
    assert GanGenerator.load(tmp_path / "run").sha256 == first.sha256
    assert fit(steps=2).card["steps"] == 2
    assert [line["step"] for line in losses(tmp_path / "run")] == [1, 2]


def test_a_damaged_or_foreign_state_is_named(fit, tmp_path):
    fit()
    fit(folder="other", width=0.06)
    file = tmp_path / "run" / STATE_FILE
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"training-state\.safetensors cannot be continued"):
        fit(steps=2)
    file.write_bytes((tmp_path / "other" / STATE_FILE).read_bytes())
    with pytest.raises(CheckpointError, match=r"\(generator\.block.* networks of other sizes"):
        fit(steps=2)


def test_what_cannot_be_trained_is_said_before_anything_is_written(fit, few_crystals, tmp_path):
    with pytest.raises(DatasetError, match="60 crystals, fewer than a batch of 64"):
        fit(batch_size=64)
    with pytest.raises(DatasetError, match="split 'train'"):
        fit(dataset=replace(few_crystals, split={"validation": few_crystals.split["train"]}))
    with pytest.raises(InputError, match="steps must be at least 1"):
        fit(steps=0)
    with pytest.raises(InputError, match=r"settings of 'gan': critic_steps is unknown: known are"):
        fit(critic_steps=3)
    with pytest.raises(InputError, match=r"settings of 'wgan': width .* equal to 0\.25"):
        fit("wgan", width=0.1)
    assert not (tmp_path / "run").exists()


def test_the_command_line_trains_and_samples(monkeypatch, capsys, tmp_path, eager):
    from crystens_flows.cli import main
    from crystens_flows.datasets import shipped

    def crystens(*arguments):
        monkeypatch.setattr(sys, "argv", ["crystens", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        return exit_.value.code or 0, capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    dataset = shipped()
    replace(dataset, split={"train": np.arange(9), "validation": np.arange(9, 12)}).save("few.npz")
    (tmp_path / "tiny.yaml").write_text(
        "generator: gan\ndata: few.npz\nsettings:\n  width: 0.05\n  batch_size: 2\n"
    )
    code, said = crystens("train", "--config", "tiny.yaml", "--steps", "1", "-o", "run")
    assert code == 0, said.err
    assert "kind 'gan'" in said.out + said.err
    code, said = crystens("sample", "--generator", "run", "-n", "2", "-o", "samples")
    assert code == 0, said.err
    assert np.load("samples/crystens.npy").shape == (2, 4, 64, 64)


def test_tensorflow_is_imported_late_and_takes_the_threads_it_may(tmp_path):
    code = (
        "import sys\n"
        "from crystens_flows.generators import generator_class\n"
        "from crystens_flows.generators.adversarial.library import import_keras\n"
        "generator_class('wgan')\n"
        "assert not {'tensorflow', 'keras', 'torch'} & set(sys.modules)\n"
        "tf, keras = import_keras()\n"
        "print(keras.backend.backend(), tf.config.threading.get_intra_op_parallelism_threads())\n"
    )
    environment = {"OMP_NUM_THREADS": "3,1", "PATH": "", "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["tensorflow", "3"]


@pytest.mark.skipif(find_spec("torch") is None, reason="there is no PyTorch to load")
def test_pytorchs_compiler_can_be_loaded_after_it():
    code = (
        "from crystens_flows.generators.adversarial.library import import_keras\n"
        "import_keras()\n"
        "import torch._dynamo\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_extra_says_what_to_install(monkeypatch, few_crystals, tmp_path):
    import_keras.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # what is not installed cannot be imported
    with pytest.raises(MissingExtraError, match=r"pip install 'crystens-flows\[gan\]'"):
        GanGenerator.fit(few_crystals, tmp_path / "run", steps=1, settings=TINY["gan"])
    assert not (tmp_path / "run").exists()


def test_another_backend_of_keras_is_named(monkeypatch):
    import_keras.cache_clear()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(InputError, match="KERAS_BACKEND=tensorflow"):
        import_keras()


def test_an_unknown_generator_is_told_of_these(tmp_path):
    known = "can be trained: default, gan, imagen, substitution, wgan"
    with pytest.raises(InputError, match=known):
        train_generator("dcgan", None, tmp_path)

"""The diffusion model as a generator: training, going on, sampling."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from imagen_examples import SAMPLING, SETTINGS, fit, same, weights
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from crystens_flows.generators import load_generator
from crystens_flows.generators.imagen.generator import ImagenGenerator
from crystens_flows.jobs import SampleMaker, TrainMaker
from crystens_flows.representation import decode, encode

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


def test_loads_what_was_saved(folder, trained, few_crystals):
    again = ImagenGenerator.load(folder)
    assert again.sha256 == trained.sha256
    assert again.card["data"] == "76 crystals"
    assert again.card["steps"] == {"base": 6, "super_resolution": 6}
    assert again.card["split"] == {"train": 60, "validation": 16}
    assert np.array_equal(again.sample(2, seed=1), trained.sample(2, seed=1))
    kept = again.networks["base"].state_dict()
    assert same({f"base.{k}": v for k, v in kept.items()}, weights_of(folder, "base."))
    curve = [json.loads(line) for line in (folder / "base-learning-curve.jsonl").open()]
    assert [line["step"] for line in curve] == [6]
    assert 0 < curve[0]["validation"] < 2


def weights_of(folder, prefix):
    return {k: v for k, v in weights(folder).items() if k.startswith(prefix)}


def test_a_sample_depends_on_seed_and_index_alone(trained):
    whole = trained.sample(8, seed=5)
    chunks = [trained.sample(n, seed=5, start=s) for s, n in ((0, 1), (1, 5), (6, 2))]
    assert np.array_equal(whole, np.concatenate(chunks))
    assert len({tensor.tobytes() for tensor in whole}) == 8
    assert not np.array_equal(whole, trained.sample(8, seed=6))
    assert trained.sample(0, seed=5).shape == (0, 4, 64, 64)


@pytest.mark.parametrize("sampler", ["ancestral", "sde", "ddim", "dpm"])
def test_samples_are_tensors_of_the_reference_scaling(trained, sampler):
    sampling = trained.settings.sampling.model_copy(update={"sampler": sampler})
    settings = trained.settings.model_copy(update={"sampling": sampling})
    seen = []
    tensors = ImagenGenerator(trained.networks, settings, {}).sample(
        4, seed=0, start=1, progress=lambda *done: seen.append(done)
    )
    assert tensors.shape == (4, 4, 64, 64)
    assert tensors.dtype == np.float32
    assert 0 <= tensors.min() < tensors.max() <= 1
    assert seen == [(2, 4), (4, 4)]
    assert len(decode(tensors)) == 4


def test_learns_the_crystals_of_the_data_set(few_crystals, folder):
    """Crystals are reduced, so that hardly an entry leaves the range of the scaling."""
    from crystens_flows.generators.imagen.data import load_crystals

    kept = load_crystals(replace(few_crystals, split={}), folder)["train"]
    rows = np.arange(60)
    reduced = [
        few_crystals.structure(int(k)).get_reduced_structure("niggli")
        for k in few_crystals.split["train"]
    ]
    groups = few_crystals.space_groups[few_crystals.split["train"]]
    expected = encode(reduced, groups)
    for found, tensor, structure in zip(kept.tensors(rows), expected, reduced, strict=True):
        sites = slice(12, 12 + len(structure))
        np.testing.assert_allclose(found[:, 4:11, sites], tensor[:, 4:11, sites], atol=1e-5)
        assert found.min() >= 0
        assert found.max() <= 1


@pytest.mark.parametrize("downscale", ["area", "phases", "unshuffle"])
def test_every_way_down_can_be_trained(few_crystals, tmp_path, downscale):
    settings = {**SETTINGS, "downscale": downscale, "loss_weight": "min_snr"}
    generator = fit(few_crystals, tmp_path / "run", settings=settings, steps=1)
    assert np.array_equal(
        generator.sample(1, seed=0), ImagenGenerator.load(tmp_path / "run").sample(1, seed=0)
    )


@pytest.mark.parametrize("at", [2, 8])
def test_a_training_that_was_interrupted_is_the_one_that_was_not(
    few_crystals, folder, tmp_path, monkeypatch, at
):
    def interrupt(done, _):
        if done == at:
            raise KeyboardInterrupt

    # write the state at each step, as a long training does every two minutes
    monkeypatch.setattr("crystens_flows.generators.imagen.training.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("crystens_flows.generators.imagen.training.SAVE_SHARE", 1e9)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(few_crystals, run, seed=3, steps=6, progress=interrupt)
    assert not (run / "config.json").exists()
    seen = []
    fit(few_crystals, run, seed=3, steps=6, progress=lambda *done: seen.append(done))
    assert seen == [(k, 12) for k in range(at + 1, 13)]
    assert same(weights(run), weights(folder))


def test_more_steps_go_on_and_sampling_may_change(few_crystals, folder, tmp_path):
    run = tmp_path / "run"
    first = fit(few_crystals, run, seed=3, steps=2)
    sampling = {**SAMPLING, "sampler": "ddim"}
    again = fit(few_crystals, run, seed=3, steps=2, settings={**SETTINGS, "sampling": sampling})
    assert again.sha256 != first.sha256
    assert load_generator(run).settings.sampling.sampler == "ddim"
    fit(few_crystals, run, seed=3, steps=6)
    assert same(weights(run), weights(folder))


def test_jobs_train_it_and_sample_from_it(few_crystals, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few_crystals.save("data.npz")
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    train = TrainMaker(generator="imagen", steps=1, settings=SETTINGS).make("data.npz")
    done = run_locally(train, store=store, ensure_success=True)[train.uuid][1].output
    assert done.generator == "imagen"
    checkpoint = done.checkpoint
    assert Path(checkpoint).is_dir()
    sample = SampleMaker(generator=checkpoint).make(2, seed=1)
    done = run_locally(sample, store=store, ensure_success=True)[sample.uuid][1].output
    assert done.provenance.checkpoint_sha256 == load_generator(checkpoint).sha256
    expected = load_generator(checkpoint).sample(2, seed=1)
    assert np.array_equal(done.crystens.array, expected)


def test_the_command_line_trains_it_as_a_file_says(few_crystals, tmp_path, monkeypatch, capsys):
    from crystens_flows.cli import main

    monkeypatch.chdir(tmp_path)
    few_crystals.save("data.npz")
    config = {"generator": "imagen", "data": "data.npz", "steps": 100, "settings": SETTINGS}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    command = ["crystens", "train", "--config", "config.yaml", "-o", "mine", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "trained: kind 'imagen'" in capsys.readouterr().err
    assert load_generator("mine").card["steps"] == {"base": 2, "super_resolution": 2}


PROCESS = """
import json, os, sys
from pathlib import Path
from crystens_flows.generators import TrainingPaused, train_generator

def train(folder, **options):
    settings = json.loads(sys.argv[1])
    train_generator(
        "imagen", "data.npz", Path(folder), seed=3, steps=6, settings=settings, **options
    )

def pause(done, total):
    if done in (4, 8):
        raise TrainingPaused(done, total)

if __name__ == "__main__":
    train("run")
    rank, seen = os.environ["RANK"], []
    while len(seen) < 3:
        try:
            train("parts", progress=pause if rank == "0" else None)
            break
        except TrainingPaused as paused:
            seen.append(paused.done)
    Path("seen-" + rank).write_text(str(seen))
"""


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_pause_together(few_crystals, folder, tmp_path):
    """Only the main process is told to pause."""
    few_crystals.save(tmp_path / "data.npz")
    (tmp_path / "train.py").write_text(PROCESS)
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, "-m", *launch, "train.py", json.dumps(SETTINGS)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert load_generator(tmp_path / "run").card["processes"] == 2
    one, two = weights(folder), weights(tmp_path / "run")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-5, rtol=0, msg=name)
    for rank in (0, 1):
        assert json.loads((tmp_path / f"seen-{rank}").read_text()) == [4, 8]
    assert same(weights(tmp_path / "parts"), two)

"""Trainings that pause between two steps and go on at their next start."""

import pytest
import torch

from crystens_flows.errors import InputError
from crystens_flows.generators import TrainingPaused, train_generator
from crystens_flows.generators import trainer as training
from crystens_flows.generators.pause import pause_after
from crystens_flows.generators.processes import Processes
from crystens_flows.generators.wyckoff.generator import WyckoffGenerator

STEPS = 7
TOTAL = 2 + 5 + STEPS
"""Those of the models of recall and of specifications, too."""


@pytest.fixture
def small_batches(monkeypatch):
    """Divide sixty crystals into several batches, so that an epoch has several steps."""
    genuine = training.batches_by_size
    monkeypatch.setattr(
        training, "batches_by_size", lambda n_sites, rng, *_: genuine(n_sites, rng, 90, 10_000)
    )


def pause_at(*steps):
    def progress(done, total):
        if done in steps:
            raise TrainingPaused(done, total)

    return progress


def fit(few_crystals, folder, **options):
    return WyckoffGenerator.fit(few_crystals, folder, seed=3, steps=STEPS, **options)


@pytest.fixture
def uninterrupted(few_crystals, small_batches, tmp_path):
    seen = []
    whole = fit(few_crystals, tmp_path / "whole", progress=lambda *done: seen.append(done))
    assert seen == [(k, TOTAL) for k in range(1, TOTAL + 1)]
    return whole.sha256


def test_an_epoch_goes_on_in_its_middle(few_crystals, uninterrupted, tmp_path):
    """The flow network's steps are 8 to 14, and an epoch has several."""
    for at in (1, 5, 11):
        with pytest.raises(TrainingPaused, match=f"paused at step {at} of {TOTAL}: start it again"):
            fit(few_crystals, tmp_path / "parts", progress=pause_at(at))
        assert not (tmp_path / "parts" / "config.json").exists()
    assert fit(few_crystals, tmp_path / "parts").sha256 == uninterrupted


def test_batches_of_an_epoch_are_those_drawn_at_once(few_crystals, small_batches):
    """One epoch after the other, beside what the generator of random numbers gives by hand."""
    sizes = few_crystals.n_sites[few_crystals.split["train"]]
    epochs = []
    for _ in range(2):
        trainer = training.Trainer("x", torch.nn.Linear(1, 1), None, 9, 1e-3, 0.0)
        epochs.append([[list(batch) for batch in trainer.epoch(sizes, 0, 0)] for _ in range(2)])
    assert epochs[0] == epochs[1]
    for found in epochs[0]:
        assert len(found) > 2
        assert sorted(row for batch in found for row in batch) == list(range(60))
    assert epochs[0][0] != epochs[0][1]


@pytest.mark.parametrize("count", [2, 3, 70])
def test_processes_share_each_batch(few_crystals, small_batches, count):
    """Together they have every crystal; more of them than crystals have some twice."""
    sizes = few_crystals.n_sites[few_crystals.split["train"]]
    shares = []
    for index in range(count):
        processes = Processes()
        processes.index, processes.count = index, count
        linear = torch.nn.Linear(1, 1)
        trainer = training.Trainer("x", linear, None, 9, 1e-3, 0.0, processes=processes)
        shares.append([list(batch) for batch in trainer.epoch(sizes, 0, 0)])
    alone = training.Trainer("x", torch.nn.Linear(1, 1), None, 9, 1e-3, 0.0)
    for batch, *parts in zip(alone.epoch(sizes, 0, 0), *shares, strict=True):
        assert {row for part in parts for row in part} == set(batch)
        assert all(parts)


def test_what_is_random_in_a_step_depends_on_its_number_alone():
    trainer = training.Trainer("x", torch.nn.Linear(1, 1), None, 9, 1e-3, 0.0, seed=4)
    drawn = []
    for step in (0, 1, 2, 1):
        trainer.step = step
        drawn.append((trainer.stream().random(), torch.rand(1).item()))
    assert drawn[1] == drawn[3]
    assert len(set(drawn)) == 3


def test_time_is_up_after_the_first_step_but_not_after_the_last(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    seen = []
    progress = pause_after(5, lambda *done: seen.append(done))
    clock[0] = 104.9
    progress(1, 3)
    clock[0] = 105.0
    with pytest.raises(TrainingPaused) as caught:
        progress(2, 3)
    assert (caught.value.done, caught.value.total) == (2, 3)
    progress(3, 3)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert pause_after(None) is None


def test_a_time_must_be_positive(tmp_path):
    for seconds in (0, -1, float("nan")):
        with pytest.raises(InputError, match="must be positive"):
            train_generator("default", None, tmp_path / "run", seconds=seconds)
    assert not (tmp_path / "run").exists()

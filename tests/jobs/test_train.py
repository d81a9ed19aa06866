"""Trainings in one job and in several, and what comes after them in a flow."""

import contextlib
import io
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore

from crystens_flows import local
from crystens_flows.datasets import shipped
from crystens_flows.errors import CheckpointError, InputError
from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.generators import generator_sha256, load_generator
from crystens_flows.jobs import SampleMaker, SelectMaker, TrainMaker, ValidityPrefilterMaker
from crystens_flows.schemas import TrainDocument
from crystens_flows.screening.selection import SelectionRules
from trainings import only_with_trainings

NETWORK = {
    "dim": 8,
    "dim_mults": [1, 2],
    "num_resnet_blocks": 1,
    "layer_attns": [False, True],
    "layer_cross_attns": [False, True],
    "use_linear_attn": False,
    "attn_heads": 2,
    "attn_dim_head": 8,
}
NEEDS = {"default": "torch", "imagen": "imagen_pytorch", "gan": "tensorflow", "wgan": "tensorflow"}
SETTINGS = {
    "default": {},
    "imagen": {
        "base": NETWORK,
        "super_resolution": NETWORK,
        "sampling": {"sampler": "dpm", "steps": 2, "batch_size": 2},
    },
    "gan": {"width": 0.05, "batch_size": 2},
    "wgan": {"width": 0.25, "batch_size": 2, "critic_steps": 1},
}
STEPS = {"default": 2, "imagen": 2, "gan": 3, "wgan": 3}
INSTANT = 1e-9
"""Minutes in which no step can be taken."""


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Go to a folder with a data set of twelve crystals."""
    monkeypatch.chdir(tmp_path)
    dataset = shipped()
    small = np.flatnonzero(dataset.n_sites <= 6)[:12]
    replace(dataset, split={"train": small[:8], "validation": small[8:]}).save("few.npz")
    return "few.npz"


@pytest.fixture
def store():
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    return store


@pytest.fixture
def eager():
    """Take TensorFlow's graphs as the functions they are made of: building them takes long."""
    if find_spec("tensorflow") is None:
        yield
        return
    from crystens_flows.generators.adversarial.library import import_keras

    config = import_keras()[0].config
    config.run_functions_eagerly(True)
    yield
    config.run_functions_eagerly(False)


def maker(generator="default", **fields):
    options = {"steps": STEPS[generator], "settings": SETTINGS[generator], "seed": 3}
    return TrainMaker(generator=generator, **options | fields)


def run(flow, store, **options):
    with contextlib.redirect_stdout(io.StringIO()):
        return run_locally(flow, store=store, log=False, create_folders=True, **options)


def jobs_of(store, job):
    return sorted(store.query({"uuid": job.uuid}), key=lambda document: document["index"])


@pytest.mark.parametrize(
    "generator",
    [
        "default",
        "gan",
        *(pytest.param(name, marks=only_with_trainings) for name in ("imagen", "wgan")),
    ],
)
def test_jobs_in_a_chain_train_what_one_job_does(few, store, generator, eager):
    """Each job has a folder of its own, no time at all, and hence takes one step."""
    if find_spec(NEEDS[generator]) is None:
        pytest.skip(f"needs {NEEDS[generator]}")
    data = str(Path(few).resolve())
    whole = maker(generator).make(data)
    parts = maker(generator, walltime_minutes=INSTANT).make(data)
    run([whole, parts], store, ensure_success=True)
    one, other = (job.output.resolve(store) for job in (whole, parts))
    assert isinstance(other, TrainDocument)
    assert other.checkpoint_sha256 == one.checkpoint_sha256
    assert generator_sha256(other.checkpoint) == one.checkpoint_sha256
    assert other.card["steps"] == one.card["steps"]
    assert other.checkpoint != one.checkpoint
    total = STEPS[generator] * (2 if generator == "imagen" else 1)
    if generator == "default":
        total += 3  # of the two smaller networks
    documents = jobs_of(store, parts)
    assert [document["index"] for document in documents] == list(range(1, total + 1))
    assert [document["output"] is None for document in documents] == [True] * (total - 1) + [False]
    assert len(jobs_of(store, whole)) == 1
    folders = [folder for folder in Path.cwd().glob("job_*") if (folder / "checkpoint").exists()]
    assert sorted(map(str, folders)) == sorted(
        str(Path(document.checkpoint).parent) for document in (one, other)
    )


def test_a_chain_finds_data_and_folder_named_from_where_it_began(few, store):
    """A relative data set is sought in the folder of the first job, the next are elsewhere."""
    job = maker(walltime_minutes=INSTANT, folder="mine").make(few)
    with contextlib.redirect_stdout(io.StringIO()):
        first = job.run(store)
    (following,) = first.replace.jobs
    assert (following.uuid, following.index) == (job.uuid, 2)
    assert following.maker.folder == str(Path("mine").resolve())
    assert following.function_args == (str(Path(few).resolve()),)
    again = Flow.from_dict(first.replace.as_dict())
    run(again, store, ensure_success=True)
    assert job.output.resolve(store).checkpoint == str(Path("mine").resolve())


def test_samples_are_drawn_from_the_end_of_a_chain(few, store):
    train = maker(walltime_minutes=INSTANT).make(str(Path(few).resolve()))
    sample = SampleMaker().make(2, seed=1, trained=train.output)
    run(Flow([train, sample]), store, ensure_success=True)
    found, trained = sample.output.resolve(store), train.output.resolve(store)
    assert found.provenance.checkpoint_sha256 == trained.checkpoint_sha256
    expected = load_generator(trained.checkpoint).sample(2, seed=1)
    assert np.array_equal(found.crystens.array, expected)


def test_a_discovery_waits_for_the_end_of_a_chain(few, store):
    flow = DiscoveryFlowMaker(
        train_maker=maker(walltime_minutes=INSTANT),
        dataset=str(Path(few).resolve()),
        screen_makers=[ValidityPrefilterMaker()],
        select_maker=SelectMaker(rules=SelectionRules(n_pool=4, n_select=0)),
        chunk_size=2,
    ).make(4)
    run(flow, store, ensure_success=True)
    (trained,) = store.query({"output.stage": "train"})
    sampled = list(store.query({"output.stage": "sample"}))
    assert trained["index"] == STEPS["default"] + 3  # a job for each step of the three networks
    assert [document["output"]["start"] for document in sampled] == [0, 2]
    for document in sampled:
        found = document["output"]["provenance"]["checkpoint_sha256"]
        assert found == trained["output"]["checkpoint_sha256"]


def test_another_checkpoint_than_the_trained_one_is_refused(few, store):
    train = maker(steps=1).make(str(Path(few).resolve()))
    run(train, store, ensure_success=True)
    trained = train.output.resolve(store)
    other = maker(steps=2, folder=trained.checkpoint).make(str(Path(few).resolve()))
    run(other, store, ensure_success=True)
    sample = SampleMaker().make(1, trained=trained)
    with pytest.raises(CheckpointError, match=f"not the {trained.checkpoint_sha256} of the"):
        run(sample, store, raise_immediately=True)
    sample = SampleMaker(generator=trained.checkpoint).make(1)
    run(sample, store, ensure_success=True)


def test_a_time_that_is_none_is_refused(few, store):
    for minutes in (0, -1, float("nan")):
        job = maker(walltime_minutes=minutes, folder="run").make(few)
        with pytest.raises(InputError, match="time for a training must be positive"):
            job.run(store)
    assert not Path("run").exists()


def test_a_job_that_was_killed_goes_on_in_its_folder(few, store, monkeypatch):
    """It had finished the first two of its networks."""
    from crystens_flows.generators.pause import report

    reported = []

    def killed(progress, done, total, save):
        reported.append(done)
        if len(reported) == 3:
            raise KeyboardInterrupt
        report(progress, done, total, save)

    monkeypatch.setattr("crystens_flows.generators.wyckoff.training.report", killed)
    job = maker().make(str(Path(few).resolve()))
    with pytest.raises(KeyboardInterrupt):
        local.run(job, store, "run", settings={})
    summary = local.run(job, store, "run", settings={})
    assert summary.failed == {}
    assert reported == [1, 1, 2, 1, 2]
    trained = job.output.resolve(store)
    assert generator_sha256(trained.checkpoint) == trained.checkpoint_sha256

"""A campaign in one folder, by the commands: begun, interrupted, continued, extended."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from dataclasses import replace

import pytest

from crystens_flows.campaign.backends import JobStatus, find_backend
from crystens_flows.campaign.backends.base import reason_of
from crystens_flows.campaign.file import read_campaign
from crystens_flows.campaign.options import Part, find_trained, make_flow
from crystens_flows.campaign.stages import stage_of
from crystens_flows.campaign.submission import extend_campaign, submit_campaign
from crystens_flows.datasets import shipped
from crystens_flows.discovery import write_options
from crystens_flows.errors import InputError
from crystens_flows.stores import open_stores


def indices(store):
    stores = open_stores(store, create=False)
    with contextlib.closing(stores):
        return sorted(each["index"] for each in stores.candidates.query(properties=["index"]))


def test_begun_continued_and_extended(campaign_file, tmp_path, command):
    path = campaign_file(folder=str(tmp_path / "run"), n_samples=3)
    backend = find_backend(read_campaign(path))
    assert backend.parts() == []
    assert list(backend.jobs()) == []
    with pytest.raises(InputError, match="no campaign small to extend"):
        extend_campaign(backend, 2)
    done = submit_campaign(backend)
    assert "sampled 3 of 3" in done
    assert "0 jobs failed" in done
    jobs = list(backend.jobs())
    assert {job.status for job in jobs} == {JobStatus.FINISHED}
    assert all(job.ended for job in jobs)
    stages = Counter(stage_of(job.name) for job in jobs)
    assert stages["sample"] == stages["decode"] == stages["select"] == 1
    assert stages["screen"] == 3

    # again: nothing runs again
    assert submit_campaign(backend) == done
    assert list(backend.jobs()) == jobs
    # other than it was begun
    for changes in ({"seed": 4}, {"n_samples": 4}):
        other = campaign_file(**{"folder": str(tmp_path / "run"), "n_samples": 3, **changes})
        with pytest.raises(InputError, match=f"begun with .*({'|'.join(changes)}|samples)"):
            submit_campaign(find_backend(read_campaign(other)))

    path = campaign_file(folder=str(tmp_path / "run"), n_samples=3)
    extended = command("extend", path, "-n", 2).err
    assert "sampled 5 of 5" in extended
    assert backend.parts() == [Part(0, 3), Part(3, 2)]
    assert indices(tmp_path / "run" / "store") == [0, 1, 2, 3, 4]
    assert {job.key for job in jobs} < {job.key for job in backend.jobs()}
    shown = json.loads(command("status", path, "--format", "json").out)
    assert (shown["n_samples"], shown["n_parts"], shown["failures"]) == (5, 2, [])
    assert {each["stage"]: each["finished"] for each in shown["stages"]}["sample"] == 2
    counts = shown["candidates"]
    assert (sum(counts.values()), counts["relaxed"]) == (5, 2)
    assert "0 failed jobs found" in command("retry", path, "--reason", "walltime").err
    listed = command("status", path)
    assert f"{counts['screened']} screened, " in listed.err
    assert "campaign small: 5 samples in 2 parts" in listed.err
    assert listed.out.splitlines()[0].split()[:3] == ["stage", "waiting", "running"]


def test_paused_between_two_jobs_and_gone_on_with(campaign_file, tmp_path, command):
    path = campaign_file(folder=str(tmp_path / "run"), n_samples=3)
    campaign = read_campaign(path)
    seen = []

    def pause_after_two(_done, _known, name):
        seen.append(name)
        if len(seen) == 2:
            backend.pause()

    backend = find_backend(campaign, pause_after_two)
    assert submit_campaign(backend).startswith("paused: campaign small")
    states = Counter(job.status for job in backend.jobs())
    assert states[JobStatus.FINISHED] == 2
    assert states[JobStatus.PAUSED] == len(list(backend.jobs())) - 2
    assert f"{states[JobStatus.PAUSED]} jobs go on" in command("resume", path).err
    assert {job.status for job in backend.jobs()} == {JobStatus.FINISHED}
    assert indices(tmp_path / "run" / "store") == [0, 1, 2]


@pytest.mark.parametrize("name", ["flow.json", "progress.jsonl"])
def test_a_damaged_file_of_the_run_is_named(campaign_file, tmp_path, command, name):
    path = campaign_file(folder=str(tmp_path / "folder"), n_samples=1)
    campaign = read_campaign(path)
    (tmp_path / "folder" / "run").mkdir(parents=True)
    write_options(tmp_path / "folder", campaign.options())
    (tmp_path / "folder" / "run" / name).write_text("{\n")
    for what in ("status", "retry"):
        told = command(what, path, code=1).err
        assert f"folder/run/{name} cannot be read (" in told
        assert "it is damaged or of another version" in told


def test_there_is_no_campaign(campaign_file, tmp_path, command):
    path = campaign_file(folder=str(tmp_path / "run"))
    assert "error: there is no campaign in" in command("pause", path, code=1).err
    assert (
        "error: there is no campaign small to extend"
        in command("extend", path, "-n", 1, code=1).err
    )
    assert "was not submitted yet" in command("status", path).err
    assert "sampels is unknown" in command("status", path, "--set", "sampels=1", code=1).err


def test_a_training_comes_first_and_an_extension_takes_it(campaign_file, command, tmp_path):
    known = shipped()
    replace(known, split={"train": known.split["train"][:40]}).save(tmp_path / "few.npz")
    train = {"generator": "substitution", "data": str(tmp_path / "few.npz")}
    path = campaign_file(folder=str(tmp_path / "run"), n_samples=2, train=train)
    backend = find_backend(read_campaign(path))
    done = command("submit", path)
    assert "sampled 2 of 2" in done.err
    assert "0 jobs failed" in done.err
    assert indices(tmp_path / "run" / "store") == [0, 1]
    stages = Counter(stage_of(job.name) for job in backend.jobs())
    assert (stages["train"], stages["sample"]) == (1, 1)
    stores = open_stores(tmp_path / "run" / "store", create=False)
    with contextlib.closing(stores):
        trained = find_trained(stores.job_store, backend.campaign)
        found = list(stores.candidates.query(properties=["provenance"]))
    shas = {each["provenance"]["checkpoint_sha256"] for each in found}
    assert shas == {trained.checkpoint_sha256}
    extension = make_flow(backend.campaign, Part(2, 1), trained)
    (sample,) = (job for job in extension.jobs if job.name == "crystens sample")
    assert "crystens train" not in [job.name for job in extension.jobs]
    assert sample.function_kwargs["trained"] == trained
    assert sample.function_kwargs["start"] == 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, None),
        ("  \n", None),
        ("Traceback\n  File\nValueError: no\n", "ValueError: no"),
        ("crystens_flows.errors.InputError: nothing to relax: it failed\n", "nothing to relax: it"),
        ("Traceback\n    ^^^^^\n", "Traceback"),
    ],
)
def test_the_reason_is_the_last_line(error, reason):
    assert reason_of(error) == reason or reason_of(error).startswith(reason)

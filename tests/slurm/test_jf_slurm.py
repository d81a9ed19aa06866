"""Campaigns that the runner of jobflow-remote gives to SLURM."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml
from campaign_managers import crystens, run_until, vasp_environment
from slurm_campaigns import (
    RELAXATION,
    SMALL,
    all_ended,
    by_stage,
    check_candidates,
    few_crystals,
    finished_jobs,
    initialise,
    slow_vasp,
    status_text,
    submitted,
    write_campaign,
)

from crystens_flows.campaign.backends import find_backend
from crystens_flows.campaign.file import read_campaign
from crystens_flows.campaign.status import failed_jobs

remote = pytest.importorskip("jobflow_remote", reason="jobflow-remote runs the jobs")

pytestmark = [pytest.mark.mongo, pytest.mark.slow]

STAGES = {
    "sample": {"worker": "gpu"},
    "decode": {"worker": "batch"},
    "screen": {"worker": "batch"},
    "relax": RELAXATION,
}


HERE = {"backend": "jf", "default": {"worker": "local"}}


@pytest.fixture
def project(slurm, mongo_uri, tmp_path, monkeypatch):
    """Make the project that `crystens init` writes, with a runner that looks often."""
    calls = vasp_environment(tmp_path, monkeypatch)

    def make(vasp=None):
        if vasp is not None:
            monkeypatch.setenv("ATOMATE2_VASP_CMD", vasp)
        initialise("jf", mongo_uri)
        file = Path.home() / ".jfremote" / "crystens.yaml"
        spec = yaml.safe_load(file.read_text())
        often = ("checkout", "check_run_status", "advance_status", "update_batch")
        spec["runner"] = {f"delay_{each}": 1 for each in often}
        spec["workers"]["batch"]["batch"]["sleep_time"] = 1
        file.write_text(yaml.safe_dump(spec))
        monkeypatch.setenv("JFREMOTE_PROJECTS_FOLDER", str(file.parent))
        monkeypatch.setenv("JFREMOTE_PROJECT", "crystens")
        monkeypatch.setattr(remote.SETTINGS, "projects_folder", str(file.parent))
        monkeypatch.setattr(remote.SETTINGS, "project", "crystens")
        return file

    return make, calls


def test_a_campaign_through_sbatch(project, slurm, tmp_path):
    """Each stage on its worker; SLURM notes what each asked for."""
    make, calls = project
    store = make()
    before = len(slurm.ended())
    path = write_campaign(tmp_path, **HERE, stages=STAGES)
    backend = submitted(path)
    run_until(lambda: all_ended(backend), tmp_path / "runner.log", seconds=1200)
    assert {status for _, status in by_stage(backend)} == {"finished"}, by_stage(backend)
    assert by_stage(backend)["relax", "finished"] == 4
    assert len(calls.read_text().splitlines()) == 4
    check_candidates(store, SMALL["n_samples"])

    asked = {
        (re.sub(r"^batch_.*", "batch", each["Name"]), each["Partition"], each["TimeLimit"])
        for each in slurm.ended()[before:]
        if each["JobState"] == "COMPLETED"
    }
    relaxations = {(f"crystens_relax_{k}", "cpu", "7") for k in (1, 2, 3, 4)}
    assert asked >= relaxations | {("crystens_sample", "gpu", "720"), ("batch", "cpu", "1440")}
    steps = [each for each in slurm.ended()[before:] if each["Name"].startswith("crystens_relax")]
    assert [each["ProcCnt"] for each in steps] == ["1"] * 4  # the worker asks for all cores


def test_a_job_that_runs_out_of_walltime(project, slurm, tmp_path):
    """It is ended by SLURM, told of, given more time, and runs; nothing else runs twice."""
    make, _ = project
    before = len(slurm.ended())
    vasp, calls = slow_vasp(tmp_path, seconds=100)
    store = make(vasp)
    stages = {"relax": {**RELAXATION, "resources": {"time": "00:01:00", "ntasks": 1}}}
    path = write_campaign(tmp_path, **HERE, stages=stages)
    backend = submitted(path)
    run_until(lambda: all_ended(backend), tmp_path / "runner.log", seconds=1200)
    (ended,) = (each for each in slurm.ended()[before:] if each["JobState"] != "COMPLETED")
    assert (ended["Name"], ended["JobState"]) == ("crystens_relax_1", "TIMEOUT")
    (failed,) = failed_jobs(backend.jobs(), "walltime used up")
    assert failed.name == "crystens relax 1"
    assert "walltime used up: SLURM ended job" in " ".join(status_text(path).split())
    assert not calls.exists()
    check_candidates(store, SMALL["n_samples"], n_relaxed=0)
    finished, before = finished_jobs(backend), len(slurm.ended())

    stages["relax"]["resources"]["time"] = "00:05:00"
    write_campaign(tmp_path, **HERE, stages=stages)
    retried = crystens("retry", path, "--reason", "walltime")
    assert retried.returncode == 0, retried.stderr
    assert "1 failed jobs found" in retried.stderr
    run_until(lambda: all_ended(backend), tmp_path / "runner-again.log", seconds=1200)
    assert {status for _, status in by_stage(backend)} == {"finished"}, by_stage(backend)
    again = [(each["Name"], each["TimeLimit"], each["JobState"]) for each in slurm.ended()[before:]]
    assert again == [(f"crystens_relax_{k}", "5", "COMPLETED") for k in (1, 2, 3, 4)]
    assert len(calls.read_text().splitlines()) == 4
    assert finished_jobs(backend).items() >= finished.items()
    check_candidates(store, SMALL["n_samples"])


def test_a_batch_that_runs_out_of_walltime(project, slurm, tmp_path):
    """What ran in it is told of and runs again; SLURM says why it ended."""
    make, _ = project
    vasp, calls = slow_vasp(tmp_path, seconds=100)
    store = make(vasp)
    file = Path.home() / ".jfremote" / "crystens.yaml"
    spec = yaml.safe_load(file.read_text())
    spec["workers"]["batch"]["resources"]["time"] = "00:01:00"
    file.write_text(yaml.safe_dump(spec))
    stages = {"relax": {"worker": "batch"}}
    path = write_campaign(tmp_path, **HERE, stages=stages)
    backend = submitted(path)
    # jobs wait for one whose batch was ended
    run_until(lambda: failed_jobs(backend.jobs()), tmp_path / "runner.log", seconds=1200)
    deadline = time.monotonic() + 60  # SLURM may write down why after the job has ended
    while not failed_jobs(backend.jobs(), "walltime used up") and time.monotonic() < deadline:
        time.sleep(1)
    reasons = {job.name: job.reason or "" for job in failed_jobs(backend.jobs())}
    assert list(reasons) == ["crystens relax 1"]
    assert "walltime used up" in reasons["crystens relax 1"]
    assert "walltime used up: SLURM ended job" in " ".join(status_text(path).split())

    spec["workers"]["batch"]["resources"]["time"] = "00:10:00"
    file.write_text(yaml.safe_dump(spec))
    assert crystens("retry", path, "--reason", "walltime").returncode == 0
    again = find_backend(read_campaign(path))
    run_until(lambda: all_ended(again), tmp_path / "runner-again.log", seconds=1200)
    assert {status for _, status in by_stage(again)} == {"finished"}, by_stage(again)
    assert len(calls.read_text().splitlines()) == 4
    check_candidates(store, SMALL["n_samples"])


def test_a_training_longer_than_its_walltime_is_a_chain_of_jobs(project, slurm, tmp_path):
    """No time at all: each job takes one step of two networks, and the next goes on."""
    make, _ = project
    store = make()
    data = tmp_path / "few.npz"
    few_crystals(data)
    train = {"generator": "default", "steps": 2, "data": str(data), "walltime_minutes": 1e-6}
    stages = {"train": {"worker": "gpu", "resources": {"time": "00:05:00"}}}
    small = {"n_samples": 2, "train": train, "stages": stages}
    small["screening"] = {**SMALL["screening"], "selection": {"n_pool": 0, "n_select": 0}}
    path = write_campaign(tmp_path, **HERE, **small)
    backend = submitted(path)
    run_until(lambda: all_ended(backend), tmp_path / "runner.log", seconds=1200)
    assert {status for _, status in by_stage(backend)} == {"finished"}, by_stage(backend)
    chain = [each for each in slurm.ended() if each["Name"] == "crystens_train"]
    # jobs that take the place of others are routed as they are
    assert [(each["Partition"], each["TimeLimit"]) for each in chain] == [("gpu", "5")] * 4
    assert by_stage(backend)["train", "finished"] == 4
    check_candidates(store, 2, n_relaxed=0)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ({"relax": {"worker": "cpu", "resources": {"walltime": "1:00"}}}, "walltime"),
        ({"relax": {"worker": "batch", "resources": {"time": "1:00"}}}, "no resources of a stage"),
    ],
)
def test_resources_that_the_worker_does_not_take(project, stages, words, tmp_path):
    make, _ = project
    make()
    path = write_campaign(tmp_path, **HERE, stages=stages)
    done = crystens("submit", path)
    assert done.returncode == 1
    assert words in done.stderr

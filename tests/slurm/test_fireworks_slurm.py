"""Campaigns that qlaunch of FireWorks gives to SLURM."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from campaign_managers import crystens, vasp_environment
from slurm_campaigns import (
    RELAXATION,
    SMALL,
    all_ended,
    by_stage,
    check_candidates,
    finished_jobs,
    initialise,
    kill,
    slow_vasp,
    status_text,
    submitted,
    write_campaign,
)
from slurm_cluster import until

from crystens_flows.campaign.backends import JobStatus
from crystens_flows.campaign.status import failed_jobs

pytest.importorskip("fireworks", reason="FireWorks runs the jobs")

pytestmark = [pytest.mark.mongo, pytest.mark.slow]

STAGES = {"sample": {"worker": "gpu"}, "relax": RELAXATION}
QUEUES = (("fworker_cpu.yaml", "my_qadapter.yaml"), ("fworker_gpu.yaml", "qadapter_gpu.yaml"))


@pytest.fixture
def files(slurm, mongo_uri, tmp_path, monkeypatch):
    """Let `crystens init` write the files; return their folder and what a campaign says of them."""

    def make(vasp=None):
        calls = vasp_environment(tmp_path, monkeypatch)
        if vasp is not None:
            monkeypatch.setenv("ATOMATE2_VASP_CMD", vasp)
        initialise("fireworks", mongo_uri)
        folder = Path.home() / ".fireworks"
        config = yaml.safe_load((folder / "FW_config.yaml").read_text())
        config["QUEUE_UPDATE_INTERVAL"] = 1
        (folder / "FW_config.yaml").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("FW_CONFIG_FILE", str(folder / "FW_config.yaml"))
        store, pad = folder / "store.yaml", folder / "my_launchpad.yaml"
        return folder, {"backend": "fireworks", "store": str(store), "launchpad": str(pad)}, calls

    return make


@contextlib.contextmanager
def qlaunch(files, folder, *options, queues=QUEUES):
    """Let `qlaunch rapidfire` submit what is ready for the workers, as long as this goes on."""
    program = str(Path(sys.executable).with_name("qlaunch"))
    folder.mkdir(exist_ok=True)
    running = []
    for worker, adapter in queues:
        command = [program, *options, "-w", str(files / worker), "-q", str(files / adapter)]
        command += ["--launch_dir", str(folder), "rapidfire", "--nlaunches", "infinite"]
        with (folder / f"{adapter}.log").open("a") as log:
            running.append(
                subprocess.Popen(
                    [*command, "-m", "2", "--sleep", "2"], stdout=log, stderr=subprocess.STDOUT
                )
            )
    try:
        yield folder / "my_qadapter.yaml.log"
    finally:
        for process in running:
            kill(process)


def test_a_campaign_and_its_extension_through_sbatch(files, slurm, tmp_path):
    """First each job reserved and with resources of its own, then whatever waits."""
    folder, where, calls = files()
    before = len(slurm.ended())
    path = write_campaign(tmp_path, stages=STAGES, **where)
    backend = submitted(path)
    with qlaunch(folder, tmp_path / "runs", "-r") as log:
        until(lambda: all_ended(backend), seconds=1200, log=log)
    assert {status for _, status in by_stage(backend)} == {"finished"}, by_stage(backend)
    assert len(calls.read_text().splitlines()) == 4
    check_candidates(where["store"], SMALL["n_samples"])
    until(lambda: not slurm.ask("squeue", "--noheader"), seconds=60)
    ended = slurm.ended()[before:]
    asked = {
        (each["Name"], each["Partition"], each["TimeLimit"], each["ProcCnt"]) for each in ended
    }
    assert asked >= {(f"crystens_relax_{k}", "cpu", "7", "1") for k in (1, 2, 3, 4)}
    (sample,) = {each[:3] for each in asked if each[0] == "crystens_sample"}
    assert sample[1:] == ("gpu", "720")
    assert {each["Partition"] for each in ended if each["Name"] != "crystens_sample"} == {"cpu"}
    assert len(ended) == len(list(backend.jobs()))  # each was submitted once

    before += len(ended)
    extended = crystens("extend", path, "-n", "2")
    assert extended.returncode == 0, extended.stderr
    with qlaunch(folder, tmp_path / "runs") as log:
        until(lambda: all_ended(backend), seconds=1200, log=log)
    assert {status for _, status in by_stage(backend)} == {"finished"}, by_stage(backend)
    check_candidates(where["store"], SMALL["n_samples"] + 2, n_relaxed=2)
    asked = {(each["Name"], each["Partition"]) for each in slurm.ended()[before:]}
    assert asked == {("crystens-cpu", "cpu"), ("crystens-gpu", "gpu")}


def test_a_job_that_runs_out_of_walltime(files, slurm, tmp_path):
    """The launch pad has it as running; it is shown as lost, given more time, and runs."""
    vasp, calls = slow_vasp(tmp_path, seconds=100)
    folder, where, _ = files(vasp)
    stages = {"relax": {"resources": {"time": "00:01:00", "ntasks": 1}}}
    path = write_campaign(tmp_path, stages=stages, **where)
    backend = submitted(path)
    with qlaunch(folder, tmp_path / "runs", "-r", queues=QUEUES[:1]) as log:
        until(lambda: failed_jobs(backend.jobs(), "walltime"), seconds=1200, log=log)
    assert slurm.ended()[-1]["JobState"] == "TIMEOUT"
    (failed,) = (job for job in backend.jobs() if job.status is JobStatus.FAILED)
    assert failed.name == "crystens relax 1"
    assert backend.launchpad.get_fw_dict_by_id(int(failed.key))["state"] == "RUNNING"
    assert "lost: walltime used up: SLURM ended job" in " ".join(status_text(path).split())
    assert not calls.exists()
    check_candidates(where["store"], SMALL["n_samples"], n_relaxed=0)
    finished = finished_jobs(backend)

    stages["relax"]["resources"]["time"] = "00:05:00"
    write_campaign(tmp_path, stages=stages, **where)
    retried = crystens("retry", path, "--reason", "walltime")
    assert retried.returncode == 0, retried.stderr
    assert "1 failed jobs found" in retried.stderr
    with qlaunch(folder, tmp_path / "runs", "-r", queues=QUEUES[:1]) as log:
        until(lambda: all_ended(backend), seconds=1200, log=log)
    assert {status for _, status in by_stage(backend)} == {"finished"}, by_stage(backend)
    until(lambda: not slurm.ask("squeue", "--noheader"), seconds=60)
    steps = [each for each in slurm.ended() if each["Name"].startswith("crystens_relax")][-6:]
    states = {
        (each["Name"], each["TimeLimit"], each["JobState"])
        for each in steps
        if each["Name"] != "crystens_relax_summa"
    }
    assert states == {("crystens_relax_1", "1", "TIMEOUT")} | {
        (f"crystens_relax_{k}", "5", "COMPLETED") for k in (1, 2, 3, 4)
    }
    assert len(calls.read_text().splitlines()) == 4
    assert finished_jobs(backend).items() >= finished.items()
    check_candidates(where["store"], SMALL["n_samples"])


def test_a_job_that_is_cancelled_in_the_queue(files, slurm, tmp_path):
    """A rocket that took what was waiting, ended before it could say so."""
    vasp, calls = slow_vasp(tmp_path, seconds=60)
    folder, where, _ = files(vasp)
    path = write_campaign(tmp_path, **where)
    backend = submitted(path)

    def relaxing():
        return any(job.name == "crystens relax 1" and job.folder for job in backend.jobs())

    with qlaunch(folder, tmp_path / "runs", queues=QUEUES[:1]) as log:
        until(relaxing, seconds=1200, log=log)
    (running,) = slurm.ask("squeue", "--noheader", "--states=RUNNING", "--format=%A").split()
    assert failed_jobs(backend.jobs()) == []
    slurm.end_jobs()
    (failed,) = failed_jobs(backend.jobs())
    assert failed.name == "crystens relax 1"
    assert failed.reason == f"lost: cancelled in the queue: SLURM ended job {running}"

    assert crystens("retry", path, "--reason", "cancelled").returncode == 0
    with qlaunch(folder, tmp_path / "runs", queues=QUEUES[:1]) as log:
        until(lambda: all_ended(backend), seconds=1200, log=log)
    assert {status for _, status in by_stage(backend)} == {"finished"}, by_stage(backend)
    assert len(calls.read_text().splitlines()) == 4
    check_candidates(where["store"], SMALL["n_samples"])

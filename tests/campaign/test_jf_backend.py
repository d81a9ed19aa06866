"""Campaigns in the queue of jobflow-remote, on a database."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path

import pytest
from campaign_managers import PAPER, PAPER_WORKERS, SMALL_PAPER, crystens, jf, run_until

from crystens_flows.campaign.backends import JobStatus, find_backend
from crystens_flows.campaign.file import read_campaign
from crystens_flows.campaign.options import Part
from crystens_flows.campaign.stages import stage_of
from crystens_flows.campaign.status import campaign_status, failed_jobs
from crystens_flows.campaign.submission import extend_campaign, submit_campaign
from crystens_flows.errors import InputError

pytest.importorskip("jobflow_remote", reason="jobflow-remote runs the jobs")

pytestmark = [pytest.mark.mongo]

WORKERS = ("local", "gpu", "batch", "cpu")


def paper(store, *settings):
    return read_campaign(PAPER, [*SMALL_PAPER, f"store={store}", "backend=jf", *settings])


def queued(backend):
    return Counter(
        (document["job"]["name"], document["worker"], document["state"])
        for document in backend.controller.jobs.find({})
    )


def test_submitted_routed_extended_and_paused(jf_project):
    store = jf_project(WORKERS)
    backend = find_backend(paper(store))
    assert backend.parts() == []
    done = submit_campaign(backend)
    assert "16 samples from index 0" in done
    assert backend.parts() == [Part(0, 16)]
    found = queued(backend)
    assert found["crystens sample", "gpu", "READY"] == 2
    for name, worker, _ in found:
        assert worker == PAPER_WORKERS.get(stage_of(name), "local"), name
    with pytest.raises(InputError, match="paper was submitted before, with 16 samples"):
        submit_campaign(backend)

    extend_campaign(backend, 5)
    assert backend.parts() == [Part(0, 16), Part(16, 5)]
    starts = {
        document["job"]["function_kwargs"]["start"]
        for document in backend.controller.jobs.find({"job.name": "crystens sample"})
    }
    assert starts == {0, 8, 16}
    with pytest.raises(InputError, match="paper was submitted with another seed"):
        extend_campaign(find_backend(paper(store, "seed=1")), 5)
    # another campaign is another campaign
    other = find_backend(paper(store, "campaign=other", "n_samples=3"))
    submit_campaign(other)
    n_jobs = len(list(backend.jobs()))
    assert backend.pause() == n_jobs
    assert {job.status for job in backend.jobs()} == {JobStatus.PAUSED}
    assert {job.status for job in other.jobs()} == {JobStatus.WAITING}
    assert backend.resume() == n_jobs
    assert {job.status for job in backend.jobs()} == {JobStatus.WAITING}
    # no connection string and no password comes into the queue
    flow = backend.controller.flows.find_one({})
    assert "store" not in flow["metadata"]["options"]


def test_failed_jobs_are_shown_and_tried_again(jf_project):
    """States and errors are written as the runner does; the rest is done by jobflow-remote."""
    store = jf_project(WORKERS)
    backend = find_backend(paper(store))
    submit_campaign(backend)
    jobs = backend.controller.jobs
    sample = jobs.find_one({"job.name": "crystens sample"})
    decode = jobs.find_one({"parents": sample["uuid"], "job.name": "crystens decode"})
    words = "no generator 'x': give a shipped name"
    for document, error in (
        (sample, f"Traceback\n  File\ncrystens_flows.errors.CheckpointError: {words}\n"),
        (decode, "Traceback\nTypeError: 'NoneType' object"),
    ):
        failed = {"state": "FAILED", "error": error, "run_dir": "/scratch/1"}
        jobs.update_one({"db_id": document["db_id"]}, {"$set": failed})
    shown = campaign_status(backend)
    assert [(each.stage, each.example) for each in shown.failures] == [
        ("decode", "TypeError: 'NoneType' object"),
        ("sample", words),
    ]
    found = failed_jobs(backend.jobs(), "no generator")
    assert [job.key for job in found] == [sample["db_id"]]
    retried = backend.retry(failed_jobs(backend.jobs()))
    assert {sample["db_id"], decode["db_id"]} <= set(retried.keys)
    assert retried.refused == {}
    states = {each["db_id"]: each["state"] for each in jobs.find({})}
    assert (states[sample["db_id"]], states[decode["db_id"]]) == ("READY", "WAITING")
    assert failed_jobs(backend.jobs()) == []


def test_a_job_that_was_killed_before_its_batch_has_the_reason_of_the_batch(jf_project):
    """The documents and files are as the runner and SLURM left them, when the job was first."""
    from jobflow_remote.remote.data import get_job_path

    store = jf_project(WORKERS, batch=("batch",))
    backend = find_backend(paper(store))
    submit_campaign(backend)
    jobs = backend.controller.jobs
    killed, alone = jobs.find({"job.name": "crystens decode"})
    batch = str(uuid.uuid4())
    backend.controller.add_batch_process("46", batch, "batch")
    folder = Path(get_job_path(batch, None, backend.project.workers["batch"].batch.work_dir))
    folder.mkdir(parents=True)
    lines = []
    for document, clock in ((alone, "20:42:01"), (killed, "20:43:27")):
        failed = {"state": "FAILED", "remote.error": "the output has no response"}
        jobs.update_one({"db_id": document["db_id"]}, {"$set": failed})
        key = (document["uuid"], document["index"])
        backend.controller.update_job_in_batch(*key, batch, document["db_id"])
        done = "Completed job with id {} and index {}".format(*key)
        lines.append(f"2026-11-21 {clock},281 [INFO] jobflow_remote.jobs.run: {done}\n")
    (folder / "queue.out").write_text("".join(lines))
    (folder / "queue.err").write_text(
        "slurmstepd: error: *** JOB 46 ON vm CANCELLED AT 2026-11-21T20:43:28 DUE TO TIME LIMIT ***"
    )
    reasons = {job.key: job.reason for job in failed_jobs(backend.jobs())}
    assert reasons == {
        killed["db_id"]: "walltime used up: SLURM ended job 46 due to time limit",
        alone["db_id"]: "the output has no response",
    }


def test_what_the_project_does_not_have(jf_project, tmp_path):
    store = jf_project(("local", "gpu"))
    with pytest.raises(InputError, match="has no worker 'batch': known are gpu, local"):
        submit_campaign(find_backend(paper(store)))
    named = ["stages={relax: {exec_config: vsap}}"]
    with pytest.raises(InputError, match="has no exec_config 'vsap': known are vasp"):
        submit_campaign(find_backend(paper(store, *named)))
    with pytest.raises(InputError, match=r"the jobs write to localhost.*outputs, not to"):
        submit_campaign(find_backend(paper(tmp_path / "embedded", "stages={}")))
    with pytest.raises(InputError, match=r"jobflow-remote: .*nobody"):
        submit_campaign(find_backend(paper(store, "project=nobody")))
    assert find_backend(paper(store)).parts() == []


def test_jf_has_the_commands_as_a_plugin(jf_project, tmp_path):
    store = jf_project(WORKERS)
    settings = [f"--set={each}" for each in (*SMALL_PAPER, f"store={store}")]
    submitted = jf("crystens", "submit", str(PAPER), *settings)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert find_backend(paper(store)).parts() == [Part(0, 16)]
    again = jf("crystens", "submit", str(PAPER), *settings)
    assert again.returncode == 1
    assert "was submitted before" in " ".join((again.stdout + again.stderr).split())


@pytest.mark.slow
def test_the_paper_through_the_runner(jf_project, tmp_path, vasp_stand_in):
    """`crystens submit`, `jf runner run` on four workers, `crystens build`."""
    store = jf_project(WORKERS, batch=WORKERS)
    settings = [f"--set={each}" for each in (*SMALL_PAPER, f"store={store}")]
    done = crystens("submit", "--backend", "jf", PAPER, *settings)
    assert done.returncode == 0, done.stderr
    backend = find_backend(paper(store))
    ended = (JobStatus.FINISHED, JobStatus.FAILED)
    run_until(lambda: all(job.status in ended for job in backend.jobs()), tmp_path / "runner.log")
    jobs = list(backend.jobs())
    assert [job for job in jobs if job.status is not JobStatus.FINISHED] == []
    # jobs that were started by others are routed too
    steps = [job for job in jobs if stage_of(job.name) == "relax"]
    assert sorted(job.name for job in steps) == [f"crystens relax {k}" for k in (1, 2, 3, 4)]
    for job in jobs:
        expected = PAPER_WORKERS.get(stage_of(job.name), "local")
        assert stage_of(job.name) == "other" or job.worker == expected, job
    assert len(vasp_stand_in.read_text().splitlines()) == 4
    # what has begun relaxations does not run again
    sampled = [job for job in jobs if job.name == "crystens sample"]
    retried = backend.retry(sampled)
    assert (retried.keys, set(retried.refused)) == ([], {job.key for job in sampled})
    built = crystens("build", "--store", store, "--accept-stand-in")
    assert built.returncode == 0, built.stderr
    found = crystens("candidates", "query", "--store", store, "--status", "relaxed")
    assert found.stdout.count("c-") == 1, found.stdout + found.stderr

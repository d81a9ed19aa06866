"""SIGKILL of jobs and of the runner of jobflow-remote, and two runners."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta

import pytest
from campaign_managers import crystens
from fault_campaigns import KILLED_IN, comes_late, reasons, status, step_failed, survived, told
from fault_workers import jf_runner, running, wait_until_ended

from crystens_flows.campaign.backends import find_backend
from crystens_flows.campaign.file import read_campaign

pytestmark = [pytest.mark.mongo, pytest.mark.slow]


def test_killed_in_each_stage(mongo_uri, tmp_path, watch, jf_campaign, undisturbed):
    """
    The process of the job is killed; what comes after the job has nothing, and fails too.

    One chunk, so that nothing goes on without it; candidates do not depend on the chunk.
    """
    path, store = jf_campaign(mongo_uri, chunk_size=6)
    killed = set()
    with running(tmp_path):
        for number, stage in enumerate(KILLED_IN):
            # of the screens the last one: without another the selection goes on, as it is to do
            name = "hull" if stage == "screen" else stage
            watch.hold(name, "computed" if number % 2 else "begins")
            killed.add(watch.kill_held())
            wait_until_ended(path, tmp_path)
            assert "The job was likely killed" in reasons(path)[stage]
            retried = crystens("retry", path)
            assert " 0 jobs run again" not in retried.stderr, retried.stderr
            assert "  not " not in retried.stderr
        wait_until_ended(path, tmp_path)
    assert crystens("build", "--store", store).returncode == 0
    what = f"jobflow-remote, SIGKILL in {len(KILLED_IN)} stages"
    survived(what, path, watch, store, undisturbed, again=killed, not_kept=told(watch))


def test_the_runner_is_killed(mongo_uri, tmp_path, watch, jf_campaign, undisturbed):
    """While a job runs, and while it holds a job itself, which nobody else takes then."""
    path, store = jf_campaign(mongo_uri)
    watch.hold("decode", "computed")
    runner = jf_runner(tmp_path)
    watch.wait_for_held()
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait(30)
    watch.hold_runner()
    second = jf_runner(tmp_path)
    watch.release()
    watch.kill_held()
    second.wait(30)
    backend = find_backend(read_campaign(path))
    jobs, flows = backend.controller.jobs, backend.controller.flows
    (held,) = jobs.find({"lock_id": {"$ne": None}}, ["db_id"])
    # what the runner would have seen in an hour
    long_ago = {"$set": {"lock_time": datetime.now(tz=UTC) - timedelta(hours=1)}}
    for each in (jobs, flows):
        each.update_many({"lock_id": {"$ne": None}}, long_ago)
    (found,) = status(path)["failures"]
    assert found["jobs"] == [held["db_id"]]
    assert found["example"].startswith("held by a runner for 1.0 hours: it was killed")
    with running(tmp_path):
        retried = crystens("retry", path, "--reason", "held by")
        assert "1 failed jobs found; 1 jobs run again" in retried.stderr, retried.stderr
        wait_until_ended(path, tmp_path)
    assert crystens("build", "--store", store).returncode == 0
    what = "jobflow-remote, SIGKILL of the runner, twice"
    survived(what, path, watch, store, undisturbed)


def test_two_runners_at_once(mongo_uri, tmp_path, watch, jf_campaign, undisturbed):
    path, store = jf_campaign(mongo_uri)
    with running(tmp_path), running(tmp_path):
        wait_until_ended(path, tmp_path)
    assert crystens("build", "--store", store).returncode == 0
    survived("jobflow-remote, two runners at once", path, watch, store, undisturbed)


def test_a_chunk_comes_late(mongo_uri, tmp_path, watch, jf_campaign, undisturbed):
    """Killed when nobody looks: the other chunk is relaxed by then; none of the killed is lost."""
    path, store = jf_campaign(mongo_uri)
    watch.hold("sample")
    with running(tmp_path):
        watch.kill_held()
        wait_until_ended(path, tmp_path)
        assert {"sample", "decode"} == set(reasons(path))

        def run():
            wait_until_ended(path, tmp_path)

        comes_late("jobflow-remote", path, watch, undisturbed, store, run)


def test_a_step_of_a_relaxation_fails(mongo_uri, tmp_path, watch, jf_campaign, failing_vasp):
    """VASP cannot be started for the second; then it can, and the first is not done again."""
    changes, expected, repaired = failing_vasp
    path, store = jf_campaign(mongo_uri, **changes)
    with running(tmp_path):
        wait_until_ended(path, tmp_path)
        step_failed(path, store, expected)
        repaired.touch()
        retried = crystens("retry", path, "--stage", "relax")
        assert "  not " not in retried.stderr, retried.stderr
        wait_until_ended(path, tmp_path)
    assert crystens("build", "--store", store, "--accept-stand-in").returncode == 0
    what = "jobflow-remote, a step of a relaxation fails"
    survived(what, path, watch, store, expected, not_kept=told(watch))

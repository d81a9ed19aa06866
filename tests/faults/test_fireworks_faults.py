"""SIGKILL of the worker of FireWorks in each stage, two workers, and a step that fails."""

from __future__ import annotations

import signal

import pytest
from campaign_managers import crystens
from fault_campaigns import KILLED_IN, comes_late, reasons, step_failed, survived, told, wait_until
from fault_workers import all_rockets, rlaunch

pytestmark = [pytest.mark.mongo, pytest.mark.slow]


def test_killed_in_each_stage(mongo_uri, tmp_path, watch, fireworks_campaign, undisturbed):
    """The job stays RUNNING in the launch pad; it is lost, which the status says."""
    path, store = fireworks_campaign(mongo_uri)
    killed = set()
    for number, stage in enumerate(KILLED_IN):
        watch.hold(stage, "computed" if number % 2 else "begins")
        worker = rlaunch(tmp_path)
        killed.add(watch.kill_held())
        assert worker.wait(60) == -signal.SIGKILL
        found = wait_until(lambda: reasons(path), 60)
        assert list(found) == [stage]
        assert found[stage].startswith("lost: no sign of life")
        retried = crystens("retry", path, "--reason", "lost")
        assert "1 failed jobs found" in retried.stderr, retried.stderr
        assert reasons(path) == {}
    all_rockets(tmp_path)
    assert crystens("build", "--store", store).returncode == 0
    what = f"FireWorks, SIGKILL in {len(KILLED_IN)} stages"
    survived(what, path, watch, store, undisturbed, again=killed)


def test_a_chunk_comes_late(
    mongo_uri, tmp_path, watch, fireworks_campaign, undisturbed, monkeypatch
):
    """It fails when nobody looks: the other chunk is relaxed by then; none of it is lost."""
    path, store = fireworks_campaign(mongo_uri)
    monkeypatch.setenv("CRYSTENS_TEST_HIDDEN", "torch")
    while "sample" not in reasons(path):
        assert rlaunch(tmp_path, few=1).wait(300) == 0
    monkeypatch.delenv("CRYSTENS_TEST_HIDDEN")
    all_rockets(tmp_path)
    assert set(reasons(path)) == {"sample", "decode"}
    comes_late("FireWorks", path, watch, undisturbed, store, lambda: all_rockets(tmp_path))


def test_two_workers_at_once(mongo_uri, tmp_path, watch, fireworks_campaign, undisturbed):
    path, store = fireworks_campaign(mongo_uri)
    # rapidfire ends where nothing is ready for now: another takes over
    while True:
        workers = [rlaunch(tmp_path) for _ in range(2)]
        assert [worker.wait(900) for worker in workers] == [0, 0]
        if not any("WAITING" in each or "READY" in each for each in states(path)):
            break
    pids = {line["pid"] for line in watch.lines()}
    assert len(pids) >= 2
    assert crystens("build", "--store", store).returncode == 0
    survived("FireWorks, two workers at once", path, watch, store, undisturbed)


def states(path):
    from crystens_flows.campaign.backends import find_backend
    from crystens_flows.campaign.file import read_campaign

    backend = find_backend(read_campaign(path))
    return [each["state"] for each in backend.launchpad.fireworks.find({}, ["state"])]


def test_a_step_of_a_relaxation_fails(mongo_uri, tmp_path, watch, fireworks_campaign, failing_vasp):
    """VASP cannot be started for the second; then it can, and the first is not done again."""
    changes, expected, repaired = failing_vasp
    path, store = fireworks_campaign(mongo_uri, **changes)
    all_rockets(tmp_path)
    step_failed(path, store, expected)
    repaired.touch()
    retried = crystens("retry", path, "--stage", "relax")
    assert "  not " not in retried.stderr, retried.stderr
    all_rockets(tmp_path)
    assert crystens("build", "--store", store, "--accept-stand-in").returncode == 0
    what = "FireWorks, a step of a relaxation fails"
    survived(what, path, watch, store, expected, not_kept=told(watch))

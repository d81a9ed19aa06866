"""SIGKILL of jobs and of the runner of jobflow-remote, and two runners."""

from __future__ import annotations

import pytest
from campaign_managers import crystens
from fault_campaigns import KILLED_IN, reasons, survived, wait_until
from fault_workers import running, wait_until_ended

pytestmark = [pytest.mark.mongo, pytest.mark.slow]


def test_killed_in_each_stage(mongo_uri, tmp_path, watch, jf_campaign, undisturbed):
    """The process of the job is killed; the runner goes on."""
    path, store = jf_campaign(mongo_uri)
    killed = set()
    with running(tmp_path):
        for number, stage in enumerate(KILLED_IN):
            watch.hold(stage, "computed" if number % 2 else "begins")
            killed.add(watch.kill_held())
            found = wait_until(lambda: reasons(path), 60)
            assert list(found) == [stage]
            retried = crystens("retry", path, "--stage", stage)
            assert "1 failed jobs found" in retried.stderr, retried.stderr
        wait_until_ended(path, tmp_path)
    assert crystens("build", "--store", store).returncode == 0
    what = f"jobflow-remote, SIGKILL in {len(KILLED_IN)} stages"
    survived(what, path, watch, store, undisturbed, again=killed)

"""SIGKILL of `crystens submit --backend local` in each stage, and two at once."""

from __future__ import annotations

import os
import signal

import pytest
from campaign_managers import crystens
from fault_campaigns import (
    KILLED_IN,
    reasons,
    start,
    status,
    survived,
    write_campaign,
)

from crystens_flows.campaign.backends.local import INTERRUPTED


@pytest.mark.parametrize("stage", KILLED_IN)
def test_killed_in_each_stage(stage, tmp_path, watch, undisturbed):
    """Twice: before the job has done anything, and with its output in hand."""
    path = write_campaign(tmp_path, folder=str(tmp_path / "run"))
    for what, command in (("begins", "submit"), ("computed", "retry")):
        watch.hold(stage, what)
        process = start(command, path)
        _, held = watch.wait_for_held()
        running = {each["stage"]: each["running"] for each in status(path)["stages"]}
        assert (running[stage], sum(running.values())) == (1, 1)
        assert watch.kill_held() == held["job"]
        assert process.wait(60) == -signal.SIGKILL
        assert reasons(path) == {stage: INTERRUPTED}
    again = crystens("submit", path)
    assert again.returncode == 0, again.stderr
    store = tmp_path / "run" / "store"
    what = f"local, SIGKILL in {stage}, twice"
    survived(what, path, watch, store, undisturbed, again={held["job"]})


def test_two_at_once(tmp_path, watch, undisturbed):
    path = write_campaign(tmp_path, folder=str(tmp_path / "run"))
    watch.hold("screen")
    first = start("submit", path)
    watch.wait_for_held()
    second = crystens("submit", path)
    assert second.returncode == 1
    assert "is in use by another process" in second.stderr
    watch.release()
    _, printed = first.communicate(timeout=240)
    assert first.returncode == 0, printed
    survived("local, two at once", path, watch, tmp_path / "run" / "store", undisturbed)


def test_interrupted_from_the_keyboard(tmp_path, watch, undisturbed):
    path = write_campaign(tmp_path, folder=str(tmp_path / "run"))
    watch.hold("relax")
    process = start("submit", path)
    pid, held = watch.wait_for_held()
    os.kill(pid, signal.SIGINT)
    assert process.wait(60) != 0
    watch.release()
    assert list(reasons(path)) == ["relax"]
    assert crystens("submit", path).returncode == 0
    store = tmp_path / "run" / "store"
    survived("local, SIGINT in relax", path, watch, store, undisturbed, again={held["job"]})

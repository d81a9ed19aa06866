"""Jobs that a runner of jobflow-remote held when it was killed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from crystens_flows.campaign.backends.held_jobs import is_held, why_held

pytest.importorskip("jobflow_remote", reason="jobflow-remote runs the jobs")


@pytest.mark.parametrize("zone", [UTC, None])
def test_a_lock_is_old_after_a_while(zone):
    def held(minutes):
        since = datetime.now(tz=UTC) - timedelta(minutes=minutes)
        return why_held({"lock_id": "a", "lock_time": since.replace(tzinfo=zone)})

    assert held(1) is None
    assert is_held(held(90))
    assert "for 1.5 hours" in held(90)
    assert why_held({"lock_id": None, "lock_time": None}) is None
    assert why_held({}) is None
    assert not is_held(None)
    assert not is_held("ValueError: held by a runner")

"""Rockets of FireWorks that were ended from outside, which the launch pad calls running."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from crystens_flows.campaign.backends.queue_ends import (
    end_of,
    error_file,
    jobs_in_queue,
    why_ended,
)

LOST_STATES = ("RUNNING", "RESERVED")
"""States of jobs that may be lost."""


class LostRockets:
    """Tells which rockets are lost; it asks the queue once."""

    def why(self, state: str, launch: Mapping[str, Any]) -> str | None:
        """
        Say why a job is lost.

        Parameters
        ----------
        state
            Its state in the launch pad.
        launch
            Its launch: ``launch_dir`` and ``state_history``.

        Returns
        -------
        str or None
            The reason in a line; None where it waits, runs or has ended as it should.
        """
        if state not in LOST_STATES:
            return None
        found = error_file(Path(launch["launch_dir"])) if launch.get("launch_dir") else None
        if found is None:
            return _silent(launch) if state == "RUNNING" else None
        number, file = found
        text = end_of(file)
        ended = why_ended(text)
        if self._queue is None:
            silent = _silent(launch) if state == "RUNNING" else None
            return f"lost: {ended}" if ended else silent
        if number in self._queue:
            return None
        if ended:
            return f"lost: {ended}"
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
        said = f": {last.strip()}" if last else ", without a word"
        return f"lost: job {number} of the queue has ended{said}"

    @cached_property
    def _queue(self) -> set[str] | None:
        return jobs_in_queue()


def _silent(launch: Mapping[str, Any]) -> str | None:
    """Say that a rocket has given no sign of life for as long as FireWorks waits for one."""
    from fireworks.fw_config import RUN_EXPIRATION_SECS  # type: ignore[import-untyped]

    times = [
        _time(each.get("updated_on") or each["created_on"])
        for each in launch.get("state_history") or []
        if each["state"] == "RUNNING"
    ]
    if not times:
        return None
    silent = (datetime.now(tz=UTC) - max(times)).total_seconds()
    if silent < RUN_EXPIRATION_SECS:
        return None
    return f"lost: no sign of life for {silent / 3600:.1f} hours, the worker was killed"


def _time(found: datetime | str) -> datetime:
    time = datetime.fromisoformat(found) if isinstance(found, str) else found
    return time if time.tzinfo else time.replace(tzinfo=UTC)

"""Jobs of jobflow-remote that a runner held when it was killed: no other runner takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobflow_remote.jobs.jobcontroller import JobController

HELD_TOO_LONG = timedelta(minutes=15)
"""A runner holds a job while it copies files or writes its output, and no longer."""

_HELD = "held by a runner"
_FREE = {"$set": {"lock_id": None, "lock_time": None}}


def why_held(found: Mapping[str, Any]) -> str | None:
    """
    Say that a job is held for longer than a runner that lives holds it.

    Parameters
    ----------
    found
        The job in the queue: ``lock_id`` and ``lock_time``.

    Returns
    -------
    str or None
        The reason in a line; None where it is not.
    """
    since = found.get("lock_time")
    if not found.get("lock_id") or since is None:
        return None
    since = since if since.tzinfo else since.replace(tzinfo=UTC)
    held = datetime.now(tz=UTC) - since
    if held < HELD_TOO_LONG:
        return None
    return (
        f"{_HELD} for {held.total_seconds() / 3600:.1f} hours: it was killed, or hangs; end it, "
        "then `crystens retry` frees the job"
    )


def is_held(reason: str | None) -> bool:
    """
    Say whether a reason is one of :func:`why_held`.

    Parameters
    ----------
    reason
        The reason.
    """
    return reason is not None and reason.startswith(_HELD)


def free(controller: JobController, keys: Iterable[str]) -> list[str]:
    """
    Let runners take jobs again that are held, with their flows.

    Parameters
    ----------
    controller
        What changes the queue.
    keys
        The ``db_id`` of the jobs.

    Returns
    -------
    list of str
        Those that were freed: not one that was taken by a runner meanwhile.
    """
    long_ago = {"lock_time": {"$lt": datetime.now(tz=UTC) - HELD_TOO_LONG}}
    freed = []
    for key in keys:
        job = controller.jobs.find_one({"db_id": key, **long_ago}, ["uuid"])
        if job is not None:
            controller.flows.update_many({"jobs": job["uuid"], **long_ago}, _FREE)
            controller.jobs.update_one({"db_id": key, **long_ago}, _FREE)
            freed.append(key)
    return freed

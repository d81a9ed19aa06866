"""What runs the jobs of campaigns, seen from outside: one interface for all."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from crystens_flows.campaign.file import CampaignFile
from crystens_flows.campaign.options import Part
from crystens_flows.masking import without_password


class JobStatus(StrEnum):
    """How far a job has come, whatever runs it."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    PAUSED = "paused"


@dataclass(frozen=True)
class JobRecord:
    """
    A job of a campaign.

    Parameters
    ----------
    key
        What the backend knows it by.
    name
        Its name.
    status
        How far it has come.
    reason
        Why it failed, in a line.
    started
        When it started last, with a time zone.
    ended
        When it ended, with a time zone.
    worker
        Where it runs or ran.
    folder
        Its folder there.
    """

    key: str
    name: str
    status: JobStatus
    reason: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    worker: str | None = None
    folder: str | None = None


@dataclass(frozen=True)
class Retried:
    """
    What became of jobs that were to be tried again.

    Parameters
    ----------
    keys
        Jobs that will run again, with those that come after them.
    refused
        Why others will not, by key.
    late
        Samples that a selection which has begun relaxations went on without: submitted once more,
        to be screened and selected from on their own.
    """

    keys: list[str]
    refused: dict[str, str]
    late: list[Part] = field(default_factory=list)


Progress = Callable[[int, int, str], None]


class Backend(ABC):
    """
    What runs the jobs of one campaign.

    Parameters
    ----------
    campaign
        The campaign.
    progress
        Called with jobs done, jobs known and the name of the job that runs, where this process
        runs them.
    """

    def __init__(self, campaign: CampaignFile, progress: Progress | None = None) -> None:
        self.campaign = campaign
        self.progress = progress

    def store(self) -> str | Path | None:
        """Return where the candidates are, where the campaign says so."""
        return self.campaign.store

    @abstractmethod
    def parts(self) -> list[Part]:
        """Return what has been submitted of the campaign, by index."""

    @abstractmethod
    def submit(self, part: Part) -> str:
        """
        Submit a part of the campaign.

        Parameters
        ----------
        part
            Its samples.

        Returns
        -------
        str
            What was done, in a line.
        """

    @abstractmethod
    def jobs(self) -> Iterator[JobRecord]:
        """Yield all jobs of the campaign that are known so far."""

    @abstractmethod
    def retry(self, jobs: Iterable[JobRecord]) -> Retried:
        """
        Let jobs that failed run again, and those that come after them.

        Parameters
        ----------
        jobs
            The jobs, all failed.
        """

    @abstractmethod
    def pause(self) -> int:
        """Start no job any more, and return how many wait; those that run go on to their end."""

    @abstractmethod
    def resume(self) -> int:
        """Let what was paused go on, and return how many jobs that are."""


def reason_of(error: str | None) -> str | None:
    """
    Say in a line why a job failed.

    Parameters
    ----------
    error
        A traceback or a message.

    Returns
    -------
    str or None
        Its last line; of our own errors the message alone.
    """
    if not error or not error.strip():
        return None
    last = next(
        (line for line in reversed(error.splitlines()) if line.strip(" ^~\t")), error
    ).strip()
    return without_password(re.sub(r"^crystens_flows\.errors\.\w+: ", "", last))

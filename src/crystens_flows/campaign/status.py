"""How far a campaign has come: by stage, what failed and why, and how fast it goes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, Field

from crystens_flows.campaign.backends import Backend, JobRecord, JobStatus
from crystens_flows.campaign.stages import OTHER, STAGES, stage_of
from crystens_flows.errors import StoreError

SHOWN_JOBS = 5
"""So many jobs are named of those that failed for one reason."""


class StageStatus(BaseModel):
    """The jobs of one stage."""

    stage: str
    waiting: int = 0
    running: int = 0
    finished: int = 0
    failed: int = 0
    paused: int = 0
    per_hour: float | None = Field(
        None, description="Jobs that ended in the last hour, or since the first did."
    )
    minutes: float | None = Field(None, description="Mean time of a job, where it is known.")


class FailureReason(BaseModel):
    """Jobs of one stage that failed for the same reason."""

    stage: str
    reason: str = Field(description="Without what is of one job alone: paths, numbers.")
    n_jobs: int
    example: str = Field(description="What one of them says.")
    jobs: list[str] = Field(description="Some of them, as the backend knows them.")
    folders: list[str] = Field(description="Their folders, where they are known.")


class CampaignStatus(BaseModel):
    """How far a campaign has come."""

    campaign: str
    backend: str
    n_samples: int = Field(description="Samples submitted.")
    n_parts: int = Field(description="The beginning and the extensions.")
    stages: list[StageStatus]
    failures: list[FailureReason]
    candidates: dict[str, int] | None = Field(
        None,
        description="Candidates by how far they have come, as the last build left them; None where "
        "the campaign names no store, nothing is in it yet, or they were not asked for.",
    )


def campaign_status(
    backend: Backend, now: datetime | None = None, *, count_candidates: bool = True
) -> CampaignStatus:
    """
    Say how far a campaign has come.

    Parameters
    ----------
    backend
        What runs its jobs.
    now
        The time; by default that of this machine.
    count_candidates
        Whether the candidates in the store of the campaign are counted too.

    Returns
    -------
    CampaignStatus
        Stages in their order, those without jobs left out; reasons by frequency.
    """
    jobs = list(backend.jobs())
    parts = backend.parts()
    return CampaignStatus(
        campaign=backend.campaign.campaign,
        backend=backend.campaign.backend,
        n_samples=sum(part.n_samples for part in parts),
        n_parts=len(parts),
        stages=_stages(jobs, now or datetime.now(tz=UTC)),
        failures=_failures(jobs),
        candidates=_candidates(backend) if count_candidates else None,
    )


def failed_jobs(
    jobs: Iterable[JobRecord], reason: str | None = None, stage: str | None = None
) -> list[JobRecord]:
    """
    Return the jobs that failed, all or for one reason.

    Parameters
    ----------
    jobs
        Jobs of a campaign.
    reason
        Part of the reason, in capitals or not; None for any.
    stage
        Their stage; None for any.

    Returns
    -------
    list of JobRecord
        In the order given.
    """
    return [
        job
        for job in jobs
        if job.status is JobStatus.FAILED
        and (reason is None or reason.lower() in (job.reason or "").lower())
        and (stage is None or stage_of(job.name) == stage)
    ]


def _candidates(backend: Backend) -> dict[str, int] | None:
    from crystens_flows.candidate_status import CandidateStatus
    from crystens_flows.stores import open_stores

    where = backend.store()
    if where is None:
        return None
    try:
        stores = open_stores(where, create=False)
    except StoreError:  # how far the jobs are is known nevertheless
        return None
    with closing(stores):
        campaign = backend.campaign.campaign
        counts = {
            status.value: stores.candidates.count(campaign=campaign, status=status)
            for status in CandidateStatus
        }
    return counts if any(counts.values()) else None


def _stages(jobs: list[JobRecord], now: datetime) -> list[StageStatus]:
    found = []
    for stage in (*STAGES, OTHER):
        here = [job for job in jobs if stage_of(job.name) == stage]
        if not here:
            continue
        counts = Counter(job.status.value for job in here)
        times = [
            (job.ended - job.started).total_seconds() / 60
            for job in here
            if job.started and job.ended and job.status is JobStatus.FINISHED
        ]
        found.append(
            StageStatus(
                stage=stage,
                **counts,
                per_hour=_per_hour(here, now),
                minutes=round(sum(times) / len(times), 3) if times else None,
            )
        )
    return found


def _per_hour(jobs: list[JobRecord], now: datetime) -> float | None:
    ended = [job.ended for job in jobs if job.ended and job.status is JobStatus.FINISHED]
    if not ended:
        return None
    hour_ago = now - timedelta(hours=1)
    recent = [each for each in ended if each >= hour_ago]
    # a stage that began within the hour is not slower for that
    began = min(job.started or job.ended or now for job in jobs if job.ended)
    hours = (now - max(began, hour_ago)).total_seconds() / 3600
    return round(len(recent) / hours, 2) if hours > 0 else None


def _failures(jobs: list[JobRecord]) -> list[FailureReason]:
    groups: dict[tuple[str, str], list[JobRecord]] = {}
    for job in failed_jobs(jobs):
        groups.setdefault((stage_of(job.name), _kind(job.reason)), []).append(job)
    found = [
        FailureReason(
            stage=stage,
            reason=kind,
            n_jobs=len(group),
            example=group[0].reason or "unknown",
            jobs=[job.key for job in group[:SHOWN_JOBS]],
            folders=[job.folder for job in group[:SHOWN_JOBS] if job.folder],
        )
        for (stage, kind), group in groups.items()
    ]
    return sorted(found, key=lambda each: (-each.n_jobs, each.stage, each.reason))


def _kind(reason: str | None) -> str:
    """Leave out of a reason what differs between jobs that failed alike."""
    text = re.sub(r"\S*/\S+", "PATH", reason or "unknown")
    text = re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\bc-[0-9a-f]{20}\b", "ID", text)
    return re.sub(r"(?<![A-Za-z])[-+]?\d+(\.\d+)?([eE][-+]?\d+)?", "N", text)

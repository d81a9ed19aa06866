"""Which jobs have something to say that the candidates do not hold yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from jobflow import JobStore
from maggma.core import Store

from crystens_flows.builders.merge import (
    ID_FIELDS,
    STAGES,
    Document,
    Order,
    StageJob,
    candidate_ids,
    held_order,
    label_of,
    replaces,
)

Batch = tuple[dict[str, StageJob], list[str]]
HELD = ["candidate_id", "jobs", "completed_at"]
CANDIDATES_AT_ONCE = 500
"""Candidates that are read, merged and written at once."""

_JOBS_AT_ONCE = 200


class Changes:
    """
    The jobs that are to be read, found without reading their outputs.

    Compared are the runs of the jobs in the JobStore with those that the candidates name. A job
    whose candidates all name it is not looked at again by the same object.

    Parameters
    ----------
    job_store
        The outputs of the jobs.
    candidates
        The store of the candidates.
    """

    def __init__(self, job_store: JobStore, candidates: Store) -> None:
        self.job_store = job_store
        self.candidates = candidates
        self._complete: set[Order] = set()
        self._open: dict[str, list[StageJob]] = {}
        self._named: Counter[Order] = Counter()
        self._stale: dict[str, set[str]] = {}

    def look(self) -> None:
        """Find the jobs that are in the JobStore now, and which run of them candidates name."""
        latest = self._latest()
        self._open = {}
        for job in sorted(latest.values(), key=lambda job: job.order):
            if job.order not in self._complete:
                self._open.setdefault(job.stage, []).append(job)
        self._named, self._stale = Counter(), {}
        if not self._open:
            return
        for doc in self.candidates.query({}, properties=HELD):
            for label in doc.get("jobs") or {}:
                held = held_order(doc, label)
                assert held is not None
                self._named[held] += 1
                now = latest.get(held[1])
                if now is not None and replaces(now.order, held):
                    self._stale.setdefault(now.uuid, set()).add(doc["candidate_id"])

    def batches(self) -> Iterator[Batch]:
        """
        Yield candidates, some at a time, with all the jobs that have something new to say of one.

        Each candidate comes once, so that it is written once whatever the number of stages.

        Yields
        ------
        tuple
            The jobs by ``"uuid:index"``, and the identifiers in alphabetical order.
        """
        concerning: dict[str, list[StageJob]] = {}
        decoded: set[str] = set()  # these exist when the other jobs are read
        for stage in STAGES:
            jobs = self._open.get(stage, [])
            for start in range(0, len(jobs), _JOBS_AT_ONCE):
                for job, ids in self._missing(stage, jobs[start : start + _JOBS_AT_ONCE], decoded):
                    if stage == "decode":
                        decoded |= ids
                    for identifier in sorted(ids):
                        concerning.setdefault(identifier, []).append(job)
        ordered = list(concerning)  # those of one chunk beside one another
        for start in range(0, len(ordered), CANDIDATES_AT_ONCE):
            part = ordered[start : start + CANDIDATES_AT_ONCE]
            yield {job.key: job for each in part for job in concerning[each]}, sorted(part)

    def _latest(self) -> dict[str, StageJob]:
        """Return the jobs by uuid, of each the last index only."""
        latest: dict[str, StageJob] = {}
        for doc in self.job_store.query(
            {"output.stage": {"$in": list(STAGES)}},
            properties=["uuid", "index", "output.stage", "completed_at"],
        ):
            job = StageJob(
                doc["uuid"], doc["index"], doc["output"]["stage"], doc.get("completed_at") or ""
            )
            if job.uuid not in latest or latest[job.uuid].index < job.index:
                latest[job.uuid] = job
        return latest

    def _missing(
        self, stage: str, jobs: list[StageJob], decoded: set[str]
    ) -> Iterator[tuple[StageJob, set[str]]]:
        """Yield jobs with the candidates that lack them, or name a run that is no more."""
        found = self._concerned(stage, jobs)
        held = self._held({each for _, _, ids in found for each in ids})
        for job, label, ids in found:
            lacking = {
                identifier
                for identifier in ids
                if (
                    replaces(job.order, held_order(held[identifier], label))
                    if identifier in held
                    else stage == "decode" or identifier in decoded
                )
            }
            lacking |= self._stale.get(job.uuid, set())
            if lacking:
                yield job, lacking
            elif ids <= held.keys():
                self._complete.add(job.order)

    def _concerned(self, stage: str, jobs: list[StageJob]) -> list[tuple[StageJob, str, set[str]]]:
        """Return the jobs that not all of their candidates name, with these."""
        by_key = {job.key: job for job in jobs}
        found = []
        for doc in self.job_store.query(
            {"uuid": {"$in": [job.uuid for job in jobs]}}, properties=["uuid", "index", *ID_FIELDS]
        ):
            job = by_key.get(f"{doc['uuid']}:{doc['index']}")
            if job is None:
                continue
            ids = set(candidate_ids(stage, doc["output"]))
            if self._named[job.order] == len(ids) and job.uuid not in self._stale:
                self._complete.add(job.order)
            else:
                found.append((job, label_of(stage, doc["output"]), ids))
        return found

    def _held(self, ids: set[str]) -> dict[str, Document]:
        """Return what candidates that exist name, by identifier."""
        held = {}
        ordered = sorted(ids)
        for start in range(0, len(ordered), CANDIDATES_AT_ONCE):
            part = ordered[start : start + CANDIDATES_AT_ONCE]
            for doc in self.candidates.query({"candidate_id": {"$in": part}}, properties=HELD):
                held[doc["candidate_id"]] = doc
        return held

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

Changed = tuple[StageJob, set[str]]
HELD = ["candidate_id", "jobs", "completed_at"]
_JOBS_AT_ONCE = 200
_CANDIDATES_AT_ONCE = 1000


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

    def of_stage(self, stage: str) -> Iterator[Changed]:
        """
        Yield the jobs of a stage that some candidate lacks.

        What the stages before it changed must have been written when this is called.

        Parameters
        ----------
        stage
            One of :data:`~crystens_flows.builders.merge.STAGES`.

        Yields
        ------
        tuple
            The job, and the candidates that it concerns or that an earlier run of it concerned.
        """
        jobs = self._open.get(stage, [])
        for start in range(0, len(jobs), _JOBS_AT_ONCE):
            yield from self._missing(stage, jobs[start : start + _JOBS_AT_ONCE])

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

    def _missing(self, stage: str, jobs: list[StageJob]) -> Iterator[Changed]:
        found = self._concerned(stage, jobs)
        held = self._held({each for _, _, ids in found for each in ids})
        for job, label, ids in found:
            stale = self._stale.get(job.uuid, set())
            lacking = [
                identifier
                for identifier in ids
                if (
                    replaces(job.order, held_order(held[identifier], label))
                    if identifier in held
                    else stage == "decode"
                )
            ]
            if lacking or stale:
                yield job, ids | stale
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
        for start in range(0, len(ordered), _CANDIDATES_AT_ONCE):
            part = ordered[start : start + _CANDIDATES_AT_ONCE]
            for doc in self.candidates.query({"candidate_id": {"$in": part}}, properties=HELD):
                held[doc["candidate_id"]] = doc
        return held

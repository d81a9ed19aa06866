"""The builder that makes candidates from the outputs of the jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from jobflow import JobStore
from maggma.core import Builder

from crystens_flows.builders.merge import (
    ID_FIELDS,
    STAGES,
    Contribution,
    Document,
    Order,
    StageJob,
    candidate_ids,
    contributions,
    label_of,
    merge,
)
from crystens_flows.candidates import CandidateStore

_JOBS_AT_ONCE = 200
_CANDIDATES_AT_ONCE = 500
_RELAXED = ["candidate_id", "relaxation.stand_in", "relaxation.step_uuids"]


@dataclass
class BuildSummary:
    """
    What one build did.

    Parameters
    ----------
    n_jobs
        Jobs whose outputs were read.
    n_changed
        Candidates that are new or have changed.
    n_removed
        Candidates removed: jobs run again do not make them any more.
    """

    n_jobs: int = 0
    n_changed: int = 0
    n_removed: int = 0


class CandidateBuilder(Builder):
    """
    Makes one document for each candidate from the outputs of the jobs.

    Only jobs that are not in the candidates yet are read, whenever they arrive and whatever the
    clocks of the workers say: what counts is whether each candidate names the job. A screen
    that arrives before its candidates were decoded waits in the JobStore until they are. Building
    twice changes nothing. One builder at a time: of two that run at once each may undo what the
    other wrote; the next build puts it right.

    Parameters
    ----------
    job_store
        The outputs of the jobs.
    candidates
        Where the candidates go.
    accept_stand_in
        Whether relaxations by a stand-in for VASP count, in rehearsals. Else their candidates are
        rejected, with the reason; what another builder decided is put right at the first build.
    failures
        Errors by uuid of the job, e.g. :attr:`crystens_flows.local.RunSummary.errors`; the reason
        of a candidate whose relaxation failed then ends with that of the step.
    """

    def __init__(
        self,
        job_store: JobStore,
        candidates: CandidateStore,
        accept_stand_in: bool = False,
        failures: Mapping[str, str] | None = None,
    ) -> None:
        self.job_store = job_store
        self.candidates = candidates
        self.accept_stand_in = accept_stand_in
        self.failures = dict(failures or {})
        self._settled = False
        self._complete: set[str] = set()
        self._orders: dict[str, Order] = {}
        self.summary = BuildSummary()
        self._changed: set[str] = set()
        # each item is merged into what the items before it wrote
        super().__init__(sources=[job_store], targets=[candidates.store], chunk_size=1)

    def run_incrementally(self) -> int:
        """
        Bring the candidates up to date, leaving the stores open; :attr:`summary` has the details.

        Returns
        -------
        int
            Number of candidates that changed; 0 when no job has ended since the last time.
        """
        self.connect()
        self.summary = BuildSummary()
        self._changed = set()
        for item in self.get_items():
            self.update_targets([self.process_item(item)])
        return self.summary.n_changed + self.summary.n_removed

    def get_items(self) -> Iterator[Document]:
        """
        Yield what is new, some jobs at a time, stage after stage.

        Yields
        ------
        dict
            ``existing`` candidates by identifier and the ``news`` about them.
        """
        by_stage = self._jobs()
        for stage in STAGES:
            jobs = iter(by_stage.get(stage, ()))
            while group := list(islice(jobs, _JOBS_AT_ONCE)):
                yield from self._items_of(self._missing(stage, group))
        if not self._settled:
            yield from self._concluded_otherwise()
            self._settled = True

    def process_item(self, item: Document) -> Document:
        """
        Merge what is new into the candidates.

        Parameters
        ----------
        item
            From :meth:`get_items`.

        Returns
        -------
        dict
            The documents to ``write`` and the identifiers to ``remove``.
        """
        news: dict[str, list[Contribution]] = {each: [] for each in item["existing"]}
        for contribution in item["news"]:
            news.setdefault(contribution.candidate_id, []).append(contribution)
        write, remove = [], []
        for identifier, parts in news.items():
            existing = item["existing"].get(identifier)
            doc = merge(
                existing,
                parts,
                self._orders,
                self.failures,
                accept_stand_in=self.accept_stand_in,
            )
            if doc is None:
                remove += [identifier] if existing is not None else []
            elif doc != existing:
                write.append({**doc, "last_updated": datetime.now(tz=UTC)})
        return {"write": write, "remove": remove, "n_jobs": item["n_jobs"]}

    def update_targets(self, items: list[Document]) -> None:
        """
        Write candidates.

        Parameters
        ----------
        items
            From :meth:`process_item`.
        """
        for item in items:
            if item["write"]:
                self.candidates.store.update(item["write"])
            if item["remove"]:
                self.candidates.store.remove_docs({"candidate_id": {"$in": item["remove"]}})
            self.summary.n_jobs += item["n_jobs"]
            self._changed.update(doc["candidate_id"] for doc in item["write"])
            self.summary.n_changed = len(self._changed)
            self.summary.n_removed += len(item["remove"])

    def _jobs(self) -> dict[str, list[StageJob]]:
        """Return the jobs by stage, of each the last index only, and note their order."""
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
        self._orders = {job.key: job.order for job in latest.values()}
        by_stage: dict[str, list[StageJob]] = {}
        for job in sorted(latest.values(), key=lambda job: job.order):
            by_stage.setdefault(job.stage, []).append(job)
        return by_stage

    def _missing(self, stage: str, jobs: list[StageJob]) -> Iterator[tuple[StageJob, list[str]]]:
        """Yield the jobs that some candidate does not name yet, and all candidates they concern."""
        todo = {job.key: job for job in jobs if job.key not in self._complete}
        if not todo:
            return
        for doc in self.job_store.query(
            {"uuid": {"$in": [job.uuid for job in todo.values()]}},
            properties=["uuid", "index", *ID_FIELDS],
        ):
            job = todo.get(f"{doc['uuid']}:{doc['index']}")
            if job is None:
                continue
            ids = candidate_ids(stage, doc["output"])
            label = label_of(stage, doc["output"])
            held = self._held_jobs(ids, label)
            outdated = self._outdated(job, label, ids)
            behind = [
                identifier
                for identifier in ids
                if (identifier in held or stage == "decode")
                and self._orders.get(held.get(identifier, ""), ("", "", 0)) < job.order
            ]
            if behind or outdated:
                yield job, [*ids, *outdated]
            elif all(identifier in held for identifier in ids):
                self._complete.add(job.key)

    def _held_jobs(self, ids: list[str], label: str) -> dict[str, str]:
        """Return which job of this name each candidate that exists has, '' for none."""
        found = {}
        for part in _parts(ids):
            for doc in self.candidates.store.query(
                {"candidate_id": {"$in": part}}, properties=["candidate_id", f"jobs.{label}"]
            ):
                found[doc["candidate_id"]] = doc.get("jobs", {}).get(label, "")
        return found

    def _outdated(self, job: StageJob, label: str, ids: list[str]) -> list[str]:
        """Return the candidates that an earlier run of the job concerned and this one does not."""
        if job.index == 1:
            return []
        earlier = [f"{job.uuid}:{index}" for index in range(1, job.index)]
        found = self.candidates.store.query(
            {f"jobs.{label}": {"$in": earlier}}, properties=["candidate_id"]
        )
        return [doc["candidate_id"] for doc in found if doc["candidate_id"] not in set(ids)]

    def _items_of(self, jobs: Iterable[tuple[StageJob, list[str]]]) -> Iterator[Document]:
        group: list[tuple[StageJob, list[str]]] = []
        size = 0
        for job, ids in jobs:
            group.append((job, ids))
            size += len(ids)
            if size >= _CANDIDATES_AT_ONCE:
                yield self._item(group)
                group, size = [], 0
        if group:
            yield self._item(group)

    def _item(self, group: list[tuple[StageJob, list[str]]]) -> Document:
        jobs = {job.key: (job, set(ids)) for job, ids in group}
        news: list[Contribution] = []
        for doc in self.job_store.query(
            {"uuid": {"$in": [job.uuid for job, _ in group]}},
            properties=["uuid", "index", "output"],
            load=False,
        ):
            key = f"{doc['uuid']}:{doc['index']}"
            if key not in jobs:
                continue
            job, concerned = jobs[key]
            said = list(contributions(job, doc["output"]))
            label = label_of(job.stage, doc["output"])
            gone = concerned - {each.candidate_id for each in said}
            said += [Contribution(each, label, key, job.order, None, {}) for each in sorted(gone)]
            news += said
        existing = self._existing({each.candidate_id for each in news})
        return {"existing": existing, "news": news, "n_jobs": len(group)}

    def _concluded_otherwise(self) -> Iterator[Document]:
        """Yield candidates that a builder with other arguments may have concluded otherwise."""
        found = []
        for doc in self.candidates.store.query({"relaxation": {"$ne": None}}, properties=_RELAXED):
            relaxation = doc["relaxation"]
            failed = self.failures.keys() & set(relaxation.get("step_uuids") or ())
            if relaxation.get("stand_in") or failed:
                found.append(doc["candidate_id"])
        for part in _parts(sorted(found)):
            yield {"existing": self._existing(part), "news": [], "n_jobs": 0}

    def _existing(self, ids: Iterable[str]) -> dict[str, Document]:
        """Return candidates as stored, by identifier."""
        existing = {}
        for part in _parts(sorted(ids)):
            for doc in self.candidates.store.query({"candidate_id": {"$in": part}}):
                doc.pop("_id", None)
                doc.pop("last_updated", None)
                existing[doc["candidate_id"]] = doc
        return existing


def _parts(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _CANDIDATES_AT_ONCE):
        yield ids[start : start + _CANDIDATES_AT_ONCE]

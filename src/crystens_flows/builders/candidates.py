"""The builder that makes candidates from the outputs of the jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from jobflow import JobStore
from maggma.core import Builder

from crystens_flows.builders.changes import CANDIDATES_AT_ONCE, Changes
from crystens_flows.builders.merge import (
    Contribution,
    Document,
    Order,
    StageJob,
    contributions,
    held_order,
    label_of,
    merge,
    replaces,
)
from crystens_flows.candidate_writes import is_version, stamped, write_unchanged
from crystens_flows.candidates import CandidateStore

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
    clocks of the workers say: what counts is whether each candidate names the job and the time
    that this run of it ended. A screen that arrives before its candidates were decoded waits in
    the JobStore until they are. Building twice changes nothing, and builders that run at once, on
    MongoDB or on the embedded store, leave what one alone would.

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
        self._changes = Changes(job_store, candidates.store)
        self.summary = BuildSummary()
        self._changed: set[str] = set()
        self._read: set[Order] = set()
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
        self.candidates.ensure_indexes()
        self.summary = BuildSummary()
        self._changed, self._read = set(), set()
        for item in self.get_items():
            self.update_targets([self.process_item(item)])
        return self.summary.n_changed + self.summary.n_removed

    def get_items(self) -> Iterator[Document]:
        """
        Yield what is new, some candidates at a time.

        Yields
        ------
        dict
            ``existing`` candidates by identifier and the ``news`` about them.
        """
        self._changes.look()
        for jobs, ids in self._changes.batches():
            yield self._item(jobs, ids)
        if not self._settled:
            concluded = self._concluded_otherwise()
            for start in range(0, len(concluded), CANDIDATES_AT_ONCE):
                yield self._item({}, concluded[start : start + CANDIDATES_AT_ONCE])
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
            The documents to ``write`` and the identifiers to ``remove``, with the item.
        """
        news: dict[str, list[Contribution]] = {each: [] for each in item["existing"]}
        for contribution in item["news"]:
            news.setdefault(contribution.candidate_id, []).append(contribution)
        write, remove = [], []
        for identifier, parts in news.items():
            existing = item["existing"].get(identifier)
            doc = merge(existing, parts, self.failures, accept_stand_in=self.accept_stand_in)
            if doc is None:
                remove += [identifier] if existing is not None else []
            elif doc != existing:
                write.append(stamped(doc, item["read"].get(identifier)))
        return {"write": write, "remove": remove, "item": item}

    def update_targets(self, items: list[Document]) -> None:
        """
        Write candidates; where another builder was faster, merge again into what it wrote.

        Parameters
        ----------
        items
            From :meth:`process_item`.
        """
        for result in items:
            item, writes = result["item"], (result["write"], result["remove"])
            while not write_unchanged(self.candidates.store, *writes, item["read"]):
                item = self._item(item["jobs"], item["ids"])
                self._changed.update(
                    doc["candidate_id"]
                    for doc in writes[0]
                    if is_version(doc, item["read"].get(doc["candidate_id"]))
                )
                result = self.process_item(item)
                writes = (result["write"], result["remove"])
            self._changed.update(doc["candidate_id"] for doc in writes[0])
            self._read.update(job.order for job in item["jobs"].values())
            self.summary.n_jobs, self.summary.n_changed = len(self._read), len(self._changed)
            self.summary.n_removed += len(writes[1])

    def _item(self, jobs: dict[str, StageJob], ids: list[str]) -> Document:
        """Read candidates, and then what jobs say of them: never older than the candidates."""
        existing, read = {}, {}
        for doc in self.candidates.store.query({"candidate_id": {"$in": ids}}):
            identifier = doc["candidate_id"]
            doc.pop("_id", None)
            read[identifier] = doc.pop("last_updated", None)
            existing[identifier] = doc
        news = list(self._news(jobs, set(ids), existing))
        return {"jobs": jobs, "ids": ids, "existing": existing, "read": read, "news": news}

    def _news(
        self, jobs: dict[str, StageJob], ids: set[str], existing: dict[str, Document]
    ) -> Iterator[Contribution]:
        if not jobs:
            return
        for doc in self.job_store.query(
            {"uuid": {"$in": [job.uuid for job in jobs.values()]}},
            properties=["uuid", "index", "completed_at", "output"],
            load=False,
        ):
            found = jobs.get(f"{doc['uuid']}:{doc['index']}")
            if found is None:
                continue
            # it may have run again since it was looked at
            job = replace(found, completed_at=doc.get("completed_at") or "")
            said = {each.candidate_id: each for each in contributions(job, doc["output"])}
            yield from (said[identifier] for identifier in said.keys() & ids)
            label = label_of(job.stage, doc["output"])
            for identifier in existing.keys() - said.keys():
                held = held_order(existing[identifier], label)
                if held is not None and held[1] == job.uuid and replaces(job.order, held):
                    yield Contribution(identifier, label, job.key, job.order, None, {})

    def _concluded_otherwise(self) -> list[str]:
        """Return candidates that a builder with other arguments may have concluded otherwise."""
        found = []
        for doc in self.candidates.store.query({"relaxation": {"$ne": None}}, properties=_RELAXED):
            relaxation = doc["relaxation"]
            failed = self.failures.keys() & set(relaxation.get("step_uuids") or ())
            if relaxation.get("stand_in") or failed:
                found.append(doc["candidate_id"])
        return sorted(found)

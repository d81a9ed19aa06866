"""Running a flow in this process, so that it goes on where it was when started again."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import traceback
from collections.abc import Callable, Collection, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import networkx as nx
from jobflow import Flow, Job, JobStore, OnMissing, Response
from jobflow.core.store import JobStore as _JobStore
from jobflow.utils.find import find_key
from monty.json import MontyEncoder

from crystens_flows.errors import CrystensError, OutputFolderError, StoreError
from crystens_flows.masking import without_password
from crystens_flows.msonable import flow_from_dict
from crystens_flows.run_folder import (
    JOBS_FOLDER,
    LOG_FILE,
    RESUMABLE,
    TEXT_LOG,
    ProgressLog,
    kept_flow,
    lock,
    logging_to,
)

_DYNAMIC = ("replace", "detour", "addition")

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


@dataclass
class RunSummary:
    """
    What became of the jobs of a run.

    Parameters
    ----------
    n_finished
        Jobs that have finished, those of earlier starts included.
    n_run
        Jobs that ran to their end in this start.
    n_skipped
        Jobs left out: their input failed, or a job stopped its children.
    failed
        The error by ``"name (uuid:index)"`` of jobs that ended with one; the whole traceback is in
        ``run.log``, and the next start tries them again.
    errors
        The same errors by uuid of the job.
    stopped
        Whether a job stopped the whole run.
    """

    n_finished: int = 0
    n_run: int = 0
    n_skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    stopped: bool = False


def run(
    flow: Flow | Job | list[Job],
    job_store: JobStore,
    folder: str | Path,
    *,
    settings: dict[str, Any] | None = None,
    retry: Collection[str] | None = None,
    progress: Progress | None = None,
) -> RunSummary:
    """
    Run a flow in this process, or go on with the one that was started in the folder.

    Each job runs in a folder of its own under ``jobs``; what it prints and logs goes to
    ``run.log``. Killed at any point and started again, finished jobs are not run again: the flow
    is kept in ``flow.json`` and what jobs made of it in ``progress.jsonl``. Failed jobs do not
    stop the others and are tried again at the next start. A job that got on without them is then
    run once more, as the next index of itself, unless it, or a job after it, has started others:
    what a selection has begun does not change because a chunk came late. A job that had nothing at
    all from those before it, as the screens of that chunk, is run once more in any case.

    Parameters
    ----------
    flow
        What to run. Where the folder holds a run, that one goes on and this is not looked at.
    job_store
        Where outputs go, the same at each start.
    folder
        The folder of this run.
    settings
        What the flow was made from, as plain types; a later start must give the same.
    retry
        Which of the jobs that failed are tried again, as ``"uuid:index"``; None for all. The others
        count as failed, with the error that they ended with.
    progress
        Called before each job and at the end with the number of jobs done, the number known so
        far, and the name of the job.

    Returns
    -------
    RunSummary
        What became of the jobs.

    Raises
    ------
    OutputFolderError
        If the folder is used by another process, for something else, or for other settings.
    StoreError
        If the store does not hold what the run has finished.
    """
    folder = Path(folder).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder), (folder / TEXT_LOG).open("a", buffering=1) as text_log:
            flow = kept_flow(flow, folder, json.loads(json.dumps(settings, cls=MontyEncoder)))
            job_store.connect()
            with ProgressLog(folder / LOG_FILE) as log:
                runner = _Runner(job_store, folder, log, text_log, progress)
                if retry is not None:
                    failed = {key for key, each in log.states.items() if each["state"] == "failed"}
                    runner.given_up = failed.difference(retry)
                runner.check_store()
                with logging_to(text_log):
                    runner.run(flow)
                runner.report("")
                return runner.summary
    except OSError as exc:
        raise OutputFolderError(
            f"output folder {folder}: {exc.strerror or exc}: make it possible to write there, "
            "or give another one"
        ) from exc


class _HoldingStore(_JobStore):
    """A JobStore that keeps the output of the job back until what it started is recorded."""

    def hold(self, job: Job) -> None:
        self._job = job
        self._held: tuple[Any, dict] | None = None

    def update(self, docs: Any, key: Any = None, save: Any = None) -> None:
        if getattr(docs, "uuid", None) == self._job.uuid:
            self._held = (docs, {"key": key, "save": save})
        else:
            super().update(docs, key=key, save=save)

    def release(self) -> None:
        if self._held is not None:
            super().update(self._held[0], **self._held[1])


class _Runner:
    def __init__(
        self,
        job_store: JobStore,
        folder: Path,
        log: ProgressLog,
        text_log: TextIO,
        progress: Progress | None,
    ) -> None:
        self.job_store = job_store
        self.folder = folder
        self.log = log
        self.text_log = text_log
        self.progress = progress
        self.summary = RunSummary()
        self.stopped_parents: set[str] = set()
        self.errored: set[str] = set()
        self.in_vain: set[str] = set()
        """Jobs that had nothing at all from those before them."""
        self.given_up: set[str] = set()
        self.run_now: set[str] = set()
        self.n_known = 0
        self.n_done = 0
        self.store = _HoldingStore(
            job_store.docs_store,
            job_store.additional_stores,  # type: ignore[has-type]
            save=job_store.save,  # type: ignore[arg-type]
            load=job_store.load,  # type: ignore[arg-type]
        )

    def check_store(self) -> None:
        """Raise if the store is not the one that the finished jobs are in."""
        finished = [key for key, record in self.log.states.items() if record["state"] == "finished"]
        for start in range(0, len(finished), 500):
            part = finished[start : start + 500]
            uuids = {"uuid": {"$in": [key.split(":")[0] for key in part]}}
            found = self.job_store.query(uuids, properties=["uuid", "index"])
            if missing := set(part) - {f"{doc['uuid']}:{doc['index']}" for doc in found}:
                raise StoreError(
                    f"this store does not hold {len(missing)} jobs that the run in {self.folder} "
                    "has finished: give the store it was started with, or another output folder"
                )

    def run(self, flow: Flow) -> None:
        """Run the jobs of a flow, and what they start, in order."""
        self.n_known += len(flow.job_uuids)
        graph = flow.graph
        for job, parents in _in_order(flow):
            if self.summary.stopped:
                return
            self.report(job.name)
            if self.stopped_parents.intersection(parents):
                self.stopped_parents.add(job.uuid)
                self.summary.n_skipped += 1
            elif (
                self.errored.intersection(parents)
                and job.config.on_missing_references == OnMissing.ERROR
            ):
                self.errored.add(job.uuid)
                self.summary.n_skipped += 1
            else:
                self._run_job(self._once_more(job, parents, graph), parents)
                continue
            self.n_done += 1

    def report(self, name: str) -> None:
        """Tell how far the run has come."""
        if self.progress is not None:
            self.progress(self.n_done, self.n_known, name)

    def _once_more(self, job: Job, parents: list[str], graph: nx.DiGraph) -> Job:
        """Return the next index of a job where a parent has finished after it, else the job."""
        never = (0, 0)
        done = self.log.finished.get(job.uuid, never)
        if done == never or all(self.log.finished.get(each, never) < done for each in parents):
            return job
        nodes = [job.uuid]
        if not self.log.states[f"{job.uuid}:{done[1]}"].get("in_vain"):
            nodes += nx.descendants(graph, job.uuid)
        indices = {uuid: graph.nodes[uuid]["job"].index for uuid in nodes}
        for key, record in self.log.states.items():
            uuid, _, index = key.rpartition(":")
            known = uuid in indices and int(index) >= indices[uuid]
            if known and any(record.get("response", {}).get(kind) for kind in _DYNAMIC):
                return job
        job = deepcopy(job)
        job.index = done[1] + 1
        return job

    def _run_job(self, job: Job, parents: list[str]) -> None:
        key, response = _key(job), self._earlier(job)
        if response is None and key in self.given_up and not self.run_now.intersection(parents):
            self._note_failure(job, self.log.states[key]["error"])
        elif response is None:
            lost = self.errored | self.in_vain
            response = self._execute(job, in_vain=bool(parents) and lost.issuperset(parents))
            self.run_now.add(job.uuid)
        self.n_done += 1
        if response is None:
            self.errored.add(job.uuid)
            return
        self.summary.n_finished += 1
        if self.log.states[key].get("in_vain"):
            self.in_vain.add(job.uuid)
        if response["stop_children"]:
            self.stopped_parents.add(job.uuid)
        if response["stop_jobflow"]:
            self.summary.stopped = True
            return
        for kind in _DYNAMIC:
            if response[kind] is not None:
                self.run(flow_from_dict(response[kind]))

    def _earlier(self, job: Job) -> dict[str, Any] | None:
        """Return the response of a job that has finished, in this or an earlier start."""
        key = _key(job)
        record = self.log.states.get(key)
        if record is None or record["state"] in ("began", "failed"):
            return None
        if record["state"] == "ran":  # killed while the output was written
            if not self._is_stored(job):
                return None
            self.log.add(key, "finished")
        return record["response"]

    def _is_stored(self, job: Job) -> bool:
        doc = self.job_store.query_one({"uuid": job.uuid, "index": job.index})
        if doc is None:
            return False
        for *path, _ in find_key(doc, "blob_uuid", include_end=True):
            blob: Any = doc
            for step in path:
                blob = blob[step]
            data = self.store.additional_stores[blob["store"]]  # type: ignore[has-type]
            if data.query_one({"blob_uuid": blob["blob_uuid"]}, ["blob_uuid"]) is None:
                return False
        return True

    def _execute(self, job: Job, *, in_vain: bool) -> dict[str, Any] | None:
        key = _key(job)
        job_folder = self.folder / JOBS_FOLDER / _folder_name(job)
        if not (job_folder / RESUMABLE).exists():
            shutil.rmtree(job_folder, ignore_errors=True)
        job_folder.mkdir(parents=True, exist_ok=True)
        if key in self.log.states:  # what an interrupted start may have left of the output
            self.job_store.remove_docs({"uuid": job.uuid, "index": job.index})
        self.log.add(key, "began")
        self.store.hold(job)
        output = (contextlib.redirect_stdout, contextlib.redirect_stderr)
        try:
            with contextlib.chdir(job_folder), output[0](self.text_log), output[1](self.text_log):
                # a copy, so that the inputs it resolves do not stay in memory with the flow
                response = deepcopy(job).run(store=self.store, job_dir=job_folder)
            if response.stored_data is not None:
                logger.warning("stored_data of %s (%s) is not kept", job.name, key)
            kept = _kept(response)
            self.log.add(key, "ran", response=kept, in_vain=in_vain)
            self.store.release()
        except Exception as exc:  # noqa: BLE001 - whatever a job raises, the others go on
            logger.error("%s (%s) failed in %s", job.name, key, job_folder)
            self.text_log.write(without_password(traceback.format_exc()))
            kind = "" if isinstance(exc, CrystensError) else f"{type(exc).__name__}: "
            error = without_password(" ".join(f"{kind}{exc}".split()))
            self.log.add(key, "failed", error=error)
            self._note_failure(job, error)
            return None
        self.log.add(key, "finished")
        self.summary.n_run += 1
        return self.log.states[key]["response"]

    def _note_failure(self, job: Job, error: str) -> None:
        self.summary.failed[f"{job.name} ({_key(job)})"] = self.summary.errors[job.uuid] = error


def _key(job: Job) -> str:
    return f"{job.uuid}:{job.index}"


def _folder_name(job: Job) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "-", job.name or "job").strip("-")[:60]
    return f"{name}_{job.uuid}_{job.index}"


def _kept(response: Response) -> dict[str, Any]:
    flows = {kind: getattr(response, kind) for kind in _DYNAMIC}
    return {
        "stop_children": bool(response.stop_children),
        "stop_jobflow": bool(response.stop_jobflow),
        **{kind: None if each is None else each.as_dict() for kind, each in flows.items()},
    }


def _in_order(flow: Flow) -> Iterator[tuple[Job, list[str]]]:
    """Yield jobs after their parents, else as the flow lists them, with the parents' uuids."""
    graph = flow.graph
    place = {uuid: number for number, uuid in enumerate(flow.job_uuids)}
    for node in nx.lexicographical_topological_sort(graph, key=lambda uuid: place.get(uuid, -1)):
        if "job" in graph.nodes[node]:
            parents = [
                parent for parent in graph.predecessors(node) if "job" in graph.nodes[parent]
            ]
            yield graph.nodes[node]["job"], parents

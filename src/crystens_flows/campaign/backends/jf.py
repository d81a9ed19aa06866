"""Campaigns that jobflow-remote runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobflow import Flow, JobStore
from pymongo.errors import PyMongoError

from crystens_flows.campaign.backends.base import Backend, JobRecord, JobStatus, Retried, reason_of
from crystens_flows.campaign.backends.checks import (
    check_same_options,
    check_same_store,
    same_trained,
)
from crystens_flows.campaign.backends.held_jobs import free, is_held, why_held
from crystens_flows.campaign.backends.late import LATE, SUPERSEDED, LateSamples, late_flow
from crystens_flows.campaign.backends.queue_ends import end_of, killed_with_batch, why_ended
from crystens_flows.campaign.options import Part, make_flow
from crystens_flows.campaign.stages import StageRun, route, run_of, stage_of
from crystens_flows.campaign.submission import with_checkpoint
from crystens_flows.errors import CrystensError, InputError, StoreError, import_extra
from crystens_flows.masking import without_password

if TYPE_CHECKING:
    from jobflow_remote.config import Project
    from jobflow_remote.config.base import WorkerBase
    from jobflow_remote.jobs.jobcontroller import JobController

STATES = {
    **dict.fromkeys(
        ("WAITING", "READY", "CHECKED_OUT", "UPLOADED", "SUBMITTED", "BATCH_SUBMITTED"),
        JobStatus.WAITING,
    ),
    **dict.fromkeys(("RUNNING", "BATCH_RUNNING", "RUN_FINISHED", "DOWNLOADED"), JobStatus.RUNNING),
    "COMPLETED": JobStatus.FINISHED,
    "PAUSED": JobStatus.PAUSED,
    **dict.fromkeys(("FAILED", "REMOTE_ERROR", "STOPPED", "USER_STOPPED"), JobStatus.FAILED),
}
"""How far a job has come, by its state in jobflow-remote."""

_FIELDS = [
    *("db_id", "uuid", "index", "job.name", "state", "error", "remote.error"),
    *("start_time", "end_time", "worker", "run_dir", "remote.queue_err", "lock_id", "lock_time"),
]
_BATCH = re.compile(r"batch process .*uuid: ([0-9a-f-]+)")
_BEGUN = "which is not the last index"  # of a job that started others, and runs at the next
_NOT_BEGUN = ["READY", "WAITING", "PAUSED"]
_AT_ONCE = 1000


class JfBackend(Backend):
    """Hands a campaign to a project of jobflow-remote, whose runner runs it."""

    def parts(self) -> list[Part]:
        """Return what was submitted."""
        return sorted((part for part, _ in self._submitted()), key=lambda part: part.start)

    def submit(self, part: Part) -> str:
        """Submit a part to the project."""
        import_extra("jobflow_remote", "remote", "submitting to jobflow-remote")
        options = with_checkpoint(self.campaign.options())
        check_same_options(options, [kept for _, kept in self._submitted()])
        job_store = self.controller.jobstore
        check_same_store(self.campaign.store, job_store)
        with _explained():
            job_store.connect()
            trained = same_trained(options, part, job_store)
            ids = self._submit(make_flow(options, part, trained))
        return (
            f"campaign {options.campaign}: {part.n_samples} samples from index {part.start} in "
            f"{len(ids)} jobs, submitted to project {self.project.name} of "
            "jobflow-remote; `jf runner start` runs them"
        )

    def _submit(self, flow: Flow) -> list[str]:
        from jobflow_remote import submit_flow

        self.route(flow)
        default = self.campaign.default
        return submit_flow(
            flow,
            worker=default.worker,
            project=self.campaign.project,
            exec_config=default.exec_config,
        )

    def route(self, flow: Flow) -> None:
        """
        Give the jobs of a flow to the workers of their stages.

        Parameters
        ----------
        flow
            The flow; it is changed.
        """
        self._check_names()
        route(flow, self.campaign.default, self.campaign.stages, self._config)

    def _check_names(self) -> None:
        """Check that the project has what the campaign names."""
        project = self.project
        runs = [self.campaign.default, *self.campaign.stages.values()]
        for kind, known in (("worker", project.workers), ("exec_config", project.exec_config)):
            for name in (getattr(run, kind) for run in runs):
                if name is not None and name not in known:
                    raise InputError(
                        f"project {project.name} of jobflow-remote has no {kind} '{name}': known "
                        f"are {', '.join(sorted(known)) or 'none'}"
                    )
        for stage, run in self.campaign.stages.items():
            named = run_of(stage, self.campaign.default, self.campaign.stages).worker
            if run.resources and named is not None and project.workers[named].is_batch:
                raise InputError(
                    f"worker {named} runs many jobs in one of the queue, which asks for no "
                    f"resources of a stage: leave out those of '{stage}', or set them in the file "
                    f"of project {project.name}"
                )

    def jobs(self) -> Iterator[JobRecord]:
        """Yield the jobs that the project holds of the campaign."""
        query = {
            "job.metadata.campaign": self.campaign.campaign,
            f"job.metadata.{SUPERSEDED}": {"$ne": True},
        }
        with _explained():
            for found in self.controller.jobs.find(query, _FIELDS):
                yield self._record(found)

    def retry(self, jobs: Iterable[JobRecord]) -> Retried:
        """
        Run failed jobs again, and all that came after them; see :class:`Retried`.

        They, and what has not begun yet, are given to the workers, and ask the queue for what, the
        campaign names now.
        """
        from jobflow_remote.utils.db import LockedDocumentError

        keys: dict[str, None] = {}
        refused: dict[str, str] = {}
        late: list[str] = []
        jobs = list(jobs)
        with _explained():
            keys |= dict.fromkeys(
                free(self.controller, [job.key for job in jobs if is_held(job.reason)])
            )
        jobs = [job for job in jobs if not is_held(job.reason)]
        if jobs:
            self._reroute({job.key for job in jobs})
        for job in sorted(jobs, key=lambda job: (len(job.key), job.key)):  # parents come first
            if job.key in keys:
                continue
            try:
                # a training goes on from what it left in its folder
                clean = stage_of(job.name) != "train"
                changed = self.controller.rerun_job(db_id=job.key, force=True, delete_files=clean)
            except (ValueError, LockedDocumentError) as exc:
                refused[job.key] = " ".join(str(exc).split())
                if _BEGUN in refused[job.key] and job.status is JobStatus.FAILED:
                    late.append(job.key)
            else:
                keys |= dict.fromkeys(changed)
        if keys:
            self._reroute(set())  # what came after them waits now
        return Retried(list(keys), refused, self._submit_late(late, refused))

    def _submit_late(self, keys: list[str], refused: dict[str, str]) -> list[Part]:
        """Submit once more what a selection went on without; it is not refused any more."""
        if not keys:
            return []

        def siblings(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
            found = self.controller.jobs.find({"job.hosts": job["hosts"][-1]}, ["job"])
            return {each["job"]["uuid"]: each["job"] for each in found}

        with _explained():
            late = LateSamples(siblings)
            for key in keys:
                found = self.controller.jobs.find_one({"db_id": key}, ["job"])
                if found is not None and late.add(found["job"]):
                    del refused[key]
            options = with_checkpoint(self.campaign.options())
            check_same_options(options, [kept for _, kept in self._submitted()])
            for part, uuids in late.found.items():
                self._submit(late_flow(options, part, self._connected_store))
                self.controller.jobs.update_many(
                    {"uuid": {"$in": uuids}, "state": {"$ne": "COMPLETED"}},
                    {"$set": {f"job.metadata.{SUPERSEDED}": True}},
                )
        return list(late.found)

    def _connected_store(self) -> JobStore:
        self.controller.jobstore.connect()
        return self.controller.jobstore

    def pause(self) -> int:
        """Pause the jobs that wait."""
        return len(self._of_campaign(self.controller.pause_jobs, ["READY", "WAITING"]))

    def resume(self) -> int:
        """Let jobs that were paused wait again."""
        return len(self._of_campaign(self.controller.resume_jobs, ["PAUSED"]))

    @cached_property
    def controller(self) -> JobController:
        """What changes the queue of the project."""
        with _explained():
            from jobflow_remote.jobs.jobcontroller import JobController

            return JobController.from_project(self.project)

    @cached_property
    def project(self) -> Project:
        """The project: that which the campaign names, else the one that jf takes."""
        with _explained():
            from jobflow_remote.config import ConfigManager

            return ConfigManager().get_project(self.campaign.project)

    def _submitted(self) -> list[tuple[Part, dict[str, Any]]]:
        query = {"metadata.campaign": self.campaign.campaign, f"metadata.{LATE}": {"$ne": True}}
        with _explained():
            flows = [flow["metadata"] for flow in self.controller.flows.find(query, ["metadata"])]
        return [(Part(each["start"], each["n_samples"]), each["options"]) for each in flows]

    def _config(self, run: StageRun) -> dict[str, Any]:
        """Return what jobflow-remote looks for in a job."""
        values = run.model_dump(exclude_none=True, exclude={"resources"})
        workers = self.project.workers
        worker = workers[run.worker or next(iter(workers))]
        if run.resources and worker.scheduler_type != "shell" and not worker.is_batch:
            values["resources"] = _resources(worker, run)
        return values

    def _reroute(self, again: set[str]) -> None:
        """Give jobs that run again, or have not begun, what the campaign names now."""
        self._check_names()
        query = {"job.metadata.campaign": self.campaign.campaign}
        either: list[dict[str, Any]] = [
            {"state": {"$in": _NOT_BEGUN}},
            {"db_id": {"$in": sorted(again)}},
        ]
        stages: dict[str, list[str]] = {}
        with _explained():
            jobs = self.controller.jobs
            for found in jobs.find({**query, "$or": either}, ["db_id", "job.name"]):
                stages.setdefault(stage_of(found["job"]["name"]), []).append(found["db_id"])
            for stage, ids in stages.items():
                run = run_of(stage, self.campaign.default, self.campaign.stages)
                values = self._config(run)
                for first in range(0, len(ids) if values else 0, _AT_ONCE):
                    some = {"$in": ids[first : first + _AT_ONCE]}
                    # one that the runner holds begins just now
                    jobs.update_many(
                        {"db_id": some, "lock_id": None, "$or": either}, {"$set": values}
                    )

    def _record(self, found: dict[str, Any]) -> JobRecord:
        status = STATES.get(found["state"], JobStatus.RUNNING)
        reason = why_held(found)
        if reason is not None:
            status = JobStatus.FAILED
        elif status is JobStatus.FAILED:
            error = found.get("error") or (found.get("remote") or {}).get("error")
            reason = why_ended(self._queue_error(found, error or ""))
            reason = reason or reason_of(error) or f"stopped ({found['state']})"
        return JobRecord(
            key=str(found["db_id"]),
            name=found["job"]["name"],
            status=status,
            reason=reason,
            started=_time(found.get("start_time")),
            ended=_time(found.get("end_time")),
            worker=found.get("worker"),
            folder=found.get("run_dir"),
        )

    def _queue_error(self, found: dict[str, Any], error: str) -> str:
        """Return the standard error of the job of the queue: the file, or what is kept of it."""
        kept = (found.get("remote") or {}).get("queue_err") or ""
        folder = found.get("run_dir")
        worker = self.project.workers.get(found.get("worker") or "")
        if worker is not None and worker.is_local and worker.batch is not None:
            return self._batch_error(found, error, worker.batch.work_dir) or kept
        return (end_of(Path(folder) / "queue.err") if folder else "") or kept

    def _batch_error(self, found: dict[str, Any], error: str, work_dir: Path) -> str:
        """Return the standard error of the batch that a job ended with; empty for another end."""
        from jobflow_remote.remote.data import get_job_path

        named = _BATCH.search(error)
        if named:
            return end_of(Path(get_job_path(named[1], None, work_dir)) / "queue.err")
        # the job may be killed before its batch is, and be taken for one that failed by itself
        for batch in self.controller.get_batches(db_ids=found["db_id"], limit=1):
            folder = Path(get_job_path(batch.batch_uid, None, work_dir))
            text, log = end_of(folder / "queue.err"), end_of(folder / "queue.out")
            if killed_with_batch(found["uuid"], found["index"], log, text):
                return text
        return ""

    def _of_campaign(self, action: Any, states: list[str]) -> list[str]:
        from jobflow_remote.jobs.state import JobState

        with _explained():
            return action(
                metadata={"campaign": self.campaign.campaign},
                states=[JobState(state) for state in states],
                raise_on_error=False,
            )


def _resources(worker: WorkerBase, run: StageRun) -> dict[str, Any]:
    """Return what a worker asks its queue for, with what a stage asks for otherwise."""
    given = worker.resources if isinstance(worker.resources, dict) else {}
    resources = {**given, **(run.resources or {})}
    try:
        worker.get_scheduler_io().generate_header(dict(resources))
    except ValueError as exc:
        raise InputError(
            f"resources {run.resources} of worker {run.worker}: {' '.join(str(exc).split())}; "
            "correct them in the campaign file or in the project"
        ) from None
    return resources


def _time(found: datetime | None) -> datetime | None:
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)


@contextmanager
def _explained() -> Iterator[None]:
    """Say in a line what jobflow-remote says of its configuration or its database."""
    config = import_extra("jobflow_remote.config", "remote", "campaigns on jobflow-remote")
    try:
        yield
    except CrystensError:
        raise
    except PyMongoError as exc:
        first = without_password(str(exc)).split(", Timeout:")[0].split(", full error")[0]
        raise StoreError(
            f"the queue of jobflow-remote cannot be reached or used: {first}; `jf project check` "
            "says more"
        ) from None
    except (config.ConfigError, ValueError) as exc:
        text = " ".join(without_password(str(exc)).split())
        raise InputError(
            f"jobflow-remote: {text or type(exc).__name__}; name the project in the campaign file "
            "or in JFREMOTE_PROJECT, `crystens init` makes one and `jf project check` says more"
        ) from None

"""Campaigns that jobflow-remote runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jobflow import Flow
from pymongo.errors import PyMongoError

from crystens_flows.campaign.backends.base import Backend, JobRecord, JobStatus, Retried, reason_of
from crystens_flows.campaign.backends.checks import (
    check_same_options,
    check_same_store,
    same_trained,
)
from crystens_flows.campaign.options import Part, make_flow
from crystens_flows.campaign.stages import StageRun, route, stage_of
from crystens_flows.campaign.submission import with_checkpoint
from crystens_flows.errors import CrystensError, InputError, StoreError, import_extra
from crystens_flows.masking import without_password

if TYPE_CHECKING:
    from jobflow_remote.config import Project
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
    *("db_id", "job.name", "state", "error", "remote.error"),
    *("start_time", "end_time", "worker", "run_dir"),
]


class JfBackend(Backend):
    """Hands a campaign to a project of jobflow-remote, whose runner runs it."""

    def parts(self) -> list[Part]:
        """Return what was submitted."""
        return sorted((part for part, _ in self._submitted()), key=lambda part: part.start)

    def submit(self, part: Part) -> str:
        """Submit a part to the project."""
        remote = import_extra("jobflow_remote", "remote", "submitting to jobflow-remote")
        options = with_checkpoint(self.campaign.options())
        check_same_options(options, [kept for _, kept in self._submitted()])
        job_store = self.controller.jobstore
        check_same_store(self.campaign.store, job_store)
        with _explained():
            job_store.connect()
            trained = same_trained(options, part, job_store)
            flow = make_flow(options, part, trained)
            self.route(flow)
            default = self.campaign.default
            ids = remote.submit_flow(
                flow,
                worker=default.worker,
                project=self.campaign.project,
                exec_config=default.exec_config,
                resources=default.resources,
            )
        return (
            f"campaign {options.campaign}: {part.n_samples} samples from index {part.start} in "
            f"{len(ids)} jobs, submitted to project {self.project.name} of "
            "jobflow-remote; `jf runner start` runs them"
        )

    def route(self, flow: Flow) -> None:
        """
        Give the jobs of a flow to the workers of their stages.

        Parameters
        ----------
        flow
            The flow; it is changed.
        """
        project = self.project
        runs = [self.campaign.default, *self.campaign.stages.values()]
        for kind, known in (("worker", project.workers), ("exec_config", project.exec_config)):
            for name in (getattr(run, kind) for run in runs):
                if name is not None and name not in known:
                    raise InputError(
                        f"project {project.name} of jobflow-remote has no {kind} '{name}': known "
                        f"are {', '.join(sorted(known)) or 'none'}"
                    )
        route(flow, self.campaign.default, self.campaign.stages, _config)

    def jobs(self) -> Iterator[JobRecord]:
        """Yield the jobs that the project holds of the campaign."""
        query = {"job.metadata.campaign": self.campaign.campaign}
        with _explained():
            for found in self.controller.jobs.find(query, _FIELDS):
                yield _record(found)

    def retry(self, jobs: Iterable[JobRecord]) -> Retried:
        """Run failed jobs again, and all that came after them; see :class:`Retried`."""
        keys: dict[str, None] = {}
        refused: dict[str, str] = {}
        for job in sorted(jobs, key=lambda job: (len(job.key), job.key)):  # parents come first
            if job.key in keys:
                continue
            try:
                # a training goes on from what it left in its folder
                clean = stage_of(job.name) != "train"
                changed = self.controller.rerun_job(db_id=job.key, force=True, delete_files=clean)
            except ValueError as exc:
                refused[job.key] = " ".join(str(exc).split())
            else:
                keys |= dict.fromkeys(changed)
        return Retried(list(keys), refused)

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
        query = {"metadata.campaign": self.campaign.campaign}
        with _explained():
            flows = [flow["metadata"] for flow in self.controller.flows.find(query, ["metadata"])]
        return [(Part(each["start"], each["n_samples"]), each["options"]) for each in flows]

    def _of_campaign(self, action: Any, states: list[str]) -> list[str]:
        from jobflow_remote.jobs.state import JobState

        with _explained():
            return action(
                metadata={"campaign": self.campaign.campaign},
                states=[JobState(state) for state in states],
                raise_on_error=False,
            )


def _config(run: StageRun) -> dict[str, Any]:
    return run.model_dump(exclude_none=True)


def _record(found: dict[str, Any]) -> JobRecord:
    status = STATES.get(found["state"], JobStatus.RUNNING)
    error = found.get("error") or (found.get("remote") or {}).get("error")
    if status is JobStatus.FAILED and not error:
        error = f"stopped ({found['state']})"
    return JobRecord(
        key=str(found["db_id"]),
        name=found["job"]["name"],
        status=status,
        reason=reason_of(error) if status is JobStatus.FAILED else None,
        started=_time(found.get("start_time")),
        ended=_time(found.get("end_time")),
        worker=found.get("worker"),
        folder=found.get("run_dir"),
    )


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
        raise InputError(f"jobflow-remote: {text or type(exc).__name__}") from None

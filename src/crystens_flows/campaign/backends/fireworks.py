"""Campaigns that FireWorks runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobflow import Flow, JobStore
from pymongo.errors import PyMongoError

from crystens_flows.campaign.backends.base import Backend, JobRecord, JobStatus, Retried, reason_of
from crystens_flows.campaign.backends.checks import check_same_options, same_trained
from crystens_flows.campaign.backends.late import LATE, SUPERSEDED, LateSamples, late_flow
from crystens_flows.campaign.backends.lost_rockets import LOST_STATES, LostRockets
from crystens_flows.campaign.options import Part, make_flow
from crystens_flows.campaign.stages import StageRun, route, run_of, stage_of
from crystens_flows.campaign.submission import with_checkpoint
from crystens_flows.errors import InputError, StoreError, import_extra
from crystens_flows.masking import without_password

if TYPE_CHECKING:
    from fireworks import LaunchPad  # type: ignore[import-untyped]

STATES = {
    **dict.fromkeys(("WAITING", "READY", "RESERVED"), JobStatus.WAITING),
    "RUNNING": JobStatus.RUNNING,
    "COMPLETED": JobStatus.FINISHED,
    "PAUSED": JobStatus.PAUSED,
    **dict.fromkeys(("FIZZLED", "DEFUSED", "ARCHIVED"), JobStatus.FAILED),
}
"""How far a job has come, by its state in FireWorks."""

_SLURM_NAMES = {"time": "walltime", "partition": "queue"}
"""What the queue adapters of FireWorks call otherwise than SLURM does."""

Links = dict[int, list[int]]
_AT_ONCE = 1000
_LAUNCH = [
    *("launch_id", "fw_id", "time_start", "time_end", "launch_dir", "host", "state_history"),
    *("action.stored_data._exception._stacktrace", "action.detours.name"),
]


class FireworksBackend(Backend):
    """Hands a campaign to the launch pad of FireWorks, whose workers run it."""

    def parts(self) -> list[Part]:
        """Return what was submitted."""
        return sorted((part for part, _ in self._submitted()), key=lambda part: part.start)

    def submit(self, part: Part) -> str:
        """Submit a part to the launch pad; jobs write to the store of the worker that runs them."""
        import_extra("jobflow.managers.fireworks", "fireworks", "submitting to FireWorks")
        options = with_checkpoint(self.campaign.options())
        check_same_options(options, [kept for _, kept in self._submitted()])
        trained = None
        if options.train is not None and part.start:
            trained = same_trained(options, part, self._job_store())
        ids = self._submit(make_flow(options, part, trained))
        return (
            f"campaign {options.campaign}: {part.n_samples} samples from index {part.start} in "
            f"{len(ids)} jobs, submitted to the launch pad {self.launchpad.name} of FireWorks; "
            "`rlaunch rapidfire` or `qlaunch rapidfire` runs them"
        )

    def _submit(self, flow: Flow) -> dict[int, int]:
        from jobflow.managers.fireworks import flow_to_workflow

        metadata = flow.metadata
        self.route(flow)
        # without a store: it would be kept with each job, its password too
        workflow = flow_to_workflow(flow, name=flow.name, metadata=metadata)
        with _explained():
            return self.launchpad.add_wf(workflow)

    def _job_store(self) -> JobStore:
        from crystens_flows.stores import open_stores

        return open_stores(self.campaign.options().store).job_store

    def route(self, flow: Flow) -> None:
        """
        Give the jobs of a flow to the workers of the category of their stage.

        Parameters
        ----------
        flow
            The flow; it is changed.
        """
        runs = [self.campaign.default, *self.campaign.stages.values()]
        if any(run.exec_config is not None for run in runs):
            raise InputError(
                "FireWorks has no exec_config: leave it out, and set up the surroundings of jobs "
                "in pre_rocket of the queue adapter"
            )
        route(flow, self.campaign.default, self.campaign.stages, _config)

    def jobs(self) -> Iterator[JobRecord]:
        """Yield the jobs that the launch pad holds of the campaign."""
        query = {
            "spec.campaign": self.campaign.campaign,
            f"spec.{SUPERSEDED}": {"$ne": True},
        }
        fields = ["fw_id", "name", "state", "launches", "spec._category"]
        lost = LostRockets()
        with _explained():
            part: list[dict[str, Any]] = []
            for found in self.launchpad.fireworks.find(query, fields):
                part.append(found)
                if len(part) == _AT_ONCE:
                    yield from self._records(part, lost)
                    part = []
            yield from self._records(part, lost)

    def retry(self, jobs: Iterable[JobRecord]) -> Retried:
        """
        Run failed jobs again, and all that came after them; see :class:`Retried`.

        They, and what has not begun yet, are given to the workers, and ask the queue for what, the
        campaign names now.
        """
        keys: dict[str, None] = {}
        refused: dict[str, str] = {}
        known: dict[int, Links] = {}
        jobs = list(jobs)
        with _explained():
            found = {
                job.key: self._after(int(job.key), known) for job in jobs if self._has_ended(job)
            }
            if found:
                self._reroute({each for key in found for each in (int(key), *found[key])})
            # what has more that comes after it comes first
            for key, after in sorted(found.items(), key=lambda each: -len(each[1])):
                if key in keys:
                    continue
                if begun := self._has_started_others(after):
                    refused[key] = (
                        f"{begun}, which came after it, has started others, which would run twice"
                    )
                    continue
                self.launchpad.rerun_fw(int(key))
                keys |= dict.fromkeys(map(str, [key, *after]))
        late = [job.key for job in jobs if job.key in refused and job.status is JobStatus.FAILED]
        return Retried(list(keys), refused, self._submit_late(late, refused))

    def _submit_late(self, keys: list[str], refused: dict[str, str]) -> list[Part]:
        """Submit once more what a selection went on without; it is not refused any more."""
        if not keys:
            return []

        def siblings(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
            query = {"spec._tasks.job.hosts": job["hosts"][-1]}
            found = [_job(each) for each in self.launchpad.fireworks.find(query, ["spec._tasks"])]
            return {each["uuid"]: each for each in found}

        with _explained():
            late = LateSamples(siblings)
            for key in keys:
                found = self.launchpad.fireworks.find_one({"fw_id": int(key)}, ["spec._tasks"])
                if late.add(_job(found)):
                    del refused[key]
            options = with_checkpoint(self.campaign.options())
            check_same_options(options, [kept for _, kept in self._submitted()])
            for part, uuids in late.found.items():
                self._submit(late_flow(options, part, self._job_store))
                self.launchpad.fireworks.update_many(
                    {"spec._tasks.job.uuid": {"$in": uuids}, "state": {"$ne": "COMPLETED"}},
                    {"$set": {f"spec.{SUPERSEDED}": True}},
                )
        return list(late.found)

    def pause(self) -> int:
        """Pause the jobs that wait."""
        with _explained():
            waiting = [job for job in self.jobs() if job.status is JobStatus.WAITING]
            return sum(self.launchpad.pause_fw(int(job.key)) is not None for job in waiting)

    def resume(self) -> int:
        """Let jobs that were paused wait again."""
        with _explained():
            paused = [job for job in self.jobs() if job.status is JobStatus.PAUSED]
            return sum(self.launchpad.resume_fw(int(job.key)) is not None for job in paused)

    @cached_property
    def launchpad(self) -> LaunchPad:
        """The launch pad: of the file that the campaign names, else the one that lpad takes."""
        import_extra("fireworks", "fireworks", "campaigns on FireWorks")
        from fireworks import LaunchPad

        named = self.campaign.launchpad
        if named is not None and not Path(named).is_file():
            raise InputError(f"there is no LaunchPad file {named}: `crystens init` writes one")
        with _explained():
            return LaunchPad.auto_load() if named is None else LaunchPad.from_file(named)

    def _submitted(self) -> list[tuple[Part, dict[str, Any]]]:
        query = {"metadata.campaign": self.campaign.campaign, f"metadata.{LATE}": {"$ne": True}}
        with _explained():
            flows = [
                each["metadata"] for each in self.launchpad.workflows.find(query, ["metadata"])
            ]
        return [(Part(each["start"], each["n_samples"]), each["options"]) for each in flows]

    def _has_ended(self, job: JobRecord) -> bool:
        """Say whether a job is failed still: a lost one may have ended well since it was listed."""
        query = {"fw_id": int(job.key)}
        each = self.launchpad.fireworks.find_one(query, ["state", "launches"])
        if each["state"] not in LOST_STATES:
            return each["state"] != "COMPLETED" or job.status is JobStatus.FINISHED
        launch = self.launchpad.launches.find_one({"launch_id": each["launches"][-1]}, _LAUNCH)
        return LostRockets().why(each["state"], launch) is not None

    def _reroute(self, again: set[int]) -> None:
        """Give jobs that run again, or have not begun, what the campaign names now."""
        stages: dict[str, list[int]] = {}
        for job in self.jobs():
            if job.status in (JobStatus.WAITING, JobStatus.PAUSED) or int(job.key) in again:
                stages.setdefault(stage_of(job.name), []).append(int(job.key))
        for stage, ids in stages.items():
            run = run_of(stage, self.campaign.default, self.campaign.stages)
            values = {f"spec.{name}": value for name, value in _config(run).items()}
            for first in range(0, len(ids) if values else 0, _AT_ONCE):
                query = {"fw_id": {"$in": ids[first : first + _AT_ONCE]}}
                self.launchpad.fireworks.update_many(query, {"$set": values})

    def _records(self, found: list[dict[str, Any]], lost: LostRockets) -> Iterator[JobRecord]:
        last = [each["launches"][-1] for each in found if each.get("launches")]
        launches = {
            launch["launch_id"]: launch
            for launch in self.launchpad.launches.find({"launch_id": {"$in": last}}, _LAUNCH)
        }
        for each in found:
            status = STATES[each["state"]]
            launch = launches.get(each["launches"][-1], {}) if each.get("launches") else {}
            kept = (launch.get("action") or {}).get("stored_data") or {}
            error = (kept.get("_exception") or {}).get("_stacktrace")
            if why := lost.why(each["state"], launch):
                status, error = JobStatus.FAILED, why
            if status is JobStatus.FAILED and not error:
                error = f"stopped ({each['state']})"
            yield JobRecord(
                key=str(each["fw_id"]),
                name=each["name"],
                status=status,
                reason=reason_of(error) if status is JobStatus.FAILED else None,
                started=_time(launch.get("time_start")),
                ended=_time(launch.get("time_end")),
                worker=launch.get("host") or each["spec"].get("_category"),
                folder=launch.get("launch_dir"),
            )

    def _after(self, fw_id: int, known: dict[int, Links]) -> list[int]:
        """Return all jobs that come after one."""
        links = self._links(fw_id, known)
        found: dict[int, None] = {}
        ahead = list(links.get(fw_id, []))
        while ahead:
            if (each := ahead.pop()) not in found:
                found[each] = None
                ahead += links.get(each, [])
        return list(found)

    def _links(self, fw_id: int, known: dict[int, Links]) -> Links:
        """Return which jobs come after each of the workflow of a job."""
        if fw_id not in known:
            workflow = self.launchpad.workflows.find_one({"nodes": fw_id}, ["links", "nodes"])
            links = {int(parent): children for parent, children in workflow["links"].items()}
            known |= dict.fromkeys(workflow["nodes"], links)
        return known[fw_id]

    def _has_started_others(self, fw_ids: list[int]) -> str | None:
        """Return the name of a job, of some, that has started others, if there is one."""
        query = {"fw_id": {"$in": fw_ids}, "state": "COMPLETED"}
        for each in self.launchpad.fireworks.find(query, ["name", "launches"]):
            launched = {"launch_id": {"$in": each["launches"]}}
            for launch in self.launchpad.launches.find(launched, ["action.detours.name"]):
                if (launch.get("action") or {}).get("detours"):
                    return str(each["name"])
        return None


def _job(found: dict[str, Any]) -> dict[str, Any]:
    """Return the job of a firework, as jobflow keeps it."""
    return dict(found["spec"]["_tasks"][0]["job"])


def _config(run: StageRun) -> dict[str, Any]:
    resources = run.resources and {_SLURM_NAMES.get(k, k): v for k, v in run.resources.items()}
    values = {"_category": run.worker, "_queueadapter": resources}
    return {name: value for name, value in values.items() if value is not None}


def _time(found: datetime | str | None) -> datetime | None:
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)


@contextmanager
def _explained() -> Iterator[None]:
    """Say in a line what the database of the launch pad says."""
    try:
        yield
    except PyMongoError as exc:
        first = without_password(str(exc)).split(", Timeout:")[0].split(", full error")[0]
        raise StoreError(
            f"the launch pad of FireWorks cannot be reached or used: {first}; is the server "
            "running, and is the LaunchPad file right?"
        ) from None

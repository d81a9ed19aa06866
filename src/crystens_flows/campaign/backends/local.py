"""Campaigns that this process runs, in one folder."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from crystens_flows.campaign.backends.base import Backend, JobRecord, JobStatus, Retried, reason_of
from crystens_flows.campaign.options import DiscoveryOptions, Part, kept_options, parts
from crystens_flows.discovery import (
    OPTIONS_FILE,
    STORE_FOLDER,
    run_discovery,
    run_folders,
    write_options,
)
from crystens_flows.errors import CrystensError, InputError, OutputFolderError
from crystens_flows.run_folder import FLOW_FILE, LOG_FILE, is_locked, unreadable

PAUSE_FILE = "paused"
_STATES = {
    **dict.fromkeys(("ran", "finished"), JobStatus.FINISHED),
    "began": JobStatus.RUNNING,
    "failed": JobStatus.FAILED,
}
INTERRUPTED = (
    "interrupted: the process that ran it was killed or stopped; `crystens submit` goes on"
)


class _PausedError(CrystensError):
    """Raised between two jobs of a campaign that is paused."""


class LocalBackend(Backend):
    """Runs a campaign in this process; what was interrupted goes on when submitted again."""

    @property
    def folder(self) -> Path:
        """Folder of the campaign: that which is named, else one of its name here."""
        name = self.campaign.campaign
        if self.campaign.folder is None and (Path(name).name != name or name.startswith(".")):
            raise InputError(f"campaign {name!r} cannot be the name of a folder: give folder too")
        return Path(self.campaign.folder or name)

    def store(self) -> str | Path | None:
        """Return the store that is named, else that in the folder of the campaign."""
        return self._options().store or self.folder / STORE_FOLDER

    def parts(self) -> list[Part]:
        """Return what has been begun."""
        options = self._kept()
        return [] if options is None else parts(options)

    def submit(self, part: Part) -> str:
        """Run a part, and what is unfinished of those before it."""
        kept = self._kept()
        options = self._options()
        if kept is not None:
            before, now = kept_options(kept), kept_options(options)
            before["checkpoint_sha256"] = now["checkpoint_sha256"]  # of the folder, not of the file
            if kept.n_samples != options.n_samples:
                raise InputError(
                    f"campaign {options.campaign} in {self.folder} was begun with "
                    f"{kept.n_samples} samples, not {options.n_samples}: `crystens extend` adds "
                    "some"
                )
            if differing := [name for name in now if now[name] != before[name]]:
                raise InputError(
                    f"campaign {options.campaign} in {self.folder} was begun with another "
                    f"{', '.join(differing)}: give it the same, or another name"
                )
            options = kept.model_copy(update={"store": options.store})
        if part.start:
            if kept is None or part.start != parts(kept)[-1].stop:
                raise InputError(
                    f"{self.folder} holds no campaign to extend from {part.start}: "
                    "`crystens submit` begins one"
                )
            extended_by = [*kept.extended_by, part.n_samples]
            options = options.model_copy(update={"extended_by": extended_by})
            write_options(self.folder, options)
        return self._run(options)

    def jobs(self) -> Iterator[JobRecord]:
        """Yield the jobs of all parts."""
        options = self._kept()
        if options is None:
            return
        waits = JobStatus.PAUSED if self._pause_file.exists() else JobStatus.WAITING
        ended = self._ended(options)
        for folder in run_folders(self.folder, options):
            names: dict[str, str] = {}
            states: dict[str, dict[str, Any]] = {}
            file = folder / FLOW_FILE
            try:
                if file.is_file():
                    _note_names(json.loads(file.read_text())["flow"], names)
                file = folder / LOG_FILE
                for record in _records(file):
                    states[record["job"]] = {**states.get(record["job"], {}), **record}
                    _note_names(record.get("response"), names)
            except (ValueError, KeyError, TypeError, AttributeError) as exc:
                raise unreadable(file, exc) from exc
            for key in states:  # jobs that were run once more are one job
                names.setdefault(key, names.get(f"{key.rpartition(':')[0]}:1", "job"))
            interrupted = not is_locked(folder)
            for key, name in names.items():
                state = states.get(key, {})
                status = _STATES[state["state"]] if state else waits
                error = state.get("error")
                if status is JobStatus.RUNNING and interrupted:
                    status, error = JobStatus.FAILED, INTERRUPTED
                reason = reason_of(error) if status is JobStatus.FAILED else None
                yield JobRecord(key, name, status, reason, ended=ended.get(key))

    def retry(self, jobs: Iterable[JobRecord]) -> Retried:
        """Run on, with these jobs and those that come after them; others that failed stay so."""
        keys = [job.key for job in jobs]
        if keys:
            self._go_on(keys)
        return Retried(keys, {})

    def pause(self) -> int:
        """Stop before the next job."""
        if self._kept() is None:
            raise InputError(
                f"there is no campaign in {self.folder} to pause: `crystens submit` begins one"
            )
        self._pause_file.touch()
        return sum(job.status is JobStatus.PAUSED for job in self.jobs())

    def resume(self) -> int:
        """Go on where it was paused."""
        waiting = sum(job.status is JobStatus.PAUSED for job in self.jobs())
        self._pause_file.unlink(missing_ok=True)
        self._go_on()
        return waiting

    @property
    def _pause_file(self) -> Path:
        return self.folder / PAUSE_FILE

    def _options(self) -> DiscoveryOptions:
        from crystens_flows.settings import get_settings

        options = self.campaign.options()
        return options.model_copy(update={"store": options.store or get_settings().STORE})

    def _kept(self) -> DiscoveryOptions | None:
        file = self.folder / OPTIONS_FILE
        if not file.is_file():
            return None
        try:
            return DiscoveryOptions.model_validate(yaml.safe_load(file.read_text()))
        except (yaml.YAMLError, ValidationError) as exc:
            raise OutputFolderError(
                f"{file} cannot be read: give the campaign another name or folder"
            ) from exc

    def _go_on(self, retry: Collection[str] | None = None) -> None:
        kept = self._kept()
        if kept is None:
            raise InputError(
                f"there is no campaign in {self.folder} to go on with: `crystens submit` begins one"
            )
        # the folder has the store without its password
        self._run(kept.model_copy(update={"store": self._options().store}), retry)

    def _run(self, options: DiscoveryOptions, retry: Collection[str] | None = None) -> str:
        try:
            summary = run_discovery(options, self.folder, self._report, retry)
        except _PausedError:
            return f"paused: campaign {options.campaign} in {self.folder}: `crystens resume`"
        funnel = summary.funnel
        return (
            f"campaign {options.campaign} in {self.folder}: sampled {funnel['sampled']} of "
            f"{summary.n_samples}, selected {funnel['selected']}, relaxed {funnel['relaxed']}, "
            f"{len(summary.failed_jobs)} jobs failed; store: {summary.store}"
        )

    def _report(self, done: int, known: int, name: str) -> None:
        if name and self._pause_file.exists():
            raise _PausedError("paused")
        if self.progress is not None:
            self.progress(done, known, name)

    def _ended(self, options: DiscoveryOptions) -> dict[str, Any]:
        """Return when jobs ended, from where their outputs are."""
        from crystens_flows.stores import open_stores

        store = self.campaign.store or options.store or self.folder / STORE_FOLDER
        if "://" not in str(store) and not Path(store).exists():
            return {}
        stores = open_stores(store, create=False)
        try:
            return {
                f"{job['uuid']}:{job['index']}": _time(job.get("completed_at"))
                for job in stores.job_store.query(
                    {"metadata.campaign": options.campaign},
                    properties=["uuid", "index", "completed_at"],
                )
            }
        finally:
            stores.close()


def _time(found: datetime | str | None) -> datetime | None:
    """Read when a job ended, which jobflow writes in the time of the machine."""
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    return None if found is None else found.astimezone()


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what a running process has written of its progress, whole lines alone."""
    if path.is_file():
        with path.open("rb") as stream:
            yield from (json.loads(line) for line in stream if line.endswith(b"\n"))


def _note_names(found: Any, names: dict[str, str]) -> None:
    """Note the names of the jobs that stand anywhere in a flow or a response."""
    if isinstance(found, list):
        for each in found:
            _note_names(each, names)
    elif isinstance(found, dict):
        if found.get("@class") == "Job":
            names[f"{found['uuid']}:{found['index']}"] = found["name"]
        elif found.get("@class") == "Flow":
            _note_names(found["jobs"], names)
        elif "@class" not in found:
            _note_names(list(found.values()), names)

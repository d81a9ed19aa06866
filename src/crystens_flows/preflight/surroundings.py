"""What is around the calculations: folder, store, workflow managers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crystens_flows.errors import CrystensError, import_extra
from crystens_flows.masking import without_password
from crystens_flows.preflight.check import Check, missing, not_set_up, ok

LOW_DISK = 2**30
"""Bytes; with less than this a run is not begun."""

TIMEOUT = 3.0
"""Seconds that a database server has to answer."""

_EXCERPT = 160


def check_folder(folder: str | Path) -> list[Check]:
    """
    See whether files can be written to a folder, and how many.

    Parameters
    ----------
    folder
        The folder; where there is none yet, the nearest above it that exists is looked at.

    Returns
    -------
    list of Check
        One for writing, one for the space.
    """
    there = Path(folder).absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    remedy = "work in another folder, or give one with -o"
    try:
        with tempfile.TemporaryFile(dir=there):
            writable = ok("working folder", str(there))
    except OSError as exc:
        writable = missing("working folder", f"{there}: {exc.strerror or exc}", remedy)
    free = shutil.disk_usage(there).free
    found = f"{free / 2**30:.1f} GiB free"
    if free < LOW_DISK:
        return [writable, missing("disk space", found, f"make room on the disk of {there}")]
    return [writable, ok("disk space", found)]


def check_store(spec: str | None) -> Check:
    """
    See whether the stores of jobs and candidates can be opened.

    Parameters
    ----------
    spec
        As for :func:`crystens_flows.stores.open_stores`; None for the one in a run's own folder.

    Returns
    -------
    Check
        Where they are.
    """
    import pymongo

    from crystens_flows.embedded_store import EmbeddedStore
    from crystens_flows.settings import get_settings
    from crystens_flows.stores import open_stores

    try:
        text = spec or get_settings().STORE
        if text is None:
            return ok("store", "embedded, in the folder of each run")
        path = Path(text).expanduser().absolute()
        is_folder = "://" not in text and path.suffix not in (".yaml", ".yml")
        if is_folder and not path.is_file():
            outputs = EmbeddedStore("outputs", database_path=str(path))
            if not outputs.path.is_file():
                return ok("store", f"embedded, will be made in {path}")
        with pymongo.timeout(TIMEOUT):
            stores = open_stores(text, create=False)
    except CrystensError as exc:
        return missing("store", str(exc), "give another with --store or the setting STORE")
    try:
        return ok("store", f"{stores.description}, {stores.candidates.count()} candidates")
    finally:
        stores.close()


def check_managers() -> list[Check]:
    """
    See which workflow managers are set up; a run in one folder needs none.

    Returns
    -------
    list of Check
        For jobflow-remote and FireWorks.
    """
    return [*check_jobflow_remote(), *check_fireworks()]


def check_jobflow_remote() -> list[Check]:
    """
    See whether jobflow-remote has a project, whose databases answer, and workers.

    Workers on other machines are not connected to: ``jf project check`` does that.

    Returns
    -------
    list of Check
        None of them needed.
    """
    what = "jobflow-remote"
    if find_spec("jobflow_remote") is None:
        return [not_set_up(what, "not installed", "pip install 'crystens-flows[remote]'")]
    from jobflow_remote.config.base import ConfigError
    from jobflow_remote.config.manager import ConfigManager

    try:
        project = ConfigManager().get_project()
    except ConfigError as exc:
        return [not_set_up(what, _short(exc), "jf project generate NAME, and edit its file")]
    checks = [ok(f"{what} project", project.name, needed=False)]
    checks.append(_answers(f"{what} queue", project.get_queue_store))
    checks.append(_answers(f"{what} outputs", lambda: _docs_of(project.get_jobstore())))
    if not project.workers:
        checks.append(
            missing(f"{what} workers", "none", f"add one to project {project.name}", needed=False)
        )
    for name, worker in project.workers.items():
        found = f"{worker.type}, {worker.scheduler_type}, {worker.work_dir}"
        if worker.type == "local" and not _makeable(Path(worker.work_dir)):
            checks.append(
                missing(f"worker {name}", found, "give it a work_dir to write to", needed=False)
            )
        else:
            checks.append(ok(f"worker {name}", found, needed=False))
    return checks


def _docs_of(job_store: Any) -> Any:
    from crystens_flows.stores import DATA_STORE

    if job_store is None:
        raise CrystensError("the project has no jobstore")
    if DATA_STORE not in job_store.additional_stores:
        raise CrystensError(f"its jobstore has no additional store '{DATA_STORE}', for arrays")
    return job_store.docs_store


def check_fireworks() -> list[Check]:
    """
    See whether FireWorks has a launchpad, and its database answers.

    Returns
    -------
    list of Check
        None of them needed.
    """
    what = "FireWorks launchpad"
    if find_spec("fireworks") is None:
        return [not_set_up(what, "not installed", "pip install 'crystens-flows[fireworks]'")]
    config = import_extra("fireworks.fw_config", "fireworks", what)
    if not config.LAUNCHPAD_LOC:
        remedy = "lpad init, and name the file as LAUNCHPAD_LOC in ~/.fireworks/FW_config.yaml"
        return [not_set_up(what, "no my_launchpad.yaml", remedy)]

    def ping() -> None:
        launchpad = import_extra("fireworks", "fireworks", what).LaunchPad
        launchpad.from_file(config.LAUNCHPAD_LOC).connection.admin.command("ping")

    found = str(config.LAUNCHPAD_LOC)
    return [_tried(what, found, ping, "see host, port, user and password there")]


def _answers(what: str, make: Callable[[], Any]) -> Check:
    def query() -> None:
        store = make()
        store.connect()
        try:
            store.query_one()
        finally:
            store.close()

    return _tried(what, "answers", query, "see the project's file: jf project list --verbose")


def _tried(what: str, found: str, ping: Callable[[], None], remedy: str) -> Check:
    import pymongo

    try:
        with pymongo.timeout(TIMEOUT):
            ping()
    except Exception as exc:  # noqa: BLE001 - whatever a database or its settings raise
        return missing(what, f"{found}: {_short(exc)}", remedy, needed=False)
    return ok(what, found, needed=False)


def _makeable(folder: Path) -> bool:
    return not any(check.fails for check in check_folder(folder)[:1])


def _short(exc: Exception) -> str:
    text = without_password(" ".join(str(exc).split())) or type(exc).__name__
    text = text.split(", Timeout:")[0].split(" (configured timeouts")[0]
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."


def everything_around(folder: str | Path, store: str | None) -> Iterator[Check]:
    """
    Look at all of this.

    Parameters
    ----------
    folder
        The working folder.
    store
        As for :func:`check_store`.

    Yields
    ------
    Check
        For folder, store and workflow managers.
    """
    yield from check_folder(folder)
    yield check_store(store)
    yield from check_managers()

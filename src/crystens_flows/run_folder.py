"""The folder of a local run: its flow, what became of the jobs, and that one process has it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from jobflow import Flow, Job
from jobflow.core.flow import get_flow
from monty.json import MontyEncoder

from crystens_flows.errors import InputError, OutputFolderError
from crystens_flows.msonable import flow_from_dict

FLOW_FILE = "flow.json"
LOG_FILE = "progress.jsonl"
LOCK_FILE = "run.lock"
TEXT_LOG = "run.log"
JOBS_FOLDER = "jobs"
STORE_FOLDER = "store"
RESUMABLE = "resumable"
"""A job that leaves this file in its folder finds the folder as it was when it is tried again."""
_HELD: set[Path] = set()
"""Folders that this process has; to close their lock files once more would give them up."""
_OURS = {LOG_FILE, LOCK_FILE, TEXT_LOG, JOBS_FOLDER, STORE_FOLDER, f"{FLOW_FILE}.new"}


def unreadable(path: Path, exc: Exception) -> OutputFolderError:
    """
    Say that a file of a run is damaged.

    Parameters
    ----------
    path
        The file.
    exc
        What reading it raised.

    Returns
    -------
    OutputFolderError
        To be raised.
    """
    return OutputFolderError(
        f"{path} cannot be read ({exc}): it is damaged or of another version; give another "
        "output folder"
    )


class ProgressLog:
    """
    One line for each change of state of a job, on disk before anything builds on it.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.states: dict[str, dict[str, Any]] = {}
        self.finished: dict[str, tuple[int, int]] = {}
        """When each job finished last, as the number of the line, and its index then, by uuid."""
        self._n_lines = 0

    def __enter__(self) -> ProgressLog:
        self._stream = self.path.open("ab+")
        self._stream.seek(0)
        whole = 0
        for line in self._stream:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            try:
                self._note(json.loads(line))
            except (ValueError, KeyError, TypeError) as exc:
                self._stream.close()
                raise unreadable(self.path, exc) from exc
        self._stream.truncate(whole)  # a line that was being written when the process was killed
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def _note(self, record: dict[str, Any]) -> None:
        key = record["job"]
        self.states[key] = {**self.states.get(key, {}), **record}
        self._n_lines += 1
        if record["state"] == "finished":
            uuid, _, index = key.rpartition(":")
            self.finished[uuid] = (self._n_lines, int(index))

    def add(self, key: str, state: str, **more: Any) -> None:
        """
        Record that a job has come to a state.

        Parameters
        ----------
        key
            The job, ``"uuid:index"``.
        state
            ``"began"``, ``"ran"``, ``"finished"`` or ``"failed"``.
        **more
            What else to keep.
        """
        line = json.dumps({"job": key, "state": state, **more}, cls=MontyEncoder)
        self._stream.write(line.encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._note(json.loads(line))


def kept_flow(flow: Flow | Job | list[Job], folder: Path, settings: Any) -> Flow:
    """
    Return the flow that the folder holds, after putting this one there if there is none.

    Parameters
    ----------
    flow
        The flow to begin with.
    folder
        The folder of the run.
    settings
        What the flow was made from.

    Returns
    -------
    Flow
        The flow to run.

    Raises
    ------
    OutputFolderError
        If the folder is in use for something else, or was started with other settings.
    """
    path = folder / FLOW_FILE
    if not path.exists():
        others = sorted(each.name for each in folder.iterdir() if each.name not in _OURS)
        if others or (folder / LOG_FILE).exists():
            raise OutputFolderError(
                f"output folder {folder} is in use for something else (it holds "
                f"{others[0] if others else LOG_FILE}): give another one"
            )
        content = {"settings": settings, "flow": get_flow(flow).as_dict()}
        new = folder / f"{FLOW_FILE}.new"
        with new.open("w") as stream:
            json.dump(content, stream, cls=MontyEncoder)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(path)
    try:
        content = json.loads(path.read_text())
        kept, before = flow_from_dict(content["flow"]), content["settings"]
    except (ValueError, KeyError, TypeError, ImportError, AttributeError, InputError) as exc:
        raise unreadable(path, exc) from exc
    _refuse_other(folder, before or {}, settings or {})
    return kept


def _refuse_other(folder: Path, before: dict, now: dict) -> None:
    """Refuse settings other than those of before; one that is None may be new in this version."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if not names:
        return
    started = ", ".join(f"{name}={before.get(name)!r}" for name in names)
    given = ", ".join(f"{name}={now.get(name)!r}" for name in names)
    raise OutputFolderError(
        f"output folder {folder} holds a run that was started with {started}, not {given}: give "
        "the same to go on with it, or another output folder"
    )


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """
    Have the folder to this process alone.

    Parameters
    ----------
    folder
        The folder of the run.

    Raises
    ------
    OutputFolderError
        If another process has it.
    """
    with (folder / LOCK_FILE).open("w") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as exc:
            raise OutputFolderError(
                f"output folder {folder} is in use by another process: wait until it ends, or "
                "give another one"
            ) from exc
        _HELD.add(folder.resolve())
        try:
            yield
        finally:
            _HELD.discard(folder.resolve())


def is_locked(folder: Path) -> bool:
    """
    Say whether a process runs what is in a folder.

    Parameters
    ----------
    folder
        The folder of the run.
    """
    if folder.resolve() in _HELD:
        return True
    if not (folder / LOCK_FILE).exists():
        return False
    try:
        with (folder / LOCK_FILE).open("r+") as stream:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # of another process, or a folder that one may not write to
        return True
    return False


@contextlib.contextmanager
def logging_to(stream: TextIO) -> Iterator[None]:
    """
    Send the log of jobflow and of this package to the stream alone.

    Parameters
    ----------
    stream
        Where to write.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("jobflow", __package__)]
    before = [(each.level, each.propagate) for each in loggers]
    for each in loggers:
        each.addHandler(handler)
        each.setLevel(logging.INFO)
        each.propagate = False
    try:
        yield
    finally:
        for each, (level, propagate) in zip(loggers, before, strict=True):
            each.removeHandler(handler)
            each.setLevel(level)
            each.propagate = propagate

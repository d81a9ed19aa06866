"""Why a job of the queue ended before its work did, from what the queue leaves behind."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

_TAIL = 8192
_TIMEOUT = 30
# of a job alone: one of its steps may be cancelled while it goes on
_SLURM = re.compile(r"\*\*\* JOB (\S+) ON \S+ CANCELLED AT \S+(?: (DUE TO [A-Z ]+?))? \*\*\*")
_KILLED_AT = re.compile(r"\*\*\* JOB \S+ ON \S+ CANCELLED AT (\S+)")
_TOGETHER = timedelta(seconds=30)
_OTHERS = (
    (re.compile(r"walltime.*exceeded", re.I), "walltime used up"),
    (re.compile(r"oom[-_ ]kill|out of memory|exceeded job memory limit", re.I), "out of memory"),
)
_WORDS = {
    "DUE TO TIME LIMIT": "walltime used up",
    "DUE TO PREEMPTION": "preempted",
    "DUE TO NODE FAILURE": "its node failed",
}
_ERROR_FILE = re.compile(r"-(\d+)\.error$")


def why_ended(text: str | None) -> str | None:
    """
    Find out from the standard error of a job of the queue why the queue ended it.

    Parameters
    ----------
    text
        The standard error, or its end.

    Returns
    -------
    str or None
        The reason in a line; None where the queue says of none.

    Examples
    --------
    >>> why_ended("*** JOB 12 ON n3 CANCELLED AT 2026-05-04T12:00:00 DUE TO TIME LIMIT ***")
    'walltime used up: SLURM ended job 12 due to time limit'
    """
    for job, due in reversed(_SLURM.findall(text or "")):
        word = _WORDS.get(due, "cancelled in the queue")
        return f"{word}: SLURM ended job {job} {due.lower()}".rstrip()
    for line in reversed((text or "").splitlines()):
        for pattern, word in _OTHERS:
            if pattern.search(line):
                return f"{word}: {line.strip()}"
    return None


def killed_with_batch(uuid: str, index: int, log: str, error: str) -> bool:
    """
    Say whether a job was killed by the end of the job of the queue that runs several.

    Parameters
    ----------
    uuid, index
        The job.
    log
        What jobflow-remote wrote in the job of the queue.
    error
        The standard error of the job of the queue.

    Returns
    -------
    bool
        Whether both ended within half a minute, by the clock of the same machine.

    Examples
    --------
    >>> log = "2026-05-04 11:59:59,281 [INFO] ...: Completed job with id 0a-1 and index 1"
    >>> error = "*** JOB 12 ON n3 CANCELLED AT 2026-05-04T12:00:00 DUE TO TIME LIMIT ***"
    >>> killed_with_batch("0a-1", 1, log, error)
    True
    """
    job = rf"Completed job with id {re.escape(uuid)} and index {index}\b"
    ended = re.findall(rf"^(\S+ \d\d:\d\d:\d\d),\d+ .*{job}", log, re.M)
    killed = _KILLED_AT.findall(error)
    try:
        return any(
            abs(datetime.fromisoformat(killed[-1]) - datetime.fromisoformat(each)) <= _TOGETHER
            for each in ended[-1:]
            if killed
        )
    except ValueError:
        return False


def end_of(file: Path) -> str:
    """
    Read the end of a file.

    Parameters
    ----------
    file
        The file.

    Returns
    -------
    str
        Its end; empty where it cannot be read from here.
    """
    try:
        with file.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def error_file(folder: Path) -> tuple[str, Path] | None:
    """
    Find the standard error of the job of the queue that a rocket of FireWorks ran in.

    Parameters
    ----------
    folder
        Folder of the rocket; it is below that of the job if a job runs several.

    Returns
    -------
    tuple of str and pathlib.Path, or None
        The number of the job in the queue, and the file; None where there is none.
    """
    for place in (folder, folder.parent):
        try:
            found = [(int(m[1]), f) for f in place.iterdir() if (m := _ERROR_FILE.search(f.name))]
        except OSError:
            continue
        if found:
            number, file = max(found)
            return str(number), file
    return None


def jobs_in_queue() -> set[str] | None:
    """
    Ask SLURM which jobs of this user wait or run.

    Returns
    -------
    set of str or None
        Their numbers; None where SLURM is not here or does not answer.
    """
    if shutil.which("squeue") is None:
        return None
    command = ["squeue", "--noheader", "--format=%A", f"--user={getpass.getuser()}"]
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return set(asked.stdout.split()) if asked.returncode == 0 else None

"""A SLURM of the tests' own, and what it says of its jobs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "one-machine-slurm.sh"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")


class Slurm:
    """The SLURM that was started in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    def ask(self, *command: str) -> str:
        environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def shown(self, job_id: str) -> dict[str, str]:
        """Return what `scontrol` shows of a job, by name."""
        return _fields(self.ask("scontrol", "show", "job", "-o", str(job_id)))

    def ended(self) -> list[dict[str, str]]:
        """Return what SLURM has noted of the jobs that have ended, in that order."""
        log = self.folder / "jobs.txt"
        return [_fields(line) for line in log.read_text().splitlines()] if log.is_file() else []

    def end_jobs(self) -> None:
        """Cancel what still waits or runs, and wait until it has gone."""
        self.ask("scancel", "--user", self.ask("id", "-un").strip())
        until(lambda: not self.ask("squeue", "--noheader"), seconds=60)


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Slurm]:
    """Start a SLURM in a folder, and end it."""
    run = subprocess.run(
        [str(SCRIPT), "start", str(folder)], capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        pytest.fail(f"SLURM did not start: {run.stderr}", pytrace=False)
    try:
        yield Slurm(folder)
    finally:
        subprocess.run([str(SCRIPT), "stop", str(folder)], check=True, timeout=120)


def missing() -> list[str]:
    """Return the programs of SLURM that are not installed."""
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def until(true, *, seconds: float, every: float = 0.5, log: Path | None = None) -> None:
    """Wait until something is true; fail with the end of a log where it does not become so."""
    end = time.monotonic() + seconds
    while not true():
        text = log.read_text()[-4000:] if log is not None and log.is_file() else ""
        assert time.monotonic() < end, f"not within {seconds} s: {text}"
        time.sleep(every)


def _fields(line: str) -> dict[str, str]:
    return dict(each.split("=", 1) for each in line.split() if "=" in each)

"""What a machine says of itself, so that nobody has to be asked."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SCRATCH_VARIABLES = ("SCRATCH", "PSCRATCH", "WORK")
"""Where clusters say which file system is for runs; the first that names a folder counts."""

KEPT_VARIABLES = (
    "ATOMATE2_CONFIG_FILE",
    "ATOMATE2_VASP_CMD",
    "ATOMATE2_VASP_GAMMA_CMD",
    "PMG_CONFIG_FILE",
    "PMG_VASP_PSP_DIR",
)
"""Variables that jobs need; none of them is a secret."""

_SINFO = ["sinfo", "--noheader", "--format=%P|%l|%c|%G|%D"]
_TIMEOUT = 20


@dataclass(frozen=True)
class Partition:
    """
    A partition of SLURM.

    Parameters
    ----------
    name
        Its name.
    default
        Whether jobs that name none go there.
    seconds
        Longest time of a job; None for no limit.
    cores
        Cores of its smallest node.
    gpus
        Whether its nodes have GPUs that are asked for as ``gres``.
    nodes
        How many nodes it has.
    """

    name: str
    default: bool = False
    seconds: int | None = None
    cores: int = 1
    gpus: bool = False
    nodes: int = 1


@dataclass(frozen=True)
class Surroundings:
    """
    A machine that jobs are started from.

    Parameters
    ----------
    activate
        Shell command that makes this Python and its commands those of a job.
    work_folder
        Where the folders of jobs go.
    cores
        Cores that this process may use.
    host
        Name of the machine.
    slurm
        Whether jobs can be submitted to SLURM.
    partitions
        Partitions of SLURM.
    exports
        Variables that jobs need.
    """

    activate: str
    work_folder: Path
    cores: int = 1
    host: str = "localhost"
    slurm: bool = False
    partitions: tuple[Partition, ...] = ()
    exports: Mapping[str, str] = field(default_factory=dict)

    @property
    def cpu_partition(self) -> Partition | None:
        """The partition for jobs without GPU: the default one, if it has none."""
        found = sorted(self.partitions, key=lambda each: (each.gpus, not each.default))
        return found[0] if found else None

    @property
    def gpu_partition(self) -> Partition | None:
        """The partition for jobs with a GPU: one named so, or that is not for all jobs, if any."""
        found = [each for each in self.partitions if each.gpus]
        return min(
            found, key=lambda each: ("gpu" not in each.name.lower(), each.default), default=None
        )

    @property
    def commands(self) -> str:
        """Shell commands before a job."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in self.exports.items()]
        return "\n".join([self.activate, *exports])


def look_around(environ: Mapping[str, str] | None = None) -> Surroundings:
    """
    Look at the machine.

    Parameters
    ----------
    environ
        The environment; by default that of this process.

    Returns
    -------
    Surroundings
        What was found.
    """
    environ = os.environ if environ is None else environ
    slurm = all(shutil.which(name, path=environ.get("PATH")) for name in ("sbatch", "sinfo"))
    return Surroundings(
        activate=_activate(Path(sys.prefix), environ),
        work_folder=_work_folder(environ),
        cores=len(os.sched_getaffinity(0)),
        host=socket.gethostname().partition(".")[0] or "localhost",
        slurm=slurm,
        partitions=_partitions(environ) if slurm else (),
        exports={name: environ[name] for name in KEPT_VARIABLES if environ.get(name)},
    )


def read_partitions(text: str) -> tuple[Partition, ...]:
    """
    Read what ``sinfo --noheader --format='%P|%l|%c|%G|%D'`` prints.

    Parameters
    ----------
    text
        The output; a partition with nodes of several kinds has several lines.

    Returns
    -------
    tuple of Partition
        The partitions, each once.
    """
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        name, _, rest = line.strip().partition("|")
        parts = rest.split("|")
        if not name or len(parts) != 4 or not parts[3].isdigit():
            continue
        limit, cores, gres, nodes = parts
        number = re.match(r"\d+", cores)
        before = found.get(name.rstrip("*"))
        here = int(number[0]) if number else 1
        found[name.rstrip("*")] = Partition(
            name.rstrip("*"),
            default=name.endswith("*"),
            seconds=_seconds(limit),
            cores=min(here, before.cores) if before else here,
            gpus=re.search(r"\bgpu\b", gres) is not None or (before is not None and before.gpus),
            nodes=int(nodes) + (before.nodes if before else 0),
        )
    return tuple(found.values())


def _seconds(limit: str) -> int | None:
    """Read a limit: minutes, minutes:seconds, hours:minutes:seconds, with days- before."""
    days, dash, clock = limit.strip().rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts) or (dash and not days.isdigit()):
        return None
    numbers = [int(part) for part in parts]
    if dash:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0, [*numbers, 0][:2]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _partitions(environ: Mapping[str, str]) -> tuple[Partition, ...]:
    try:
        result = subprocess.run(
            _SINFO, capture_output=True, text=True, timeout=_TIMEOUT, check=False, env=dict(environ)
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return read_partitions(result.stdout) if result.returncode == 0 else ()


def _activate(prefix: Path, environ: Mapping[str, str]) -> str:
    """Return the command for a virtual environment, for conda, or for a Python of its own."""
    script = prefix / "bin" / "activate"
    if (prefix / "conda-meta").is_dir() and environ.get("CONDA_EXE"):
        base = Path(environ["CONDA_EXE"]).parent.parent
        return f"source {shlex.quote(str(base / 'bin' / 'activate'))} {shlex.quote(str(prefix))}"
    if script.is_file():
        return f"source {shlex.quote(str(script))}"
    return f"export PATH={shlex.quote(str(prefix / 'bin'))}:$PATH"


def _work_folder(environ: Mapping[str, str]) -> Path:
    for name in SCRATCH_VARIABLES:
        folder = environ.get(name)
        if folder and Path(folder).is_dir() and os.access(folder, os.W_OK):
            return Path(folder).absolute() / "crystens"
    return Path(environ.get("HOME") or Path.home()).absolute() / "crystens-jobs"

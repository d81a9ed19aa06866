"""How much of a machine a job is given."""

from __future__ import annotations

from dataclasses import dataclass

from crystens_flows.init.surroundings import Partition, Surroundings

THREADS = 4
"""Threads of a job that does not run VASP; more help screening little."""

ASKED_THREADS = "${SLURM_CPUS_PER_TASK:-1}"
"""Threads of a job of SLURM: those that it asks for, which a campaign may change."""

_CPU_SECONDS = 24 * 3600
_GPU_SECONDS = 12 * 3600


@dataclass(frozen=True)
class Shares:
    """
    What jobs may ask for, derived from the machine.

    Parameters
    ----------
    surroundings
        The machine.
    """

    surroundings: Surroundings

    @property
    def cpu(self) -> Partition:
        """Where jobs without GPU run; a partition without name where SLURM told of none."""
        found = self.surroundings.cpu_partition
        return found or Partition("", cores=self.surroundings.cores)

    @property
    def gpu(self) -> Partition:
        """Where jobs with a GPU run; where jobs without do if there is no GPU."""
        return self.surroundings.gpu_partition or self.cpu

    @property
    def threads(self) -> int:
        """Threads of a job on this machine."""
        return min(THREADS, self.surroundings.cores)

    @property
    def side_by_side(self) -> int:
        """Jobs at a time on this machine."""
        return max(1, self.surroundings.cores // self.threads)

    @property
    def cpu_seconds(self) -> int:
        """Time of a job without GPU."""
        return min(self.cpu.seconds or _CPU_SECONDS, _CPU_SECONDS)

    @property
    def gpu_seconds(self) -> int:
        """Time of a job with a GPU."""
        return min(self.gpu.seconds or _GPU_SECONDS, _GPU_SECONDS)


def clock(seconds: int) -> str:
    """
    Write a time as SLURM reads it.

    Parameters
    ----------
    seconds
        The time.

    Returns
    -------
    str
        Hours, minutes and seconds, e.g. ``"24:00:00"``.
    """
    return f"{seconds // 3600:02d}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"

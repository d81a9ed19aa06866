"""Small campaigns whose jobs SLURM runs, in surroundings that `crystens init` writes."""

from __future__ import annotations

import stat
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from campaign_managers import crystens

from crystens_flows.campaign.backends import JobStatus, find_backend
from crystens_flows.campaign.file import read_campaign
from crystens_flows.campaign.stages import STAGES, stage_of
from crystens_flows.datasets import shipped
from crystens_flows.stores import open_stores
from crystens_flows.testing import stand_in_command

SMALL = {
    "campaign": "small",
    "n_samples": 6,
    "seed": 3,
    "chunk_size": 6,
    "screening": {
        "models": ["cgcnn"],
        "known": None,
        "selection": {"n_pool": 3, "n_select": 1, "max_per_chemical_system": None},
    },
    "tune": False,
    "relaxer": {"engine": "vasp"},
}
RELAXATION = {"worker": "cpu", "resources": {"time": "00:07:00", "ntasks": 1}}
ENDED = (JobStatus.FINISHED, JobStatus.FAILED)


def write_campaign(folder: Path, **changes) -> Path:
    """Write a campaign file, the small one with what is given changed."""
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return path


def submitted(path: Path):
    """Submit a campaign; return its backend."""
    done = crystens("submit", path)
    assert done.returncode == 0, done.stderr
    return find_backend(read_campaign(path))


def initialise(backend: str, uri: str) -> None:
    """Let `crystens init` write the files where they are looked for."""
    done = crystens("init", "--backend", backend, "--store", uri)
    assert done.returncode == 0, done.stderr
    assert "SLURM: partition cpu, with GPUs gpu" in " ".join(done.stderr.split()), done.stderr


def slow_vasp(folder: Path, seconds: int) -> tuple[str, Path]:
    """Return a command that takes long until it has come to its end once, and its notes."""
    notes, script = folder / "came-to-its-end", folder / "slow-vasp"
    script.write_text(
        # the signal of the queue may end sleep before this script
        f"#!/bin/sh\n[ -e '{notes}' ] || {{ sleep {seconds} && touch '{notes}'; }} || exit 1\n"
        f"exec {stand_in_command(calls=folder / 'calls')}\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script), folder / "calls"


def all_ended(backend) -> bool:
    return all(job.status in ENDED for job in backend.jobs())


def by_stage(backend) -> Counter:
    return Counter((stage_of(job.name), job.status.value) for job in backend.jobs())


def finished_jobs(backend) -> dict[str, object]:
    """Return when each finished job ended, of the stages before the relaxations."""
    before = STAGES[: STAGES.index("relax")]
    return {
        job.key: job.ended
        for job in backend.jobs()
        if job.status is JobStatus.FINISHED and stage_of(job.name) in before
    }


def few_crystals(file: Path) -> None:
    """Write a data set of twelve small crystals."""
    dataset = shipped()
    small = np.flatnonzero(dataset.n_sites <= 6)[:12]
    replace(dataset, split={"train": small[:8], "validation": small[8:]}).save(file)


def candidates(store: str | Path) -> list[tuple[int, str]]:
    """Return index and status of the candidates of a store, after `crystens build`."""
    built = crystens("build", "--store", store, "--accept-stand-in")
    assert built.returncode == 0, built.stderr
    stores = open_stores(str(store), create=False)
    try:
        found = list(stores.candidates.query(properties=["index", "status"]))
    finally:
        stores.close()
    return sorted((each["index"], each["status"]) for each in found)


def check_candidates(store: str | Path, n_samples: int, n_relaxed: int = 1) -> None:
    """Check that each sample is a candidate, once, and that some are relaxed."""
    found = candidates(store)
    assert [index for index, _ in found] == list(range(n_samples))
    assert Counter(status for _, status in found)["relaxed"] == n_relaxed, found


def status_text(campaign: Path, *settings: str) -> str:
    done = crystens("status", campaign, *settings)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def kill(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait(timeout=60)

"""The files of FireWorks: launchpad, workers by category, what is submitted to SLURM."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from crystens_flows.init.connection import Connection
from crystens_flows.init.resources import ASKED_THREADS, Shares, clock
from crystens_flows.init.sections import Sections
from crystens_flows.init.surroundings import Surroundings

LAUNCHPAD = "my_launchpad.yaml"
JOBFLOW = "jobflow.yaml"
STORE_FILE = "store.yaml"
QUEUES = (
    ("fworker_cpu.yaml", "my_qadapter.yaml"),
    ("fworker_gpu.yaml", "qadapter_gpu.yaml"),
)
"""Which worker goes with what is submitted to SLURM."""

_GPU_THREADS = 8

_RESERVED = """\
With -r each job is submitted once and asks for what the campaign says (resources); without, jobs of
the queue take whatever waits when they start, and -m must say how many there may be at a time."""
_KEEP = """
The password of the database is in this file, for FireWorks and jobflow take it from nowhere else:
keep it readable for yourself alone (chmod 600). Workers read it where they run."""


def fireworks_files(
    folder: Path, surroundings: Surroundings, connection: Connection
) -> dict[str, Sections]:
    """
    Make the files.

    Parameters
    ----------
    folder
        Where they will be.
    surroundings
        The machine.
    connection
        The database.

    Returns
    -------
    dict
        The files by name; those for SLURM where there is SLURM.
    """
    folder = folder.absolute()
    secret = _KEEP if connection.password else ""
    files = {
        "FW_config.yaml": _section(
            "Where FireWorks finds its files; it reads this one in ~/.fireworks, in the working\n"
            "folder, or where FW_CONFIG_FILE says.",
            {
                "LAUNCHPAD_LOC": str(folder / LAUNCHPAD),
                "FWORKER_LOC": str(folder / "my_fworker.yaml"),
                **(
                    {"QUEUEADAPTER_LOC": str(folder / "my_qadapter.yaml")}
                    if surroundings.slurm
                    else {}
                ),
            },
        ),
        LAUNCHPAD: _section("The database of the workflows." + secret, _launchpad(connection)),
        "my_fworker.yaml": _section(
            "A worker that takes jobs of any category.", _fworker(surroundings.host)
        ),
        "fworker_cpu.yaml": _section(
            "A worker that takes all but jobs of the category gpu: rlaunch -w FILE.",
            _fworker(f"{surroundings.host}-cpu", query='{"spec._category": {"$ne": "gpu"}}'),
        ),
        "fworker_gpu.yaml": _section(
            "A worker that takes jobs of the category gpu alone: rlaunch -w FILE.",
            _fworker(f"{surroundings.host}-gpu", category="gpu"),
        ),
        JOBFLOW: _section(
            "What jobflow reads where a job runs: export JOBFLOW_CONFIG_FILE=THIS FILE.\n"
            "Jobs are submitted without a store, so that no password comes into their documents.",
            {"JOB_STORE": str(folder / STORE_FILE)},
        ),
        STORE_FILE: _section(
            'The outputs of the jobs: documents in "outputs", arrays in GridFS under "data".\n'
            '`crystens` takes this file as --store; candidates go to "candidates".' + secret,
            connection.job_store(secret=True),
        ),
    }
    if surroundings.slurm:
        files |= _qadapters(folder, surroundings)
    return files


def _section(about: str, values: dict[str, Any]) -> Sections:
    sections = Sections(about)
    sections.add("", values)
    return sections


def _launchpad(connection: Connection) -> dict[str, Any]:
    # not as a URI: FireWorks prints the host where it cannot connect
    spec: dict[str, Any] = {
        "host": connection.host,
        "port": connection.port,
        "name": connection.database,
    }
    if connection.user:
        spec["username"] = connection.user
        if connection.password:
            spec["password"] = connection.password
        spec["authsource"] = connection.auth_source
    return spec


def _fworker(name: str, category: str = "", query: str = "{}") -> dict[str, Any]:
    return {"name": name, "category": category, "query": query}


def _qadapters(folder: Path, surroundings: Surroundings) -> dict[str, Sections]:
    shares = Shares(surroundings)
    cpu = {"ntasks": shares.cpu.cores}
    gpu: dict[str, Any] = {"ntasks": 1, "cpus_per_task": min(_GPU_THREADS, shares.gpu.cores)}
    if shares.gpu.gpus:
        gpu["gres"] = "gpu:1"
    return {
        "my_qadapter.yaml": _section(
            "A job of the queue for each job, VASP above all:\n"
            "qlaunch -r -w fworker_cpu.yaml -q THIS FILE rapidfire.\n" + _RESERVED,
            _qadapter(folder, surroundings, "cpu", cpu),
        ),
        "qadapter_gpu.yaml": _section(
            "A job of the queue with a GPU for each job of the category gpu:\n"
            "qlaunch -r -w fworker_gpu.yaml -q THIS FILE rapidfire.\n" + _RESERVED,
            _qadapter(folder, surroundings, "gpu", gpu),
        ),
    }


def _qadapter(
    folder: Path, surroundings: Surroundings, category: str, asked: dict[str, Any]
) -> dict[str, Any]:
    shares = Shares(surroundings)
    partition = shares.gpu if category == "gpu" else shares.cpu
    seconds = shares.gpu_seconds if category == "gpu" else shares.cpu_seconds
    launchpad = shlex.quote(str(folder / LAUNCHPAD))
    fworker = shlex.quote(str(folder / f"fworker_{category}.yaml"))
    before = (
        f"{surroundings.commands}\n"
        f"export JOBFLOW_CONFIG_FILE={shlex.quote(str(folder / JOBFLOW))}\n"
        f"export OMP_NUM_THREADS={ASKED_THREADS}"
    )
    return {
        "_fw_name": "CommonAdapter",
        "_fw_q_type": "SLURM",
        "rocket_launch": f"rlaunch -l {launchpad} -w {fworker} singleshot",
        "nodes": 1,
        **asked,
        "walltime": clock(seconds),
        **({"queue": partition.name} if partition.name else {}),
        "job_name": f"crystens-{category}",
        "pre_rocket": before,
    }

"""The project of jobflow-remote: workers, the queue and the outputs."""

from __future__ import annotations

from typing import Any

from crystens_flows.init.connection import Connection
from crystens_flows.init.resources import ASKED_THREADS, THREADS, Shares, clock
from crystens_flows.init.sections import Sections
from crystens_flows.init.surroundings import Surroundings

PROJECT = "crystens"
_SUBMITTED = 50
_GPU_THREADS = 8
_OPEN_SHARE = 0.8  # a batch begins no job in the last fifth of its time
_WAIT = 300
_ONE_NODE_WAIT = 20  # a batch that waits for more jobs keeps all others waiting

_ABOUT = """\
A project of jobflow-remote, made by `crystens init --backend jf`: a file of the projects folder
(~/.jfremote, or what JFREMOTE_PROJECTS_FOLDER names). `jf project check` tries all of it.
`crystens` takes it as a store: --store FILE."""
_KEEP = """
The password of the database is in this file, for jobflow-remote takes it from nowhere else: keep
it readable for yourself alone (chmod 600). No worker needs the file or sees the database."""
_WORKERS = """\
Where jobs run; a campaign gives each stage to one of these by name.
  local  processes on this machine
  cpu    one job of the queue for each job: VASP
  gpu    one with a GPU, to train and sample
  batch  many short jobs in one job of the queue, side by side: decoding and screening"""
_SHELL = "\nThere is no SLURM here, so all of them are processes on this machine."
_NO_GPU = "\nNo partition has GPUs, so gpu is as cpu."
_QUEUE = "The states of the jobs, for the runner alone."
_OUTPUTS = (
    'The outputs of the jobs: documents in "outputs", arrays in GridFS under "data".\n'
    'Candidates go to "candidates" beside them.'
)


def project_of(surroundings: Surroundings, connection: Connection) -> Sections:
    """
    Make the file of the project.

    Parameters
    ----------
    surroundings
        The machine.
    connection
        The database.

    Returns
    -------
    Sections
        The file.
    """
    sections = Sections(_ABOUT + (_KEEP if connection.password else ""))
    sections.add("", {"name": PROJECT})
    about = _WORKERS
    if not surroundings.slurm:
        about += _SHELL
    elif surroundings.gpu_partition is None:
        about += _NO_GPU
    sections.add(about, {"workers": workers_of(surroundings)})
    sections.add(_QUEUE, {"queue": {"store": connection.store("MongoStore", "jobs", secret=True)}})
    sections.add(_OUTPUTS, {"jobstore": connection.job_store(secret=True)})
    return sections


def workers_of(surroundings: Surroundings) -> dict[str, dict[str, Any]]:
    """
    Specify the workers.

    Parameters
    ----------
    surroundings
        The machine.

    Returns
    -------
    dict
        The workers by name.
    """
    shares = Shares(surroundings)
    here = {
        name: _worker(name, surroundings, shares.threads, max_jobs=shares.side_by_side)
        for name in ("local", "cpu")
    }
    if not surroundings.slurm:
        gpu = _worker("gpu", surroundings, shares.threads, max_jobs=1)
        batch = _worker("batch", surroundings, shares.threads, max_jobs=1)
        batch["batch"] = _batch(surroundings, shares.side_by_side, shares.cpu_seconds)
        return {**here, "gpu": gpu, "batch": batch}
    cores, time = shares.cpu.cores, clock(shares.cpu_seconds)
    threads = min(_GPU_THREADS, shares.gpu.cores)
    asked = {
        "cpu": _resources(shares.cpu.name, time, ntasks=cores),
        "gpu": _resources(shares.gpu.name, clock(shares.gpu_seconds), cpus_per_task=threads),
        "batch": _resources(shares.cpu.name, time, cpus_per_task=cores),
    }
    if shares.gpu.gpus:
        asked["gpu"]["gres"] = "gpu:1"
    each: dict[str, tuple[int | str, int]] = {
        "cpu": (ASKED_THREADS, _SUBMITTED),
        "gpu": (ASKED_THREADS, _SUBMITTED),
        "batch": (min(THREADS, cores), 2),
    }
    workers = {"local": here["local"]}
    for name, (number, max_jobs) in each.items():
        workers[name] = _worker(name, surroundings, number, max_jobs=max_jobs)
        workers[name] |= {"scheduler_type": "slurm", "resources": asked[name]}
    workers["batch"]["batch"] = _batch(surroundings, max(1, cores // THREADS), shares.cpu_seconds)
    return workers


def _worker(
    name: str, surroundings: Surroundings, threads: int | str, *, max_jobs: int
) -> dict[str, Any]:
    return {
        "type": "local",
        "scheduler_type": "shell",
        "work_dir": str(surroundings.work_folder / name),
        "pre_run": f"{surroundings.commands}\nexport OMP_NUM_THREADS={threads}",
        "max_jobs": max_jobs,
    }


def _resources(partition: str, time: str, **more: Any) -> dict[str, Any]:
    named = {"partition": partition} if partition else {}
    return {**named, "nodes": 1, "ntasks": 1, **more, "time": time}


def _batch(surroundings: Surroundings, side_by_side: int, seconds: int) -> dict[str, Any]:
    one_node = surroundings.slurm and Shares(surroundings).cpu.nodes == 1
    return {
        "jobs_handle_dir": str(surroundings.work_folder / "batch-handle"),
        "work_dir": str(surroundings.work_folder / "batch-processes"),
        "parallel_jobs": side_by_side,
        "max_time": int(_OPEN_SHARE * seconds),
        "max_wait": _ONE_NODE_WAIT if one_node else _WAIT,
    }

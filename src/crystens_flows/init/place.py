"""Writing the files where they belong."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from crystens_flows.errors import InputError, MissingExtraError, OutputFolderError
from crystens_flows.init.connection import Connection
from crystens_flows.init.files import (
    STORE_FILE,
    Backend,
    ConfigFile,
    config_files,
    default_folder,
)
from crystens_flows.init.fireworks import LAUNCHPAD, QUEUES
from crystens_flows.init.jobflow_remote import PROJECT
from crystens_flows.init.queues import begin_fireworks, begin_jobflow_remote
from crystens_flows.init.surroundings import Surroundings, look_around
from crystens_flows.settings import get_settings
from crystens_flows.stores import (
    PASSWORD_VARIABLE,
    default_store,
    is_mongodb_uri,
    open_stores,
    with_password,
)

_MODE, _SECRET_MODE = 0o644, 0o600
_IN_QUEUE = 50  # jobs that qlaunch has in the queue at a time


@dataclass(frozen=True)
class Placed:
    """
    What was written.

    Parameters
    ----------
    files
        The files.
    secret
        Those with a password in them, which only their owner can read.
    replaced
        Those that were there before.
    store
        Where the stores are, without the password.
    notes
        What a person should know of what was found.
    next_steps
        Commands that go on from here.
    """

    files: list[Path]
    secret: list[Path]
    replaced: list[Path]
    store: str
    notes: list[str]
    next_steps: list[str]


def place(
    backend: Backend,
    store: str | None = None,
    folder: Path | None = None,
    *,
    force: bool = False,
    surroundings: Surroundings | None = None,
) -> Placed:
    """
    Write the files of a backend for this machine, and make the indexes of its stores.

    Parameters
    ----------
    backend
        The backend.
    store
        A ``mongodb://`` URI that names a database, or for ``local`` a folder; by default the
        setting ``STORE``.
    folder
        Where to write; by default where the programs of the backend look.
    force
        Whether to replace files that exist.
    surroundings
        The machine; by default this one.

    Returns
    -------
    Placed
        What was written.

    Raises
    ------
    InputError
        If the backend needs MongoDB and the store is something else.
    StoreError
        If the store cannot be reached.
    OutputFolderError
        If files exist and are not to be replaced, or cannot be written.
    """
    machine = surroundings or look_around()
    target = (folder or default_folder(backend)).expanduser().absolute()
    spec = store or get_settings().STORE
    connection = embedded = None
    if spec is not None and is_mongodb_uri(spec):
        connection = Connection.from_uri(with_password(spec))
    elif backend is not Backend.LOCAL:
        raise InputError(
            f"backend {backend} needs MongoDB: give --store mongodb://USER@HOST:27017/DATABASE, "
            f"with the password in the environment variable {PASSWORD_VARIABLE}"
        )
    else:
        embedded = Path(spec).expanduser().absolute() if spec else default_store().absolute()
        if embedded.is_file() or embedded.suffix in (".yaml", ".yml"):
            raise InputError(
                f"{embedded} is a store file already: give a folder or a mongodb:// URI"
            )
    files = config_files(backend, target, machine, connection, embedded)
    there = [target / file.name for file in files if (target / file.name).exists()]
    if there and not force:
        raise OutputFolderError(
            f"{', '.join(map(str, there))} exist{'s' if len(there) == 1 else ''}: give another "
            "folder with -o, or --force to replace"
        )
    existing = next(path for path in (target, *target.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise OutputFolderError(
            f"cannot write to {target}: {existing} is no folder that can be written to: give "
            "another folder with -o"
        )
    stores = open_stores(spec if connection is not None else embedded)
    stores.close()
    secret = any(file.secret for file in files)
    try:
        target.mkdir(parents=True, exist_ok=True, mode=0o700 if secret else 0o777)
        for file in files:
            _write(target / file.name, file)
    except OSError as exc:
        raise OutputFolderError(
            f"cannot write to {target}: {exc.strerror}: give another folder with -o"
        ) from exc
    return Placed(
        files=[target / file.name for file in files],
        secret=[target / file.name for file in files if file.secret],
        replaced=there,
        store=stores.description,
        notes=[*_notes(backend, machine), *_begun(backend, target)],
        next_steps=_next_steps(backend, target, machine, connection),
    )


def _write(path: Path, file: ConfigFile) -> None:
    """Write a file at once, readable for others only where it may be."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    mode = _SECRET_MODE if file.secret else _MODE
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(file.text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _notes(backend: Backend, machine: Surroundings) -> list[str]:
    if backend is Backend.LOCAL:
        return []
    notes = [f"jobs run in {machine.work_folder}"]
    if not machine.slurm:
        return [*notes, f"no SLURM here: jobs are processes on this machine, {machine.cores} cores"]
    if not machine.partitions:
        return [*notes, "SLURM: sinfo told of no partition, the default one will be used"]
    cpu, gpu = machine.cpu_partition, machine.gpu_partition
    return [
        *notes,
        f"SLURM: partition {cpu.name if cpu else '-'}, with GPUs {gpu.name if gpu else 'none'}",
    ]


def _begun(backend: Backend, folder: Path) -> list[str]:
    """Begin the queue, and say so; or say what must be installed first."""
    try:
        if backend is Backend.JF and begin_jobflow_remote(folder / f"{PROJECT}.yaml"):
            return ["made the queue of jobflow-remote"]
        if backend is Backend.FIREWORKS and begin_fireworks(folder / LAUNCHPAD):
            return ["made the collections of FireWorks"]
    except MissingExtraError as exc:
        return [f"{exc}; then run this command again with --force, which makes the queue"]
    return []


def _next_steps(
    backend: Backend, folder: Path, machine: Surroundings, connection: Connection | None
) -> list[str]:
    named = default_folder(backend).expanduser().absolute() == folder
    if backend is Backend.LOCAL:
        steps = [f"export CRYSTENS_FLOWS_STORE={_quoted(folder / STORE_FILE)}", "crystens check"]
        if connection is not None and connection.password:
            steps.insert(0, f"export {PASSWORD_VARIABLE}=...")
        return steps
    if backend is Backend.JF:
        where = [] if named else [f"export JFREMOTE_PROJECTS_FOLDER={_quoted(folder)}"]
        return [
            *where,
            f"export JFREMOTE_PROJECT={PROJECT}",
            f"export CRYSTENS_FLOWS_STORE={_quoted(folder / f'{PROJECT}.yaml')}",
            "jf project check --errors",
            "jf runner start",
        ]
    where = [] if named else [f"export FW_CONFIG_FILE={_quoted(folder / 'FW_config.yaml')}"]
    launch = ["rlaunch rapidfire"]
    if machine.slurm:
        runs = _quoted(machine.work_folder)
        launch = [
            f"mkdir -p {runs}",
            *(
                f"qlaunch -r -w {_quoted(folder / worker)} -q {_quoted(folder / adapter)} "
                f"--launch_dir {runs} rapidfire --nlaunches infinite -m {_IN_QUEUE}"
                for worker, adapter in QUEUES
            ),
        ]
    return [
        *where,
        f"export JOBFLOW_CONFIG_FILE={_quoted(folder / 'jobflow.yaml')}",
        f"export CRYSTENS_FLOWS_STORE={_quoted(folder / STORE_FILE)}",
        "lpad get_wflows",
        *launch,
    ]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))

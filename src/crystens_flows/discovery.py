"""A whole discovery run in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import BaseModel

from crystens_flows.campaign.options import DiscoveryOptions, find_trained, make_flow, parts
from crystens_flows.discovery_summary import DiscoverySummary, summarise, write_results
from crystens_flows.errors import OutputFolderError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

OPTIONS_FILE = "options.yaml"
STORE_FOLDER = "store"
RUN_FOLDER = "run"


def prepare_folder(folder: Path, options: BaseModel, command: str = "crystens discover") -> None:
    """
    Take a folder for a run: a new or empty one, or one where the same run was begun.

    Parameters
    ----------
    folder
        The folder.
    options
        The options of the run.
    command
        The command whose run it is.

    Raises
    ------
    OutputFolderError
        If it is in use for something else, or for a run with other options.
    """
    file = folder / OPTIONS_FILE
    if file.is_file():
        try:
            earlier = yaml.safe_load(file.read_text())
        except yaml.YAMLError:
            earlier = None
        wanted = options.model_dump()
        if not isinstance(earlier, dict):
            raise OutputFolderError(
                f"{file} cannot be read: give another folder (-o, or 'folder' of a campaign), or "
                f"remove {folder}"
            )
        differing = sorted(
            k for k in wanted.keys() | earlier.keys() if earlier.get(k) != wanted.get(k)
        )
        if differing:
            what = ", ".join(f"{k} {earlier.get(k)}, not {wanted.get(k)}" for k in differing)
            raise OutputFolderError(
                f"{folder} is in use by a run with {what}: give another folder (-o, or 'folder' "
                "of a campaign), or remove it"
            )
        return
    temporary = folder / f".{OPTIONS_FILE}.tmp"
    if folder.exists() and (not folder.is_dir() or any(f != temporary for f in folder.iterdir())):
        raise OutputFolderError(
            f"{folder} is in use and holds no run of '{command}': give another folder (-o, or "
            "'folder' of a campaign)"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputFolderError(
            f"cannot write to {folder}: {exc.strerror}: give another folder (-o, or 'folder' of a "
            "campaign)"
        ) from exc
    write_options(folder, options)


def write_options(folder: Path, options: BaseModel) -> None:
    """
    Keep the options of a run in its folder.

    Parameters
    ----------
    folder
        The folder.
    options
        The options.
    """
    temporary = folder / f".{OPTIONS_FILE}.tmp"
    temporary.write_text(yaml.safe_dump(options.model_dump(), sort_keys=False))
    temporary.replace(folder / OPTIONS_FILE)


def run_discovery(
    options: DiscoveryOptions,
    folder: Path,
    progress: Callable[[int, int, str], None] | None = None,
    retry: Collection[str] | None = None,
) -> DiscoverySummary:
    """
    Run a discovery flow in this process, or go on with one that was interrupted.

    Parameters
    ----------
    options
        What to do.
    folder
        Where everything goes: the store (unless the options name one), the folders of the jobs,
        the table of candidates, the relaxed structures, the summary and the report.
    progress
        Called with jobs done, jobs known and the name of the job that runs.
    retry
        Which of the jobs that failed are tried again, as :func:`crystens_flows.local.run` takes it;
        None for all.

    Returns
    -------
    DiscoverySummary
        What was made, rejected and why, selected, relaxed, and where it is.

    Raises
    ------
    OutputFolderError
        If the folder is in use for something else.
    CheckpointError
        If there is no such generator.
    CrystensError
        If the engine lacks something here: a package, the command of VASP, POTCARs.
    StoreError
        If the store cannot be opened.
    DatasetError
        If the entries of the hull cannot be read.
    """
    from crystens_flows.builders import CandidateBuilder
    from crystens_flows.generators import check_conditions, load_generator, resolve_generator
    from crystens_flows.local import run
    from crystens_flows.preflight import check_engine, require
    from crystens_flows.screening.hull import load_hull
    from crystens_flows.stores import open_stores

    # what they lack is said before anything is sampled
    require(check_engine(options.relaxer.engine, quick=True), options.relaxer.engine)
    load_hull(options.screening.hull)
    if options.train is None:
        generator = resolve_generator(options.generator)
        check_conditions(generator, options.conditions)
        sha256 = load_generator(generator).sha256
        options = options.model_copy(update={"generator": generator, "checkpoint_sha256": sha256})
    # A store that is named is opened first: where that fails, the folder stays free.
    stores = open_stores(options.store) if options.store else None
    prepare_folder(folder, options)
    stores = stores or open_stores(folder / STORE_FOLDER)
    try:
        failed: dict[str, str] = {}
        errors: dict[str, str] = {}
        for place, part in zip(run_folders(folder, options), parts(options), strict=True):
            extends = options.train is not None and part.start > 0
            trained = find_trained(stores.job_store, options) if extends else None
            flow = make_flow(options, part, trained)
            outcome = run(flow, stores.job_store, place, retry=retry, progress=progress)
            failed |= outcome.failed
            errors |= outcome.errors
        CandidateBuilder(stores.job_store, stores.candidates, failures=errors).run_incrementally()
        summary = summarise(
            stores.candidates,
            options,
            failed_jobs=failed,
            folder=str(folder),
            store=stores.description,
        )
        write_results(stores.candidates, options, summary, folder)
    finally:
        stores.close()
    return summary


def run_folders(folder: Path, options: DiscoveryOptions) -> list[Path]:
    """
    Return where the jobs of each part of a run are: the beginning, then the extensions.

    Parameters
    ----------
    folder
        Folder of the run.
    options
        Its options.
    """
    return [
        folder / (f"{RUN_FOLDER}-from-{part.start}" if part.start else RUN_FOLDER)
        for part in parts(options)
    ]

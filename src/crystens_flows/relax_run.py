"""Four successive relaxations of a person's own structures, in one folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jobflow import Flow, Job, Maker
from pydantic import Field, ValidationError
from pymatgen.core import Structure

from crystens_flows.campaign.options import RelaxerOptions
from crystens_flows.discovery import OPTIONS_FILE, RUN_FOLDER, STORE_FOLDER, prepare_folder
from crystens_flows.errors import InputError, OutputFolderError
from crystens_flows.jobs.read import candidates_from_structures, provenance_of_structures
from crystens_flows.jobs.relax_batch import BatchRelaxMaker
from crystens_flows.masking import StoreText
from crystens_flows.relax_results import RelaxInput, RelaxRun, outcomes
from crystens_flows.run_folder import LOG_FILE, ProgressLog
from crystens_flows.schemas import RelaxDocument, candidate_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from crystens_flows.stores import Stores

STRUCTURES_FILE = "structures.json"
COMMAND = "crystens relax"

STRUCTURES_A_JOB = 200
"""So many are taken as candidates in one job."""


class RelaxOptions(RelaxerOptions):
    """What a run does; kept in its folder, so that it can be continued and repeated."""

    campaign: str = Field("default", description="Name of the campaign.")
    structures_sha256: str = Field("", description="SHA-256 of the structures that were readable.")
    store: StoreText | None = Field(
        None, repr=False, description="Store; None for the one in the run's folder."
    )


def relax_flow(structures: Sequence[Structure], maker: Maker, campaign: str = "default") -> Flow:
    """
    Make a flow that takes structures as candidates and relaxes each four times.

    Parameters
    ----------
    structures
        The structures.
    maker
        A :class:`~crystens_flows.jobs.relax.QuadrupleRelaxMaker`, with jobs for each structure, or
        a :class:`~crystens_flows.jobs.relax_batch.BatchRelaxMaker`, with a job for some together.
    campaign
        Name of the campaign; it is in the metadata of all jobs.

    Returns
    -------
    Flow
        After it, :class:`crystens_flows.builders.CandidateBuilder` makes candidates of its outputs.
    """
    provenance = provenance_of_structures(structures, campaign)
    identifiers = [candidate_id(provenance, index) for index in range(len(structures))]
    jobs: list[Flow | Job] = []
    for start in range(0, len(structures), STRUCTURES_A_JOB):
        part = list(structures[start : start + STRUCTURES_A_JOB])
        jobs.append(candidates_from_structures(part, provenance, start))
    if isinstance(maker, BatchRelaxMaker):
        first = 0
        for job in maker.make_many(structures, identifiers):
            last = min(first + maker.chunk_size, len(structures)) - 1
            job.name = f"{job.name} {first} to {last}"
            jobs.append(job)
            first = last + 1
    else:
        for structure, identifier in zip(structures, identifiers, strict=True):
            jobs.append(maker.make(structure, candidate_id=identifier))
    flow = Flow(jobs, name="crystens relax structures")
    flow.update_metadata({"campaign": campaign})
    return flow


def run_relax(
    options: RelaxOptions,
    given: Sequence[RelaxInput],
    folder: Path,
    progress: Callable[[int, int, str], None] | None = None,
) -> RelaxRun:
    """
    Relax structures in this process, or go on with a run that was interrupted.

    Finished jobs are not done again; failed ones are tried again, and with them the summary of what
    they failed in.

    Parameters
    ----------
    options
        What to do; :attr:`RelaxOptions.structures_sha256` is filled in.
    given
        The structures, those that could not be read included.
    folder
        Where everything goes: the structures as they were given, the store (unless the options name
        one), the folders of the jobs.
    progress
        Called with jobs done, jobs known and the name of the job that runs.

    Returns
    -------
    RelaxRun
        What became of each structure.

    Raises
    ------
    InputError
        If there is no structure that could be read, or the engine does not have the options.
    MissingExtraError
        If a package that the engine needs is not installed.
    OutputFolderError
        If the folder is in use for something else.
    StoreError
        If the store cannot be opened.
    """
    from crystens_flows.builders import CandidateBuilder
    from crystens_flows.local import run
    from crystens_flows.stores import open_stores

    structures = [each.structure for each in given if each.structure is not None]
    if not structures:
        first = f" ({given[0].entry}: {given[0].reason})" if given else ""
        raise InputError(
            f"none of the {len(given)} structures can be relaxed{first}: give some that can be read"
        )
    provenance = provenance_of_structures(structures, options.campaign)
    options = options.model_copy(update={"structures_sha256": provenance.checkpoint_sha256})
    maker = options.maker()
    # A store that is named is opened first: where that fails, the folder stays free.
    stores = open_stores(options.store) if options.store else None
    prepare_folder(folder, options, COMMAND)
    _keep(given, folder)
    stores = stores or open_stores(folder / STORE_FOLDER)
    try:
        flow = relax_flow(structures, maker, options.campaign)
        summary = run(flow, stores.job_store, folder / RUN_FOLDER, progress=progress)
        builder = CandidateBuilder(stores.job_store, stores.candidates, failures=summary.errors)
        builder.run_incrementally()
        found = _relaxations(stores, folder / RUN_FOLDER)
        return RelaxRun(
            options.engine,
            outcomes(given, provenance, found, summary, folder / RUN_FOLDER),
            summary.failed,
            stores.description,
        )
    finally:
        stores.close()


def resume_relax(folder: Path, progress: Callable[[int, int, str], None] | None = None) -> RelaxRun:
    """
    Go on with the run of a folder.

    Parameters
    ----------
    folder
        The folder of a run that was interrupted, or in which something failed.
    progress
        As for :func:`run_relax`.

    Returns
    -------
    RelaxRun
        What became of each structure.

    Raises
    ------
    OutputFolderError
        If it holds no such run, or cannot be read.
    """
    options, given = kept_run(folder)
    return run_relax(options, given, folder, progress)


def kept_run(folder: Path) -> tuple[RelaxOptions, list[RelaxInput]]:
    """
    Read what a run was started with.

    Parameters
    ----------
    folder
        The folder of the run.

    Returns
    -------
    tuple
        The options, and the structures in the order they were given.

    Raises
    ------
    OutputFolderError
        If the folder holds no run, or not all of it.
    """
    options_file, structures_file = folder / OPTIONS_FILE, folder / STRUCTURES_FILE
    if not options_file.is_file() or not structures_file.is_file():
        raise OutputFolderError(
            f"{folder} holds no run of '{COMMAND}' to go on with: start one with its structures"
        )
    try:
        options = RelaxOptions.model_validate(yaml.safe_load(options_file.read_text()))
        given = [RelaxInput.from_dict(each) for each in json.loads(structures_file.read_text())]
    except (ValidationError, yaml.YAMLError, ValueError, KeyError, TypeError) as exc:
        raise OutputFolderError(
            f"{folder} holds no run of '{COMMAND}' that can be read "
            f"({' '.join(str(exc).split())[:100]}): give another folder with -o"
        ) from exc
    return options, given


def _keep(given: Sequence[RelaxInput], folder: Path) -> None:
    """Keep the structures, so that the run can go on without the files they came from."""
    file = folder / STRUCTURES_FILE
    if file.is_file():
        return
    temporary = folder / f".{STRUCTURES_FILE}.tmp"
    temporary.write_text(json.dumps([each.to_dict() for each in given]) + "\n")
    temporary.replace(file)


def _relaxations(stores: Stores, run_folder: Path) -> dict[str, RelaxDocument]:
    """Return the relaxation of each candidate, as the last run of its job left it."""
    with ProgressLog(run_folder / LOG_FILE) as log:
        uuids = sorted({key.split(":")[0] for key in log.states})
    found: dict[str, RelaxDocument] = {}
    for start in range(0, len(uuids), STRUCTURES_A_JOB):
        query = {"uuid": {"$in": uuids[start : start + STRUCTURES_A_JOB]}, "output.stage": "relax"}
        jobs = stores.job_store.query(query, properties=["index", "output"], load=True)
        for job in sorted(jobs, key=lambda job: int(job["index"])):
            for each in job["output"].get("relaxations", [job["output"]]):
                document = RelaxDocument.model_validate(_plain(each))
                if document.candidate_id is not None:
                    found[document.candidate_id] = document
    return found


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if not name.startswith("@")}

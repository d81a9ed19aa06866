"""A whole discovery run in one folder: the flow, the candidates, the files a person opens."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, Field

from crystens_flows.campaign.options import DiscoveryOptions, find_trained, make_flow, parts
from crystens_flows.errors import OutputFolderError
from crystens_flows.schemas import CandidateStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from crystens_flows.candidates import CandidateStore

OPTIONS_FILE = "options.yaml"
SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"
CANDIDATES_FILE = "candidates.csv"
STORE_FOLDER = "store"
RUN_FOLDER = "run"
RELAXED_FOLDER = "relaxed"
FUNNEL = ("sampled", "decoded", "screened", "unique", "selected", "relaxed")


class DiscoverySummary(BaseModel):
    """What became of the samples of one campaign."""

    campaign: str
    n_samples: int = Field(description="Samples asked for.")
    funnel: dict[str, int] = Field(
        description="Candidates that came as far as each stage: sampled, decoded, screened, "
        "unique, selected, relaxed."
    )
    rejected: dict[str, dict[str, int]] = Field(
        description="Rejected candidates by stage, then by kind of reason."
    )
    failed_jobs: dict[str, str] = Field(
        default_factory=dict, description="Error by job, where one failed."
    )
    best: list[dict[str, Any]] = Field(
        description="Relaxed candidates, in the order of their rank."
    )
    relaxations: list[dict[str, Any]] = Field(
        default_factory=list,
        description="What relaxations found and changed, those that failed too, in that order.",
    )
    folder: str
    store: str


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
                f"{file} cannot be read: give another folder with -o, or remove {folder}"
            )
        differing = sorted(
            k for k in wanted.keys() | earlier.keys() if earlier.get(k) != wanted.get(k)
        )
        if differing:
            what = ", ".join(f"{k} {earlier.get(k)}, not {wanted.get(k)}" for k in differing)
            raise OutputFolderError(
                f"{folder} is in use by a run with {what}: give another folder with -o, or "
                "remove it"
            )
        return
    temporary = folder / f".{OPTIONS_FILE}.tmp"
    if folder.exists() and (not folder.is_dir() or any(f != temporary for f in folder.iterdir())):
        raise OutputFolderError(
            f"{folder} is in use and holds no run of '{command}': give another folder with -o"
        )
    folder.mkdir(parents=True, exist_ok=True)
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
    from crystens_flows.generators import load_generator, resolve_generator
    from crystens_flows.local import run
    from crystens_flows.preflight import check_engine, require
    from crystens_flows.screening.hull import load_hull
    from crystens_flows.stores import open_stores

    # what they lack is said before anything is sampled
    require(check_engine(options.relaxer.engine, quick=True), options.relaxer.engine)
    load_hull(options.screening.hull)
    if options.train is None:
        generator = resolve_generator(options.generator)
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
            outcome = run(flow, stores.job_store, place, progress=progress)
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


def summarise(
    candidates: CandidateStore,
    options: DiscoveryOptions,
    *,
    failed_jobs: dict[str, str],
    folder: str,
    store: str,
) -> DiscoverySummary:
    """
    Count what became of the candidates of a run.

    Parameters
    ----------
    candidates
        The candidates.
    options
        The options of the run.
    failed_jobs
        Error by job.
    folder
        Folder of the run.
    store
        Where the candidates are.

    Returns
    -------
    DiscoverySummary
        The counts, with the reasons of the rejected by kind.
    """
    from crystens_flows.report.relaxations import candidate_records

    funnel = dict.fromkeys(FUNNEL, 0)
    rejected: dict[str, Counter[str]] = {}
    for document in candidates.query(
        campaign=options.campaign,
        criteria=of_run(options),
        properties=["status", "rejected_by", "reason", "selection.decision"],
    ):
        for name in came_to(document):
            funnel[name] += 1
        if document["status"] == CandidateStatus.REJECTED:
            stage = rejected.setdefault(document["rejected_by"], Counter())
            # what stands before a colon is the same for all of one kind
            stage[(document["reason"] or "unknown").split(":")[0]] += 1
    fields = [
        *("formula", "n_sites", "formation_energy_per_atom", "energy_above_hull"),
        *("energy_per_atom", "selection.rank", "tuning.values.formula", "relaxation"),
    ]
    best = [
        {
            **{key: document[key] for key in ("candidate_id", *fields[:5])},
            "formula": _formula(document),
            "rank": document["selection"]["rank"],
            "engine": document["relaxation"]["engine"],
            "energies": document["relaxation"]["energies"],
            "pressures": document["relaxation"]["pressures"],
        }
        for document in candidates.query(
            campaign=options.campaign,
            criteria=of_run(options),
            status=CandidateStatus.RELAXED,
            sort="selection.rank",
            properties=fields,
        )
    ]
    return DiscoverySummary(
        campaign=options.campaign,
        n_samples=parts(options)[-1].stop,
        funnel=funnel,
        rejected={stage: dict(reasons) for stage, reasons in sorted(rejected.items())},
        failed_jobs=failed_jobs,
        best=best,
        relaxations=candidate_records(
            candidates, campaign=options.campaign, criteria=of_run(options)
        ),
        folder=folder,
        store=store,
    )


def _formula(document: dict[str, Any]) -> str:
    """Name the composition, and that it was tuned to where an element was replaced."""
    tuned = ((document.get("tuning") or {}).get("values") or {}).get("formula")
    before = str(document["formula"])
    return before if tuned in (None, before) else f"{before} as {tuned}"


def of_run(options: DiscoveryOptions) -> dict[str, Any]:
    """Return the filter of a run's candidates, in a store that may hold those of others."""
    criteria = {"provenance.seed": options.seed, "index": {"$lt": parts(options)[-1].stop}}
    if options.train is None:  # else what is trained decides
        criteria["provenance.checkpoint_sha256"] = options.checkpoint_sha256
    return criteria


def came_to(document: dict[str, Any]) -> list[str]:
    """Return the stages of the funnel that a candidate came as far as."""
    status, rejected_by = document["status"], document.get("rejected_by")
    stages = ["sampled"]
    if rejected_by == "decode":
        return stages
    stages.append("decoded")
    if status == CandidateStatus.DECODED or rejected_by not in (None, "select", "relax"):
        return stages
    stages.append("screened")
    if rejected_by == "select":
        return stages
    stages.append("unique")
    if (document.get("selection") or {}).get("decision") == "selected":
        stages.append("selected")
    if status == CandidateStatus.RELAXED:
        stages.append("relaxed")
    return stages


def write_results(
    candidates: CandidateStore, options: DiscoveryOptions, summary: DiscoverySummary, folder: Path
) -> None:
    """
    Write what a person opens: table, relaxed structures, summary and report.

    Parameters
    ----------
    candidates
        The candidates.
    options
        The options of the run.
    summary
        What became of the samples.
    folder
        Where the files go; those of an earlier start are replaced.
    """
    from crystens_flows.candidates import export
    from crystens_flows.report import render_report

    table = candidates.to_dataframe(campaign=options.campaign, criteria=of_run(options))
    relaxed = candidates.documents(
        campaign=options.campaign, criteria=of_run(options), status=CandidateStatus.RELAXED
    )
    export(relaxed, folder / RELAXED_FOLDER, "cif")
    files = {
        CANDIDATES_FILE: table.to_csv(index=False),
        SUMMARY_FILE: json.dumps(summary.model_dump(), indent=1) + "\n",
        REPORT_FILE: render_report(options.model_dump(), summary.model_dump()),
    }
    for name, text in files.items():
        temporary = folder / f".{name}.tmp"
        temporary.write_text(text)
        temporary.replace(folder / name)

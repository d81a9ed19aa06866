"""What became of the samples of a run: counts, reasons, and the files a person opens."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from crystens_flows.campaign.options import DiscoveryOptions, parts
from crystens_flows.candidate_status import CandidateStatus

if TYPE_CHECKING:
    from crystens_flows.candidates import CandidateStore
    from crystens_flows.schemas import CandidateDocument

SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"
CANDIDATES_FILE = "candidates.csv"
RELAXED_FOLDER = "relaxed"
_FILES = {
    CANDIDATES_FILE: "all candidates, one row each",
    f"{RELAXED_FOLDER}/": "the relaxed structures as CIF",
    SUMMARY_FILE: "the numbers of this page",
    "options.yaml": "the settings, as `crystens discover` kept them",
}
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
    n_novel: int = Field(
        0, description="Of the unique ones, those that equal no known crystal they were held to."
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
    n_novel = 0
    for document in candidates.query(
        campaign=options.campaign,
        criteria=of_run(options),
        properties=["status", "rejected_by", "reason", "selection.decision", "known_as"],
    ):
        stages = came_to(document)
        for name in stages:
            funnel[name] += 1
        n_novel += "unique" in stages and document.get("known_as") is None
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
        n_novel=n_novel,
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
    from crystens_flows.report.samples import MAX_SAMPLES, compare

    table = candidates.to_dataframe(campaign=options.campaign, criteria=of_run(options))
    relaxed = candidates.documents(
        campaign=options.campaign, criteria=of_run(options), status=CandidateStatus.RELAXED
    )
    export(relaxed, folder / RELAXED_FOLDER, "cif")
    decoded = candidates.query(
        campaign=options.campaign,
        criteria={"$and": [of_run(options), {"structure": {"$ne": None}}]},
        properties=["structure"],
        limit=MAX_SAMPLES,
    )
    report = render_report(
        options.model_dump(),
        summary.model_dump(),
        _for_cards(candidates, options),
        compare(document["structure"] for document in decoded),
        _FILES,
    )
    files = {
        CANDIDATES_FILE: table.to_csv(index=False),
        SUMMARY_FILE: json.dumps(summary.model_dump(), indent=1) + "\n",
        REPORT_FILE: report,
    }
    for name, text in files.items():
        temporary = folder / f".{name}.tmp"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(folder / name)


def _for_cards(candidates: CandidateStore, options: DiscoveryOptions) -> list[CandidateDocument]:
    """Return the first of the relaxed candidates, then of those selected and not relaxed."""
    from crystens_flows.report.cards import MAX_CARDS

    relaxed, others = ({"status": {op: str(CandidateStatus.RELAXED)}} for op in ("$eq", "$ne"))
    return [
        candidate
        for kind in (relaxed, others)
        for candidate in candidates.documents(
            campaign=options.campaign,
            criteria={"$and": [of_run(options), {"selection.decision": "selected"}, kind]},
            sort="selection.rank",
            limit=MAX_CARDS,
        )
    ]

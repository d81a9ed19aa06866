"""What became of the structures of a relaxation run, and the files that say so."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pymatgen.core import Structure

from crystens_flows.msonable import structure_from_dict
from crystens_flows.relaxation import N_STEPS
from crystens_flows.report.figure13 import save_figure
from crystens_flows.report.relaxations import relaxation_record
from crystens_flows.run_folder import JOBS_FOLDER
from crystens_flows.schemas import Provenance, RelaxDocument, candidate_id

if TYPE_CHECKING:
    from crystens_flows.datasets.rows import StructureRow
    from crystens_flows.local import RunSummary

RELAXED_FOLDER = "relaxed"
TABLE_FILE = "relaxations.csv"
RECORDS_FILE = "relaxations.json"
SUMMARY_FILE = "summary.json"
FIGURE_FILE = "figure13.svg"


@dataclass(frozen=True)
class RelaxInput:
    """
    One structure that was given.

    Parameters
    ----------
    entry
        Where it stands.
    material_id
        What its source calls it.
    structure
        The structure; None where it could not be read.
    reason
        Why not.
    """

    entry: str
    material_id: str
    structure: Structure | None
    reason: str | None = None

    @classmethod
    def from_row(cls, row: StructureRow) -> Self:
        """Take a row of :func:`crystens_flows.datasets.rows.read_rows`."""
        return cls(row.entry, row.material_id, row.structure, row.reason)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """Take what :meth:`to_dict` made."""
        structure = record["structure"]
        return cls(
            str(record["entry"]),
            str(record["material_id"]),
            None if structure is None else structure_from_dict(structure),
            record["reason"],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain types."""
        return {
            "entry": self.entry,
            "material_id": self.material_id,
            "structure": None if self.structure is None else self.structure.as_dict(),
            "reason": self.reason,
        }


@dataclass
class RelaxOutcome:
    """
    What became of one structure.

    Parameters
    ----------
    given
        The structure and where it was.
    candidate_id
        Under which the store has it; None where it could not be read.
    relaxation
        What the relaxations found; None where they left nothing.
    reason
        Why it was not relaxed four times; None where it was.
    folder
        Folder of the job that failed, None where none did.
    """

    given: RelaxInput
    candidate_id: str | None = None
    relaxation: RelaxDocument | None = None
    reason: str | None = None
    folder: str | None = None

    @property
    def status(self) -> str:
        """Return "unreadable", "failed" or "relaxed"."""
        if self.given.structure is None:
            return "unreadable"
        done = self.relaxation is not None and self.relaxation.completed_steps == N_STEPS
        return "relaxed" if done else "failed"

    def record(self, index: int) -> dict[str, Any]:
        """Return it as a flat dictionary, with the place among the structures given."""
        relaxation = self.relaxation or RelaxDocument(
            candidate_id=self.candidate_id,
            energies=[None] * (N_STEPS + 1),
            pressures=[None] * N_STEPS,
            converged=[None] * N_STEPS,
            completed_steps=0,
        )
        return {
            "index": index,
            "id": self.given.material_id,
            "entry": self.given.entry,
            "status": self.status,
            **relaxation_record(relaxation, self.given.structure),
            "reason": self.reason,
            "failed_in": self.folder,
        }


@dataclass
class RelaxRun:
    """
    What became of all structures of a run.

    Parameters
    ----------
    engine
        What relaxed.
    outcomes
        One for each structure given, in order.
    failed_jobs
        Error by job.
    store
        Where the candidates are.
    """

    engine: str
    outcomes: list[RelaxOutcome]
    failed_jobs: dict[str, str]
    store: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """A flat dictionary for each structure, in order."""
        return [outcome.record(index) for index, outcome in enumerate(self.outcomes)]

    def count(self, status: str) -> int:
        """Return how many structures came to be "unreadable", "failed" or "relaxed"."""
        return sum(outcome.status == status for outcome in self.outcomes)


def outcomes(
    given: Sequence[RelaxInput],
    provenance: Provenance,
    found: dict[str, RelaxDocument],
    summary: RunSummary,
    run_folder: Path,
) -> list[RelaxOutcome]:
    """
    Say what became of each structure.

    Parameters
    ----------
    given
        The structures.
    provenance
        Of those that could be read.
    found
        The relaxation of each candidate.
    summary
        What became of the jobs.
    run_folder
        Folder of the jobs.

    Returns
    -------
    list of RelaxOutcome
        In the order of the structures.
    """
    told = []
    n_candidates = 0
    for each in given:
        if each.structure is None:
            told.append(RelaxOutcome(each, reason=each.reason))
            continue
        outcome = RelaxOutcome(each, candidate_id(provenance, n_candidates))
        job = None
        if outcome.candidate_id in found:
            outcome.relaxation = found[outcome.candidate_id]
            outcome.reason = outcome.relaxation.reason
            job = next(
                (uuid for uuid in outcome.relaxation.step_uuids if uuid in summary.errors), None
            )
        else:
            outcome.reason = "relaxation failed"
            job = _failed_batch(n_candidates, summary)
        if job is not None:
            outcome.reason = f"{outcome.reason}: {summary.errors[job]}"
            folders = (run_folder / JOBS_FOLDER).glob(f"*_{job}_*")
            outcome.folder = next((str(folder) for folder in folders), None)
        told.append(outcome)
        n_candidates += 1
    return told


def _failed_batch(index: int, summary: RunSummary) -> str | None:
    """Return the job that relaxed this structure with others, by the range in its name."""
    for name in summary.failed:
        match = re.search(r" (\d+) to (\d+) \(([^:]+):\d+\)$", name)
        if match and int(match[1]) <= index <= int(match[2]):
            return match[3]
    return None


def write_results(run: RelaxRun, folder: Path) -> dict[str, Any]:
    """
    Write what a person opens: structures, tables, summary and figure.

    Parameters
    ----------
    run
        What became of the structures.
    folder
        Where the files go; those of an earlier start are replaced.

    Returns
    -------
    dict
        The summary.
    """
    records = run.records
    _write_structures(run, folder / RELAXED_FOLDER)
    summary = {
        "engine": run.engine,
        "n_structures": len(records),
        **{f"n_{status}": run.count(status) for status in ("relaxed", "failed", "unreadable")},
        "stand_in": any(record["stand_in"] for record in records),
        "not_relaxed": [
            {key: record[key] for key in ("index", "entry", "status", "reason", "failed_in")}
            for record in records
            if record["status"] != "relaxed"
        ],
        "failed_jobs": run.failed_jobs,
        "store": run.store,
    }
    with_steps = [
        {**record, **_particulars(outcome.relaxation)}
        for record, outcome in zip(records, run.outcomes, strict=True)
    ]
    _replace(folder / TABLE_FILE, _csv(records))
    _replace(folder / RECORDS_FILE, json.dumps(with_steps, indent=1, allow_nan=False) + "\n")
    _replace(folder / SUMMARY_FILE, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    if any(record["E0"] is not None for record in records):
        save_figure(records, folder / FIGURE_FILE)
    return summary


def _write_structures(run: RelaxRun, folder: Path) -> None:
    for index, outcome in enumerate(run.outcomes):
        structure = outcome.relaxation.structure if outcome.relaxation else None
        if outcome.status == "relaxed" and structure is not None:
            folder.mkdir(exist_ok=True)
            name = re.sub(r"[^A-Za-z0-9._-]+", "_", outcome.given.material_id)
            _replace(folder / f"{index:04d}-{name}.cif", structure.to(fmt="cif"))


def _particulars(relaxation: RelaxDocument | None) -> dict[str, Any]:
    if relaxation is None:
        return {"steps": [], "method": {}}
    return relaxation.model_dump(
        mode="json", include={"steps", "method", "energies_zero_sigma", "stress", "versions"}
    )


def _csv(records: list[dict[str, Any]]) -> str:
    buffer = StringIO()
    writer = csv.DictWriter(buffer, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def _replace(file: Path, text: str) -> None:
    temporary = file.with_name(f".{file.name}.tmp")
    temporary.write_text(text)
    temporary.replace(file)

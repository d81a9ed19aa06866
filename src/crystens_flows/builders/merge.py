"""What the outputs of the stages say about one candidate, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pymatgen.core import Composition

from crystens_flows.builders.conclusion import concluded
from crystens_flows.schemas import CandidateDocument, CandidateStatus, Provenance, candidate_id
from crystens_flows.schemas.candidate_versions import upgraded

Document = dict[str, Any]
Order = tuple[str, str, int]


@dataclass(frozen=True)
class StageJob:
    """
    A job of one of the stages, in the JobStore.

    Parameters
    ----------
    uuid, index
        The job.
    stage
        Stage of its output.
    completed_at
        When it ended, by the clock of the worker.
    """

    uuid: str
    index: int
    stage: str
    completed_at: str

    @property
    def key(self) -> str:
        """``"uuid:index"``."""
        return f"{self.uuid}:{self.index}"

    @property
    def order(self) -> Order:
        """When it ended, and what tells apart jobs that ended at once."""
        return (self.completed_at, self.uuid, self.index)


def held_order(doc: Document, label: str) -> Order | None:
    """
    Return the order of the job that a candidate names.

    Parameters
    ----------
    doc
        The candidate; its ``jobs`` and ``completed_at`` are enough.
    label
        The stage, or the name of the screen.

    Returns
    -------
    tuple or None
        As :attr:`StageJob.order`; None where it names none.
    """
    key = (doc.get("jobs") or {}).get(label)
    if key is None:
        return None
    uuid, _, index = key.rpartition(":")
    return ((doc.get("completed_at") or {}).get(label, ""), uuid, int(index))


def replaces(new: Order, held: Order | None) -> bool:
    """
    Return whether what a job says stands in place of what a candidate holds.

    Of two jobs the later one counts. Of one job that ran again the last run does, whatever clock
    its worker had: a rerun has a higher index, or takes the place of the former in the JobStore.

    Parameters
    ----------
    new
        Order of the job in the JobStore.
    held
        Order of the job that the candidate names.

    Returns
    -------
    bool
        False where it is the same run.
    """
    if held is None:
        return True
    if new[1] == held[1]:
        return new[2] > held[2] or (new[2] == held[2] and new[0] != held[0])
    return new > held


@dataclass(frozen=True)
class Contribution:
    """
    What one job says about one candidate.

    Parameters
    ----------
    candidate_id
        The candidate.
    label
        Under which name the candidate keeps the job: the stage, or the name of the screen.
    job
        ``"uuid:index"``.
    order
        See :attr:`StageJob.order`.
    content
        What it says; None where the job, run again, says nothing about the candidate any more.
    versions
        Versions of the packages used.
    """

    candidate_id: str
    label: str
    job: str
    order: Order
    content: Document | None
    versions: dict[str, str]


def contributions(job: StageJob, output: Document) -> Iterator[Contribution]:
    """
    Yield what the output of a job says about each of its candidates.

    Parameters
    ----------
    job
        The job.
    output
        Its output, as stored, without the arrays.

    Yields
    ------
    Contribution
        One for each candidate.
    """
    label = label_of(job.stage, output)
    versions = dict(output.get("versions") or {})
    for identifier, content in _READERS[job.stage](output):
        yield Contribution(identifier, label, job.key, job.order, content, versions)


def label_of(stage: str, output: Document) -> str:
    """
    Return under which name a candidate keeps a job.

    Parameters
    ----------
    stage
        Stage of the output.
    output
        The output of the job.

    Returns
    -------
    str
        The stage, or the name of the screen (without dots, which field names cannot have).
    """
    return str(output["screen"]).replace(".", "_") if stage == "screen" else stage


def candidate_ids(stage: str, output: Document) -> list[str]:
    """
    Return the candidates that an output is about.

    Parameters
    ----------
    stage
        Stage of the output.
    output
        The output of the job; :data:`ID_FIELDS` of it are enough.

    Returns
    -------
    list of str
        Their identifiers.
    """
    if stage == "sample":
        return [identifier for identifier, _ in _from_sample(output)]
    if stage == "relax":
        return [each["candidate_id"] for each in _relaxations(output)]
    records = output["candidates" if stage == "decode" else "records"]
    return [record["candidate_id"] for record in records]


ID_FIELDS = (
    "output.stage",
    "output.screen",
    "output.provenance",
    "output.start",
    "output.n_samples",
    "output.candidate_id",
    "output.relaxations.candidate_id",
    "output.candidates.candidate_id",
    "output.records.candidate_id",
)


def _from_sample(output: Document) -> Iterator[tuple[str, Document]]:
    provenance = Provenance.model_validate(_plain(output["provenance"]))
    for index in range(output["start"], output["start"] + output["n_samples"]):
        yield candidate_id(provenance, index), {}


def _from_decode(output: Document) -> Iterator[tuple[str, Document]]:
    provenance = _plain(output["provenance"])
    for record in output["candidates"]:
        yield record["candidate_id"], {**_plain(record), "provenance": provenance}


def _from_records(output: Document) -> Iterator[tuple[str, Document]]:
    for record in output["records"]:
        yield record["candidate_id"], _plain(record)


def _from_relax(output: Document) -> Iterator[tuple[str, Document]]:
    for relaxation in _relaxations(output):
        yield relaxation["candidate_id"], _plain(relaxation)


def _relaxations(output: Document) -> list[Document]:
    """Return the relaxations of candidates: of one, or of a batch."""
    each = output.get("relaxations", [output])
    return [relaxation for relaxation in each if relaxation.get("candidate_id")]


_READERS: dict[str, Callable[[Document], Iterator[tuple[str, Document]]]] = {
    "sample": _from_sample,
    "decode": _from_decode,
    "screen": _from_records,
    "select": _from_records,
    "tune": _from_records,
    "relax": _from_relax,
}
STAGES = ("decode", "sample", "screen", "select", "tune", "relax")
"""The stages in the order they are built: a candidate begins to exist where it is decoded."""


def _plain(record: Document) -> Document:
    return {name: value for name, value in record.items() if not name.startswith("@")}


def merge(
    existing: Document | None,
    news: Iterable[Contribution],
    failures: Mapping[str, str] | None = None,
    *,
    accept_stand_in: bool = False,
) -> Document | None:
    """
    Add contributions to a candidate; the result does not depend on when they arrive.

    Parameters
    ----------
    existing
        The candidate as stored, by any version of the package; None where there is none yet.
    news
        The contributions.
    failures, accept_stand_in
        As for :func:`~crystens_flows.builders.conclusion.concluded`.

    Returns
    -------
    dict or None
        The candidate without ``last_updated``; None where it does not exist (any more).
    """
    doc = None
    if existing is not None:
        doc = upgraded(existing)
        doc |= {name: dict(doc[name]) for name in ("screens", "jobs", "completed_at", "versions")}
    # a candidate begins to exist where it is decoded, whatever the clocks say
    for new in sorted(news, key=lambda each: (each.label != "decode", each.order)):
        if doc is None and (new.label != "decode" or new.content is None):
            continue
        held = held_order(doc, new.label) if doc is not None else None
        if held != new.order and not replaces(new.order, held):
            continue
        if new.content is None:
            if new.label == "decode":
                return None
            _forget(doc, new.label)  # type: ignore[arg-type]
            continue
        doc = _applied(doc, new)
    if doc is None:
        return None
    return concluded(doc, failures or {}, accept_stand_in=accept_stand_in)


def _applied(doc: Document | None, new: Contribution) -> Document:
    content: Document = dict(new.content or {})
    if new.label == "decode":
        kept = (
            *("screens", "selection", "tuning", "relaxation", "relaxed_structure"),
            *("jobs", "completed_at", "versions"),
        )
        before = {name: doc[name] for name in kept if name in doc} if doc is not None else {}
        doc = {**_decoded(content), **before}
    assert doc is not None
    if new.label == "select":
        doc["selection"] = content
    elif new.label == "tune":
        doc["tuning"] = content
    elif new.label == "relax":
        doc["relaxed_structure"] = content.pop("structure", None)
        doc["relaxation"] = {**content, "structure": None}
    elif new.label not in ("decode", "sample"):
        doc["screens"][new.label] = content
    doc["jobs"][new.label] = new.job
    doc["completed_at"][new.label] = new.order[0]
    doc["versions"][new.label] = new.versions
    return doc


def _forget(doc: Document, label: str) -> None:
    for name in ("jobs", "completed_at", "versions"):
        doc[name].pop(label, None)
    if label == "select":
        doc["selection"] = None
    elif label == "tune":
        doc["tuning"] = None
    elif label == "relax":
        doc["relaxation"] = doc["relaxed_structure"] = None
    else:
        doc["screens"].pop(label, None)


def _decoded(content: Document) -> Document:
    doc = CandidateDocument(
        candidate_id=content["candidate_id"],
        campaign=content["provenance"]["campaign"],
        index=content["index"],
        status=CandidateStatus.DECODED,
        reason=content["reason"],
        space_group=content["space_group"],
        consistency=content["consistency"],
        provenance=content["provenance"],
    ).model_dump(mode="json", exclude={"last_updated"})
    structure = content["structure"]
    if structure is not None:
        composition = _composition(structure)
        elements = sorted(element.symbol for element in composition.elements)
        doc |= {
            "structure": structure,
            "formula": composition.reduced_formula,
            "chemsys": "-".join(elements),
            "elements": elements,
            "n_elements": len(elements),
            "n_sites": len(structure["sites"]),
        }
    return doc


def _composition(structure: Document) -> Composition:
    amounts: dict[str, float] = {}
    for site in structure["sites"]:
        for species in site["species"]:
            element = species["element"]
            amounts[element] = amounts.get(element, 0.0) + species["occu"]
    return Composition(amounts)

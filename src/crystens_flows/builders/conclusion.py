"""What follows from all that the stages said about a candidate: status, reason, energies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crystens_flows.relaxation import N_STEPS
from crystens_flows.schemas import CandidateStatus

Document = dict[str, Any]

STAND_IN_REASON = "relaxed by a stand-in for VASP, which is no result of DFT"
"""Why a candidate is refused whose relaxation is marked as made by a stand-in."""

_OF_THE_LAST_SCREEN = ("formation_energy_per_atom", "energy_above_hull", "smact_valid", "known_as")
_FAILED_STEP = re.compile(r"(relaxation failed: step (\d) of \d)(: .*)?")


def concluded(
    doc: Document,
    failures: Mapping[str, str],
    *,
    accept_stand_in: bool,
) -> Document:
    """
    Derive status, reason and energies from what the stages said.

    Parameters
    ----------
    doc
        The candidate.
    failures
        Errors by uuid of the job: what a failed step of the relaxation ended with. A text that the
        candidate has from an earlier time stays where there is none.
    accept_stand_in
        Whether a relaxation by a stand-in for VASP counts. Where it does not, the candidate keeps
        its document, structure included, but no relaxed structure and no energy of it.

    Returns
    -------
    dict
        The candidate with the derived fields.
    """
    ended = doc["completed_at"]
    # those of an earlier version, which kept no times, stay in the order they were stored in
    by_time = sorted(
        doc["screens"],
        key=lambda name: (ended[name], doc["jobs"][name]) if name in ended else ("", ""),
    )
    latest = [doc["screens"][name] for name in reversed(by_time)]
    doc = {**doc, **_relaxed(doc, failures, accept_stand_in=accept_stand_in)}
    status, rejected_by, reason = _status(doc, accept_stand_in=accept_stand_in)
    return {
        **doc,
        "status": str(status),
        "rejected_by": rejected_by,
        "reason": reason,
        **{
            name: next((value for r in latest if (value := r.get(name)) is not None), None)
            for name in _OF_THE_LAST_SCREEN
        },
    }


def _relaxed(
    doc: Document, failures: Mapping[str, str], *, accept_stand_in: bool
) -> dict[str, Any]:
    """Return the fields that the relaxation fills."""
    relaxation = doc["relaxation"]
    fields = ("relaxation", "relaxed_structure", "energy_per_atom", "energy_above_hull_dft")
    if relaxation is None:
        return dict.fromkeys(fields)
    structure = doc["relaxed_structure"] or relaxation["structure"]
    relaxation = {**relaxation, "reason": _with_error(relaxation, failures), "structure": None}
    if relaxation.get("stand_in") and not accept_stand_in:
        return {**dict.fromkeys(fields), "relaxation": {**relaxation, "structure": structure}}
    n_sites = relaxation["n_sites"] or (len(structure["sites"]) if structure else None)
    energy = relaxation["energy"]
    per_atom = energy / n_sites if energy is not None and n_sites else None
    above = relaxation.get("energy_above_hull")
    return dict(zip(fields, (relaxation, structure, per_atom, above), strict=True))


def _with_error(relaxation: Document, failures: Mapping[str, str]) -> str | None:
    """Return the reason, ending with the error of the step that failed."""
    reason: str | None = relaxation["reason"]
    match = _FAILED_STEP.fullmatch(reason or "")
    if match is None:
        return reason
    uuids, number = relaxation.get("step_uuids") or [], int(match[2])
    error = failures.get(uuids[number - 1]) if number <= len(uuids) else None
    return reason if error is None else f"{match[1]}: {error}"


def _status(
    doc: Document, *, accept_stand_in: bool
) -> tuple[CandidateStatus, str | None, str | None]:
    """Return status, what rejected the candidate, and why: the stage it came furthest in counts."""
    relaxation, selection = doc["relaxation"], doc["selection"]
    if relaxation is not None:
        if relaxation.get("stand_in") and not accept_stand_in:
            return CandidateStatus.REJECTED, "relax", STAND_IN_REASON
        steps = relaxation["completed_steps"]
        if steps >= N_STEPS:
            return CandidateStatus.RELAXED, None, None
        reason = relaxation["reason"] or f"{steps} of {N_STEPS} relaxations finished"
        return CandidateStatus.REJECTED, "relax", reason
    if selection is not None and selection["decision"] == "selected":
        return CandidateStatus.SELECTED, None, None
    if doc["structure"] is None:
        return CandidateStatus.REJECTED, "decode", doc["reason"]
    for name in sorted(doc["screens"]):
        if not doc["screens"][name]["passed"]:
            return CandidateStatus.REJECTED, name, doc["screens"][name]["reason"]
    if selection is not None and selection["decision"] in ("duplicate", "filtered"):
        reason = selection.get("reason")
        if reason is None and selection["decision"] == "duplicate":
            reason = f"duplicate: of {selection['duplicate_of']}"  # before version 2 none was given
        return CandidateStatus.REJECTED, "select", reason
    return (CandidateStatus.SCREENED if doc["screens"] else CandidateStatus.DECODED), None, None

"""Energies E0 to E4 and pressures P1 to P4 of four successive relaxations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crystens_flows.errors import InputError
from crystens_flows.relaxation.steps import RelaxStep, read_step
from crystens_flows.schemas import RelaxDocument

N_STEPS = 4
"""Each structure is relaxed this many times, each time from where the last one ended."""


def summarise_relaxation(
    documents: Sequence[Any],
    candidate_id: str | None = None,
    step_uuids: Sequence[str] = (),
) -> RelaxDocument:
    """
    Bring four successive relaxations into one document.

    A step that did not converge counts as done. The first that is missing, or whose energy is not
    finite, ends the relaxation, and the reason names it.

    Parameters
    ----------
    documents
        The task documents of the four steps, None where a step failed.
    candidate_id
        Identifier of the candidate.
    step_uuids
        Jobs of the steps.

    Returns
    -------
    RelaxDocument
        Energies and pressures, and the structure after the last step that was done.

    Raises
    ------
    InputError
        If there are not four documents, or one is of an unknown kind.
    """
    if len(documents) != N_STEPS:
        raise InputError(f"{len(documents)} relaxations given: the summary is of {N_STEPS}")
    done: list[RelaxStep] = []
    reason = None
    for number, document in enumerate(documents, start=1):
        if document is None:
            reason = f"relaxation failed: step {number} of {N_STEPS}"
            break
        step = read_step(document)
        if step.diverged:
            reason = f"relaxation diverged: step {number} of {N_STEPS}, {step.diverged}"
            break
        done.append(step)
    missing = [None] * (N_STEPS - len(done))
    last = done[-1] if done else None
    return RelaxDocument(
        candidate_id=candidate_id,
        structure=last.structure if last else None,
        energy=last.energy if last else None,
        stress=last.stress if last else None,
        dir_name=last.dir_name if last else None,
        energies=[done[0].initial_energy if done else None, *(s.energy for s in done), *missing],
        pressures=[*(step.pressure for step in done), *missing],
        converged=[*(step.converged for step in done), *missing],
        n_sites=len(last.structure) if last and last.structure is not None else None,
        engine=last.engine if last else None,
        completed_steps=len(done),
        reason=reason,
        step_uuids=list(step_uuids),
    )

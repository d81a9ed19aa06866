"""Energies E0 to E4 and pressures P1 to P4 of four successive relaxations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.relaxation.changes import broken, displacement, space_group
from crystens_flows.relaxation.steps import RelaxStep, read_step
from crystens_flows.schemas import RelaxDocument, RelaxStepRecord

N_STEPS = 4
"""Each structure is relaxed this many times, each time from where the last one ended."""


def summarise_relaxation(
    documents: Sequence[Any],
    candidate_id: str | None = None,
    step_uuids: Sequence[str] = (),
    structure: Structure | None = None,
    previous: RelaxDocument | None = None,
) -> RelaxDocument:
    """
    Bring four successive relaxations into one document.

    A step that did not converge counts as done. The first that is missing, whose energy is not
    finite, or that has left the physical, ends the relaxation, and the reason names it.

    Parameters
    ----------
    documents
        The task documents of the four steps, None where a step failed.
    candidate_id
        Identifier of the candidate.
    step_uuids
        Jobs of the steps.
    structure
        The structure before the first step; without it, what the steps changed is not known.
    previous
        The document of an earlier relaxation that ended before its time, whose steps that finished
        are the first; the task documents are then of those after them.

    Returns
    -------
    RelaxDocument
        Energies and pressures, and the structure after the last step that was done.

    Raises
    ------
    InputError
        If there are not four documents, or one is of an unknown kind.
    """
    n_done = previous.completed_steps if previous else 0
    if n_done + len(documents) != N_STEPS:
        raise InputError(
            f"{n_done + len(documents)} relaxations given: the summary is of {N_STEPS}"
        )
    steps = [None if document is None else read_step(document) for document in documents]
    return summarise_steps_read(steps, candidate_id, step_uuids, structure, previous)


def summarise_steps_read(
    steps: Sequence[RelaxStep | None],
    candidate_id: str | None = None,
    step_uuids: Sequence[str] = (),
    structure: Structure | None = None,
    previous: RelaxDocument | None = None,
) -> RelaxDocument:
    """
    Bring four relaxations that have been read into one document.

    Parameters
    ----------
    steps
        The steps, None where one failed.
    candidate_id, step_uuids, structure, previous
        As for :func:`summarise_relaxation`.

    Returns
    -------
    RelaxDocument
        Energies and pressures, and the structure after the last step that was done.
    """
    done: list[RelaxStep] = []
    reason = None
    n_before = previous.completed_steps if previous else 0
    for number, step in enumerate(steps, start=n_before + 1):
        if step is None:
            reason = f"relaxation failed: step {number} of {N_STEPS}"
            break
        wrong = step.diverged
        if wrong is None and structure is not None and step.structure is not None:
            wrong = broken(structure, step.structure)
        if wrong:
            what = "failed" if step.failure else "diverged"
            reason = f"relaxation {what}: step {number} of {N_STEPS}, {wrong}"
            break
        done.append(step)
    missing = [None] * (N_STEPS - n_before - len(done))
    last = done[-1] if done else None
    first = done[0] if done else None
    uuids = [*step_uuids, *[None] * N_STEPS][:N_STEPS]
    at_first = previous.structure if previous and n_before else structure
    before = [at_first, *(step.structure for step in done)]
    rest = RelaxDocument(
        candidate_id=candidate_id,
        structure=last.structure if last else None,
        energy=last.energy if last else None,
        stress=last.stress if last else None,
        dir_name=last.dir_name if last else None,
        energies=[first.initial_energy if first else None, *(s.energy for s in done), *missing],
        energies_zero_sigma=[
            first.initial_energy_zero_sigma if first else None,
            *(step.energy_zero_sigma for step in done),
            *missing,
        ],
        pressures=[*(step.pressure for step in done), *missing],
        converged=[*(step.converged for step in done), *missing],
        steps=[_record(*each) for each in zip(done, before, uuids, strict=False)],
        initial_volume=structure.volume if structure else None,
        initial_space_group=space_group(structure) if structure else None,
        n_sites=len(last.structure) if last and last.structure is not None else None,
        engine=last.engine if last else None,
        method=last.method if last else {},
        stand_in=any(step.stand_in for step in done),
        completed_steps=len(done),
        reason=reason,
        step_uuids=list(step_uuids),
    )
    return _joined(previous, rest) if previous and n_before else rest


def _joined(previous: RelaxDocument, rest: RelaxDocument) -> RelaxDocument:
    """Put the steps that finished earlier before those made now."""
    n = previous.completed_steps
    uuids = [*previous.step_uuids[:n], *rest.step_uuids] if previous.step_uuids else []
    joined = {
        "energies": [*previous.energies[: n + 1], *rest.energies[1:]],
        "energies_zero_sigma": [
            *(previous.energies_zero_sigma or [None] * (n + 1))[: n + 1],
            *rest.energies_zero_sigma[1:],
        ],
        "pressures": [*previous.pressures[:n], *rest.pressures],
        "converged": [*previous.converged[:n], *rest.converged],
        "steps": [*previous.steps[:n], *rest.steps],
        "stand_in": previous.stand_in or rest.stand_in,
        "completed_steps": n + rest.completed_steps,
        "step_uuids": uuids or rest.step_uuids,
    }
    if not rest.completed_steps:
        last = ("structure", "energy", "stress", "dir_name", "n_sites", "engine", "method")
        joined |= {name: getattr(previous, name) for name in last}
    return rest.model_copy(update=joined)


def _record(step: RelaxStep, before: Structure | None, uuid: str | None) -> RelaxStepRecord:
    after = step.structure
    return RelaxStepRecord(
        energy=step.energy,
        energy_zero_sigma=step.energy_zero_sigma,
        pressure=step.pressure,
        converged=step.converged,
        n_ionic_steps=step.n_ionic_steps,
        volume=after.volume if after else None,
        space_group=space_group(after) if after else None,
        rmsd=displacement(before, after) if before and after else None,
        corrections=step.corrections,
        dir_name=step.dir_name,
        uuid=uuid,
    )

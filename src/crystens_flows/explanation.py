"""Why a candidate was chosen or not, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from crystens_flows.schemas import CandidateDocument, ScreenRecord

SCREENS = ("validity", "novelty", "cgcnn", "m3gnet", "chgnet", "sevennet", "hull")
"""The order in which the screens are asked; those of a user follow."""


def explain(candidate: CandidateDocument) -> list[str]:
    """
    Tell in words what each stage found, and why the candidate was chosen or not.

    Parameters
    ----------
    candidate
        The candidate.

    Returns
    -------
    list of str
        One sentence for each stage, the conclusion last.
    """
    said = [_origin(candidate)]
    order = [name for name in SCREENS if name in candidate.screens]
    order += [name for name in candidate.screens if name not in SCREENS]
    said += [_screened(name, candidate.screens[name]) for name in order]
    if candidate.selection is not None:
        chosen = "selected" if candidate.selection.decision == "selected" else "not selected"
        said.append(f"selection: {chosen}: {candidate.selection.reason or 'no reason was given'}")
        said += _among_others(candidate)
    if candidate.tuning is not None:
        what = "changed" if candidate.tuning.changed else "unchanged"
        said.append(f"tuning: {what}: {candidate.tuning.reason or 'nothing to improve'}")
    if candidate.relaxation is not None:
        done = candidate.relaxation.completed_steps
        energies = [e for e in candidate.relaxation.energies if e is not None]
        fell = f", {energies[-1] - energies[0]:+.4f} eV a cell" if len(energies) > 1 else ""
        said.append(f"relaxation: {done} of 4 steps with {candidate.relaxation.engine}{fell}")
    said.append(_conclusion(candidate))
    return said


def _origin(candidate: CandidateDocument) -> str:
    provenance = candidate.provenance
    what = candidate.formula or "a sample without a structure"
    sites = f" of {candidate.n_sites} sites" if candidate.n_sites else ""
    return (
        f"{candidate.candidate_id}: {what}{sites}, number {candidate.index} of campaign "
        f"'{candidate.campaign}' from '{provenance.generator}', seed {provenance.seed}"
    )


def _screened(name: str, record: ScreenRecord) -> str:
    if not record.passed:
        return f"{name}: rejected: {record.reason}"
    found = []
    if record.formation_energy_per_atom is not None:
        text = f"formation energy {record.formation_energy_per_atom:.3f}"
        if record.uncertainty is not None:
            text += f" +- {record.uncertainty:.3f}"
        found.append(f"{text} eV/atom")
    if record.energy_above_hull is not None:
        found.append(_hull(record))
    if record.known_as is not None:
        found.append(f"known already as {record.known_as}")
    elif name == "novelty":
        found.append("not among the known crystals")
    if record.smact_valid is not None:
        found.append("charges can balance" if record.smact_valid else "charges cannot balance")
    return f"{name}: passed" + (f": {'; '.join(found)}" if found else "")


def _hull(record: ScreenRecord) -> str:
    above = record.energy_above_hull or 0.0
    where = "above" if above >= 0 else "below"
    text = f"{abs(above):.3f} eV/atom {where} the hull of known compounds"
    if record.values.get("elements_only"):
        text += ", which has nothing but the elements in this system"
    elif decomposition := record.values.get("decomposition"):
        text += f", against {_mixture(decomposition)}"
    if models := record.values.get("energy_models"):
        text += f" (energy of {' and '.join(models)}"
        agree = record.values.get("agree")
        text += "" if agree is None else ", models agree" if agree else ", models disagree"
        text += ")"
    return text


def _mixture(decomposition: Mapping[str, float]) -> str:
    parts = sorted(decomposition.items(), key=lambda item: -item[1])
    return " + ".join(f"{100 * share:.0f} % {formula}" for formula, share in parts)


def _among_others(candidate: CandidateDocument) -> list[str]:
    selection = candidate.selection
    if selection is None or selection.rank_in_system is None:
        return []
    text = f"among candidates of {candidate.chemsys}: rank {selection.rank_in_system}"
    above = selection.energy_above_hull_with_candidates
    if above is not None:
        text += f", {above:.3f} eV/atom above the hull that has the other candidates in it too"
    return [text]


def _conclusion(candidate: CandidateDocument) -> str:
    if candidate.rejected_by is not None:
        return f"so: rejected by '{candidate.rejected_by}': {candidate.reason}"
    return f"so: {candidate.status}"

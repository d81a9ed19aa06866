"""Why a candidate was chosen or not, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from crystens_flows.relaxation import N_STEPS
from crystens_flows.report.relaxations import STAND_IN, relaxation_record
from crystens_flows.schemas import (
    CandidateDocument,
    CandidateStatus,
    RelaxDocument,
    ScreenRecord,
    SelectRecord,
)

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
        One sentence for each stage, or a few, the conclusion last.
    """
    said = [_origin(candidate)]
    order = [name for name in SCREENS if name in candidate.screens]
    order += [name for name in candidate.screens if name not in SCREENS]
    said += [_screened(name, candidate.screens[name]) for name in order]
    if candidate.selection is not None:
        said.append(_selected(candidate.selection))
        said += _among_others(candidate.selection, candidate.chemsys)
    if candidate.tuning is not None:
        what = "changed" if candidate.tuning.changed else "unchanged"
        said.append(f"tuning: {what}: {candidate.tuning.reason or 'nothing to improve'}")
    if candidate.relaxation is not None:
        said += _relaxed(candidate.relaxation)
    said.append(_conclusion(candidate))
    return said


def _origin(candidate: CandidateDocument) -> str:
    provenance = candidate.provenance
    what = "no structure"
    if candidate.formula is not None:
        what = f"{candidate.formula}, {candidate.n_sites} sites"
    if provenance.generator == "files":
        number, source = f"structure {candidate.index}", "read from files"
    else:
        number, source = f"sample {candidate.index}", f"from generator '{provenance.generator}'"
        source += "" if provenance.seed is None else f", seed {provenance.seed}"
    return (
        f"{candidate.candidate_id}: {what}; {number} of campaign '{candidate.campaign}', {source}"
    )


def _screened(name: str, record: ScreenRecord) -> str:
    if not record.passed:
        return f"{name}: rejected: {record.reason or 'no reason was given'}"
    found = []
    if record.formation_energy_per_atom is not None:
        found.append(_energy(record))
    if record.energy_above_hull is not None:
        found.append(_hull(record))
    if record.known_as is not None:
        found.append(f"known already as {record.known_as}")
    elif name == "novelty":
        found.append("not among the known crystals")
    if record.smact_valid is not None:
        found.append("charges can balance" if record.smact_valid else "charges cannot balance")
    return f"{name}: passed" + (f": {'; '.join(found)}" if found else "")


def _energy(record: ScreenRecord) -> str:
    energy, apart = f"{record.formation_energy_per_atom:.3f}", record.uncertainty
    models = record.values.get("energy_models")
    if not models:
        around = "" if apart is None else f" +- {apart:.3f}"
        return f"formation energy {energy}{around} eV/atom"
    text = f"formation energy {energy} eV/atom from {' and '.join(models)}"
    agree = record.values.get("agree")
    if agree is None:
        return f"{text}, no second model to compare with"
    by = "" if apart is None else f" ({apart:.3f} eV/atom apart)"
    return f"{text}, models {'agree' if agree else 'disagree'}{by}"


def _hull(record: ScreenRecord) -> str:
    distance = _distance(record.energy_above_hull or 0.0)
    if record.values.get("elements_only"):
        return f"{distance} the elements, of which no compound is known to the hull"
    text = f"{distance} the hull of known compounds"
    if decomposition := record.values.get("decomposition"):
        text += f" (here {_mixture(decomposition)})"
    return text


def _distance(above: float) -> str:
    return f"{abs(above):.3f} eV/atom {'below' if above < 0 else 'above'}"


def _mixture(decomposition: Mapping[str, float]) -> str:
    if len(decomposition) == 1:
        return next(iter(decomposition))
    parts = sorted(decomposition.items(), key=lambda item: -item[1])
    return " + ".join(f"{100 * share:.0f} % {formula}" for formula, share in parts)


def _selected(selection: SelectRecord) -> str:
    if selection.decision == "duplicate":
        why = f"the same crystal as {selection.duplicate_of}, which was given first"
    elif selection.reason is not None:
        why = selection.reason
    else:
        why = "no reason was given" if selection.rank is None else f"rank {selection.rank}"
    return f"selection: {'' if selection.decision == 'selected' else 'not '}selected: {why}"


def _among_others(selection: SelectRecord, system: str | None) -> list[str]:
    if selection.rank_in_system is None:
        return []
    text = f"among candidates of {system}: rank {selection.rank_in_system}"
    above = selection.energy_above_hull_with_candidates
    if above is not None:
        text += f", {_distance(above)} the hull that has the other candidates in it too"
    return [text]


def _relaxed(relaxation: RelaxDocument) -> list[str]:
    text = f"relaxation: {relaxation.completed_steps} of {N_STEPS} steps"
    text += "" if relaxation.engine is None else f" with {relaxation.engine}"
    energies = [energy for energy in relaxation.energies if energy is not None]
    found = relaxation_record(relaxation)
    if len(energies) > 1:
        text += f", which changed the energy by {energies[-1] - energies[0]:+.4f} eV a cell"
        if (volume := found["volume_change"]) is not None:
            text += f" and the volume by {volume:+.1f} %"
    pressures = [pressure for pressure in relaxation.pressures if pressure is not None]
    if pressures:
        text += f"; pressure {pressures[-1]:.2f} kbar at the end"
    before, after = found["space_group_before"], found["space_group_after"]
    if before is not None and after is not None:
        text += f"; space group {before}" + ("" if before == after else f" became {after}")
    said = [text]
    if unconverged := sum(each is False for each in relaxation.converged):
        said.append(f"relaxation: not converged in {unconverged} of {N_STEPS} steps")
    corrections = [each for step in relaxation.steps for each in step.corrections]
    if corrections:
        said.append(f"relaxation: corrected on the way: {'; '.join(dict.fromkeys(corrections))}")
    if relaxation.energy_above_hull is not None:
        said.append(f"DFT: {_distance(relaxation.energy_above_hull)} the hull of known compounds")
    if relaxation.stand_in:
        said.append(f"relaxation: its energies and pressures were {STAND_IN}")
    return said


def _conclusion(candidate: CandidateDocument) -> str:
    if candidate.rejected_by is not None:
        why = f": {candidate.reason}" if candidate.reason else ""
        return f"so: rejected by '{candidate.rejected_by}'{why}"
    if candidate.status == CandidateStatus.SCREENED:
        if candidate.selection is None:
            return "so: screened and not rejected; no selection has been made yet"
        return "so: passed all screens, but was not selected"
    return f"so: {_STATUS[candidate.status]}"


_STATUS = {
    CandidateStatus.DECODED: "decoded, not screened yet",
    CandidateStatus.SELECTED: "selected, not relaxed yet",
    CandidateStatus.RELAXED: "relaxed",
}

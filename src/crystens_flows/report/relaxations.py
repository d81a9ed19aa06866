"""What four successive relaxations did to candidates: the records of the paper's figure 13."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pymatgen.core import Structure

from crystens_flows.relaxation import N_STEPS
from crystens_flows.relaxation.changes import displacement
from crystens_flows.schemas import CandidateDocument, RelaxDocument

if TYPE_CHECKING:
    from crystens_flows.candidates import CandidateStore

ENERGIES = tuple(f"E{k}" for k in range(N_STEPS + 1))
PRESSURES = tuple(f"P{k}" for k in range(1, N_STEPS + 1))
ENERGY_CHANGES = tuple(f"dE{k}" for k in range(1, N_STEPS + 1))

COLUMNS = (
    *("candidate_id", "formula", "n_sites", "E0", "E4", "P1", "P4", *ENERGY_CHANGES),
    *("volume_change", "space_group", "rmsd", "converged", "engine", "reason"),
)
"""What a table shows of a record."""

UNITS = (
    "E0, E4: energy before and after four relaxations, eV a cell; P1, P4: pressure after the first "
    "and the fourth, kbar; dE1 to dE4: change of energy in each, eV/atom; volume_change in %, rmsd "
    "of the sites in A"
)
"""What the columns mean, for a line below a table."""

DFT_COLUMNS = ("formation_energy_dft", "energy_above_hull_dft")
"""What a table shows too where a record has it: eV/atom."""

STAND_IN = "made by a stand-in for VASP: no results of DFT"


def relaxation_record(
    relaxation: RelaxDocument, before: Structure | None = None, formula: str | None = None
) -> dict[str, Any]:
    """
    Say in one flat record what the relaxations of a structure found and changed.

    Parameters
    ----------
    relaxation
        The relaxations.
    before
        The structure before the first; without it there is no displacement.
    formula
        Reduced formula; by default that of the relaxed structure.

    Returns
    -------
    dict
        ``E0`` to ``E4`` in eV a cell, ``P1`` to ``P4`` in kbar, ``dE1`` to ``dE4`` in eV/atom, the
        volumes in A^3 a cell and their change in %, the space groups within 0.01 A, ``rmsd`` in A
        as :func:`crystens_flows.relaxation.changes.displacement` measures it over all steps, how
        many steps converged, the engine, and why steps are missing; None for what is not known.
    """
    after = relaxation.structure
    last = relaxation.steps[-1] if relaxation.steps else None
    if formula is None and (known := after or before) is not None:
        formula = known.composition.reduced_formula
    first_volume = relaxation.initial_volume or (before.volume if before else None)
    last_volume = last.volume if last else None
    groups = (relaxation.initial_space_group, last.space_group if last else None)
    return {
        "candidate_id": relaxation.candidate_id,
        "formula": formula,
        "n_sites": relaxation.n_sites,
        **dict(zip(ENERGIES, relaxation.energies, strict=True)),
        **dict(zip(PRESSURES, relaxation.pressures, strict=True)),
        **dict(zip(ENERGY_CHANGES, _energy_changes(relaxation), strict=True)),
        "volume_before": first_volume,
        "volume_after": last_volume,
        "volume_change": _per_cent(first_volume, last_volume),
        "space_group_before": groups[0],
        "space_group_after": groups[1],
        "space_group": " -> ".join("?" if group is None else str(group) for group in groups),
        "rmsd": displacement(before, after) if before and after else None,
        "converged": f"{sum(each is True for each in relaxation.converged)} of {N_STEPS}",
        "formation_energy_dft": relaxation.formation_energy_per_atom,
        "energy_above_hull_dft": relaxation.energy_above_hull,
        "engine": _engine(relaxation),
        "stand_in": relaxation.stand_in,
        "completed_steps": relaxation.completed_steps,
        "reason": relaxation.reason,
        "dir_name": relaxation.dir_name,
    }


def with_dft(columns: Sequence[str], records: Sequence[dict[str, Any]]) -> list[str]:
    """
    Add what DFT found to the columns of a table, where it found any.

    Parameters
    ----------
    columns
        The columns.
    records
        As :func:`relaxation_record` makes them.

    Returns
    -------
    list of str
        With :data:`DFT_COLUMNS` where a record has a formation energy.
    """
    found = any(record["formation_energy_dft"] is not None for record in records)
    return [*columns, *(DFT_COLUMNS if found else ())]


def candidate_records(candidates: CandidateStore, **filters: Any) -> list[dict[str, Any]]:
    """
    Return a record for each candidate of a store that was relaxed, or was to be.

    Parameters
    ----------
    candidates
        The candidates.
    **filters
        See :class:`crystens_flows.candidate_filters.Filters`; ``criteria`` are added to.

    Returns
    -------
    list of dict
        As :func:`relaxation_record`, with ``rank`` and ``campaign``: campaign after campaign, by
        rank in the selection; those without one by their index.
    """
    relaxed: dict[str, Any] = {"relaxation": {"$ne": None}}
    if criteria := filters.pop("criteria", None):
        relaxed = {"$and": [relaxed, criteria]}
    found = candidates.documents(criteria=relaxed, **filters)  # in the order of the samples
    records = [candidate_record(candidate) for candidate in found]
    return sorted(records, key=lambda each: (each["campaign"], each["rank"] or math.inf))


def candidate_record(candidate: CandidateDocument) -> dict[str, Any]:
    """
    Say in one flat record what the relaxations of a candidate found and changed.

    Parameters
    ----------
    candidate
        A candidate that has a relaxation.

    Returns
    -------
    dict
        As :func:`relaxation_record`, with ``rank`` and ``campaign``.
    """
    assert candidate.relaxation is not None
    tuning, selection = candidate.tuning, candidate.selection
    before = tuning.structure if tuning is not None else candidate.structure
    # the relaxation itself has the structure where it does not count, made by a stand-in
    after = candidate.relaxed_structure or candidate.relaxation.structure
    relaxation = candidate.relaxation.model_copy(update={"structure": after})
    formula = before.composition.reduced_formula if before is not None else candidate.formula
    return {
        **relaxation_record(relaxation, before, formula),
        "rank": selection.rank if selection is not None else None,
        "campaign": candidate.campaign,
    }


def _energy_changes(relaxation: RelaxDocument) -> list[float | None]:
    n = relaxation.n_sites
    # adding zero makes the rounding errors of finished relaxations 0.0, never -0.0
    return [
        None if before is None or after is None or not n else round((after - before) / n, 9) + 0.0
        for before, after in pairwise(relaxation.energies)
    ]


def _per_cent(before: float | None, after: float | None) -> float | None:
    return None if not before or after is None else 100 * (after / before - 1)


def _engine(relaxation: RelaxDocument) -> str | None:
    """Name what relaxed, marked where it is a stand-in."""
    if not relaxation.stand_in:
        return relaxation.engine
    return f"{relaxation.engine or 'VASP'} (stand-in, no DFT)"

"""The hull of known compounds in a chemical system, and where candidates stand to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from crystens_flows.candidate_filters import symbols
from crystens_flows.errors import InputError
from crystens_flows.explore.index import CandidateIndex

if TYPE_CHECKING:
    from crystens_flows.screening.hull import HullReference

MAX_CANDIDATES = 500
"""So many candidates of a system, the lowest above the hull, are shown."""

MAX_ELEMENTS = 6


@dataclass(frozen=True)
class Phase:
    """
    A known compound on the hull, or a candidate beside it.

    Parameters
    ----------
    name
        Its formula.
    identifier
        Id in the reference, or candidate_id; empty for an element.
    fractions
        Share of the atoms of each element of the system.
    energy
        Formation energy, eV/atom.
    above_hull
        Energy above the hull of the known compounds, eV/atom; None where it is not known.
    """

    name: str
    identifier: str
    fractions: tuple[float, ...]
    energy: float
    above_hull: float | None


@dataclass(frozen=True)
class HullDiagram:
    """
    A chemical system.

    Parameters
    ----------
    elements
        Its elements, in alphabetical order.
    phases
        Known compounds on the hull, elements included.
    edges
        Pairs of phases that are side by side on the hull, as numbers in `phases`.
    candidates
        Candidates of the system and of those within it, the lowest above the hull first.
    n_left_out
        How many more there are.
    reference
        What the known compounds are from.
    """

    elements: tuple[str, ...]
    phases: tuple[Phase, ...]
    edges: tuple[tuple[int, int], ...]
    candidates: tuple[Phase, ...]
    n_left_out: int
    reference: str


def hull_diagram(system: str, index: CandidateIndex, reference: HullReference) -> HullDiagram:
    """
    Collect the known compounds on the hull of a chemical system, and the candidates in it.

    Parameters
    ----------
    system
        Elements with dashes between them, e.g. ``"Li-O"``.
    index
        The candidates.
    reference
        The known compounds.

    Returns
    -------
    HullDiagram
        The hull is that of the reference alone.

    Raises
    ------
    InputError
        If the system is none, or has more than six elements.
    """
    asked = symbols([each for each in system.split("-") if each.strip()])
    # deuterium and tritium are hydrogen
    elements = sorted({Element.from_Z(Element(each).Z).symbol for each in asked})
    if not 1 <= len(elements) <= MAX_ELEMENTS:
        raise InputError(
            f"chemical system {system!r}: give one to {MAX_ELEMENTS} elements with dashes between "
            "them, as in Li-Fe-O"
        )
    numbers = tuple(sorted(Element(each).Z for each in elements))
    entries = [PDEntry(Composition(each), 0.0, name="") for each in elements]
    for row in reference.system(numbers).rows:
        composition = Composition(reference.formulas[row])
        energy = float(reference.energies[row]) * composition.num_atoms
        entries.append(PDEntry(composition, energy, name=reference.ids[row] or ""))
    diagram = PhaseDiagram(entries)
    place = {id(entry): k for k, entry in enumerate(diagram.qhull_entries)}
    stable = sorted({place[id(entry)] for entry in diagram.stable_entries})
    number = {k: n for n, k in enumerate(stable)}
    edges = {
        (number[i], number[j])
        for facet in diagram.facets
        for i, j in combinations(sorted(map(int, facet)), 2)
        if i in number and j in number
    }
    phases = [_known(diagram.qhull_entries[k], elements) for k in stable]
    candidates, left_out = _candidates(elements, index)
    return HullDiagram(
        tuple(elements), tuple(phases), tuple(sorted(edges)), candidates, left_out, reference.name
    )


def _known(entry: PDEntry, elements: Sequence[str]) -> Phase:
    composition = entry.composition
    fractions = tuple(float(composition.get_atomic_fraction(each)) for each in elements)
    identifier = "" if composition.is_element else entry.name
    return Phase(
        str(composition.reduced_formula), identifier, fractions, float(entry.energy_per_atom), 0.0
    )


def _candidates(elements: Sequence[str], index: CandidateIndex) -> tuple[tuple[Phase, ...], int]:
    found: list[dict[str, Any]] = []
    for size in range(1, len(elements) + 1):
        for part in combinations(elements, size):
            filters = {
                "chemsys": "-".join(part),
                "formation_energy_per_atom": (None, None),
            }
            found += index.find(filters)
    found.sort(
        key=lambda row: (
            np.inf if row["energy_above_hull"] is None else row["energy_above_hull"],
            row["candidate_id"],
        )
    )
    shown = []
    for row in found[:MAX_CANDIDATES]:
        try:
            composition = Composition(row["formula"])
        except (ValueError, KeyError, TypeError, OverflowError, ZeroDivisionError):
            continue  # it has no place in the diagram
        shown.append(
            Phase(
                row["formula"],
                row["candidate_id"],
                tuple(float(composition.get_atomic_fraction(each)) for each in elements),
                row["formation_energy_per_atom"],
                row["energy_above_hull"],
            )
        )
    return tuple(shown), max(0, len(found) - MAX_CANDIDATES)

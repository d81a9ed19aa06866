"""Whether a structure can be a crystal at all: distances, volume, and charges that balance."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from pymatgen.core import Composition, Structure

from crystens_flows.distances import MIN_DISTANCE, shortest_distance
from crystens_flows.errors import import_extra

MIN_VOLUME = 0.1
"""Cells smaller than this many cubic Angstrom have collapsed."""

MAX_CHARGE_COMBINATIONS = 100_000
"""Above this many combinations of oxidation states (about 0.2 s) SMACT is not asked."""


def structural_validity(structure: Structure) -> str | None:
    """
    Tell why a structure is no crystal, by the criterion of the generative models' literature.

    All sites are ordered and finite, the cell has a volume of more than 0.1 A^3 and all distances,
    those to periodic images included, are at least 0.5 A.

    Parameters
    ----------
    structure
        The structure.

    Returns
    -------
    str or None
        The reason in a few words; None for a valid structure.
    """
    if len(structure) == 0:
        return "no sites"
    if not structure.is_ordered:
        return "disordered sites"
    matrix, frac_coords = structure.lattice.matrix, structure.frac_coords
    if not (np.isfinite(matrix).all() and np.isfinite(frac_coords).all()):
        return "lattice or coordinates are not finite"
    if structure.volume <= MIN_VOLUME:
        return f"cell has collapsed: {structure.volume:.3g} A^3, at most {MIN_VOLUME} A^3"
    shortest = shortest_distance(frac_coords, matrix)
    if shortest < MIN_DISTANCE:
        return f"sites too close: {shortest:.3f} A apart, under {MIN_DISTANCE} A"
    return None


def smact_validity(structure_or_composition: Structure | Composition | str) -> bool | None:
    """
    Tell whether the charges of a composition can balance, by SMACT's rules.

    Some combination of known oxidation states is neutral, with cations less electronegative than
    anions; single elements and alloys of metals alone are valid.

    Parameters
    ----------
    structure_or_composition
        A structure, a composition or a formula.

    Returns
    -------
    bool or None
        None where SMACT cannot say: nothing at all, fractional amounts, elements it does not
        know, or more than 100,000 combinations of oxidation states.
    """
    if isinstance(structure_or_composition, Structure):
        structure_or_composition = structure_or_composition.composition
    composition = Composition(structure_or_composition).element_composition
    if not composition or any(amount != int(amount) for amount in composition.values()):
        return None
    return _smact_validity(composition.reduced_formula)


@lru_cache(maxsize=100_000)
def _smact_validity(reduced_formula: str) -> bool | None:
    screening = import_extra("smact.screening", "screen", "the validity of compositions")
    composition = Composition(reduced_formula)
    states = _oxidation_states()
    if math.prod(states.get(str(el), 1) for el in composition) > MAX_CHARGE_COMBINATIONS:
        return None
    # SMACT raises errors of many kinds (NameError, TypeError, ...) for elements it lacks.
    try:
        return bool(screening.smact_validity(composition))
    except Exception:  # noqa: BLE001
        return None


@lru_cache(maxsize=1)
def _oxidation_states() -> dict[str, int]:
    """Return how many oxidation states SMACT tries for each element."""
    oxidation = import_extra("smact.utils.oxidation", "screen", "the validity of compositions")
    table = oxidation.ICSD24OxStatesFilter().filter(consensus=3, include_zero=False)
    return {
        row.element: len(str(row.oxidation_state).split()) for row in table.itertuples(index=False)
    }

"""Whether a structure can be a crystal at all: distances, volume, and charges that balance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pymatgen.core import Composition, DummySpecies, Element, Structure

from crystens_flows.distances import MIN_DISTANCE, shortest_distance
from crystens_flows.errors import import_extra

MIN_VOLUME = 0.1
"""Cells smaller than this many cubic Angstrom have collapsed."""

DENSITIES = (0.01, 25.0)
"""Lowest and highest density of a crystal, g/cm^3: LeMat-GenBench's. All crystals that ship are
within."""

VOLUMES_PER_ATOM = (3.0, 700.0)
"""Lowest and highest volume of an atom, A^3. The crystals that ship have 5.6 to 604."""

MAX_CHARGE_COMBINATIONS = 100_000
"""Above this many combinations of oxidation states (about 0.2 s) SMACT is not asked."""

MAX_CHARGED_SITES = 20_000
"""Above this many sites in all combinations of oxidation states (about 0.2 s) pymatgen is not."""


@dataclass(frozen=True)
class ValidityReport:
    """
    What can be said about a structure without a model; None where it cannot be said.

    Parameters
    ----------
    reason
        Why the structure is no crystal: :func:`structural_validity`, or density or volume per
        atom beyond :data:`DENSITIES` and :data:`VOLUMES_PER_ATOM`. None for one that may be.
    shortest_distance
        Between any two sites, periodic images included, angstrom.
    volume_per_atom
        In A^3.
    density
        In g/cm^3.
    charge_neutral
        Whether some oxidation states balance, by SMACT.
    electronegativities_ordered
        Whether some that balance have cations less electronegative than all anions, by SMACT.
        None where none balance.
    oxidation_states
        By element, averaged over its sites, the likeliest that balance; from pymatgen.
    """

    reason: str | None
    shortest_distance: float | None
    volume_per_atom: float | None
    density: float | None
    charge_neutral: bool | None
    electronegativities_ordered: bool | None
    oxidation_states: dict[str, float] | None


def validity_report(structure: Structure) -> ValidityReport:
    """
    Report all that can be said about the validity of a structure without a model.

    Parameters
    ----------
    structure
        Any structure.

    Returns
    -------
    ValidityReport
        See there.
    """
    reason = structural_validity(structure)
    distance = volume = density = None
    if len(structure) and np.isfinite(structure.lattice.matrix).all() and structure.volume > 0:
        volume = float(structure.volume / len(structure))
        if not _dummies(structure.composition):
            density = float(structure.density)
        if np.isfinite(structure.frac_coords).all() and structure.volume > MIN_VOLUME:
            distance = nearest_distance(structure)
    if reason is None and volume is not None and density is not None:
        reason = _out_of_range("density", density, DENSITIES, "g/cm^3") or _out_of_range(
            "volume per atom", volume, VOLUMES_PER_ATOM, "A^3"
        )
    composition = structure.composition
    neutral = smact_validity(composition, electronegativity_order=False)
    return ValidityReport(
        reason=reason,
        shortest_distance=distance,
        volume_per_atom=volume,
        density=density,
        charge_neutral=neutral,
        electronegativities_ordered=smact_validity(composition) if neutral else None,
        oxidation_states=oxidation_states(composition),
    )


def _out_of_range(name: str, value: float, limits: tuple[float, float], unit: str) -> str | None:
    low, high = limits
    if low <= value <= high:
        return None
    return f"{name} out of range: {value:.3g} {unit}, not {low:g} to {high:g}"


def nearest_distance(structure: Structure) -> float:
    """
    Find the shortest distance between sites, periodic images included.

    Parameters
    ----------
    structure
        Of one site at least, in a cell that encloses a volume.

    Returns
    -------
    float
        In angstrom. In a lattice with a vector under 0.5 A the length of that vector.
    """
    reduced = structure.get_reduced_structure("LLL")
    shortest = min(reduced.lattice.abc)
    radius = 2.0
    while radius < shortest:
        *_, distances = reduced.get_neighbor_list(radius)
        if len(distances):
            return float(distances.min())
        radius *= 2
    if shortest < MIN_DISTANCE:
        return float(shortest)
    return float(reduced.get_neighbor_list(shortest * (1 + 1e-6))[3].min())


def structural_validity(structure: Structure) -> str | None:
    """
    Tell why a structure is no crystal, by the criterion of the generative models' literature.

    All sites are ordered, finite and of elements, the cell has a volume of more than 0.1 A^3 and
    all distances, those to periodic images included, are at least 0.5 A.

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
    if dummies := _dummies(structure.composition):
        return f"no element: {', '.join(dummies)}"
    matrix, frac_coords = structure.lattice.matrix, structure.frac_coords
    if not (np.isfinite(matrix).all() and np.isfinite(frac_coords).all()):
        return "lattice or coordinates are not finite"
    if structure.volume <= MIN_VOLUME:
        return f"cell has collapsed: {structure.volume:.3g} A^3, at most {MIN_VOLUME} A^3"
    shortest = shortest_distance(frac_coords, matrix)
    if shortest < MIN_DISTANCE:
        return f"sites too close: {shortest:.3f} A apart, under {MIN_DISTANCE} A"
    return None


def smact_validity(
    structure_or_composition: Structure | Composition | str, *, electronegativity_order: bool = True
) -> bool | None:
    """
    Tell whether the charges of a composition can balance, by SMACT's rules.

    Some combination of known oxidation states is neutral, with cations less electronegative than
    anions; single elements and alloys of metals alone are valid.

    Parameters
    ----------
    structure_or_composition
        A structure, a composition or a formula.
    electronegativity_order
        Whether cations have to be less electronegative than anions.

    Returns
    -------
    bool or None
        None where SMACT cannot say: nothing at all, fractional amounts, elements it does not
        know, or more than 100,000 combinations of oxidation states.
    """
    composition = _whole(structure_or_composition)
    if composition is None:
        return None
    return _smact_validity(composition.reduced_formula, electronegativity_order)


def oxidation_states(
    structure_or_composition: Structure | Composition | str,
) -> dict[str, float] | None:
    """
    Guess the oxidation states of a composition from how often each is found in crystals.

    Parameters
    ----------
    structure_or_composition
        A structure, a composition or a formula.

    Returns
    -------
    dict or None
        The likeliest that balance, by element, averaged over its sites. None where none balance,
        or where pymatgen cannot say: nothing at all, fractional amounts, or too many
        combinations for it (20,000 sites in all of them).
    """
    composition = _whole(structure_or_composition)
    return None if composition is None else _oxidation_states(composition.reduced_formula)


def _whole(structure_or_composition: Structure | Composition | str) -> Composition | None:
    """Return the composition by element if it has one, of whole numbers."""
    if isinstance(structure_or_composition, Structure):
        structure_or_composition = structure_or_composition.composition
    composition = Composition(structure_or_composition)
    if _dummies(composition):
        return None
    composition = composition.element_composition
    if not composition or any(amount != int(amount) for amount in composition.values()):
        return None
    return composition


def _dummies(composition: Composition) -> list[str]:
    return sorted(str(kind) for kind in composition if isinstance(kind, DummySpecies))


@lru_cache(maxsize=100_000)
def _smact_validity(reduced_formula: str, electronegativity_order: bool) -> bool | None:
    screening = import_extra("smact.screening", "screen", "the validity of compositions")
    composition = Composition(reduced_formula)
    states = _numbers_of_states()
    if math.prod(states.get(str(el), 1) for el in composition) > MAX_CHARGE_COMBINATIONS:
        return None
    # SMACT raises errors of many kinds (NameError, TypeError, ...) for elements it lacks.
    try:
        return bool(screening.smact_validity(composition, electronegativity_order))
    except Exception:  # noqa: BLE001
        return None


@lru_cache(maxsize=1)
def _numbers_of_states() -> dict[str, int]:
    """Return how many oxidation states SMACT tries for each element."""
    oxidation = import_extra("smact.utils.oxidation", "screen", "the validity of compositions")
    table = oxidation.ICSD24OxStatesFilter().filter(consensus=3, include_zero=False)
    return {
        row.element: len(str(row.oxidation_state).split()) for row in table.itertuples(index=False)
    }


@lru_cache(maxsize=100_000)
def _oxidation_states(reduced_formula: str) -> dict[str, float] | None:
    composition = Composition(reduced_formula)
    charged, sums = [], []
    for element, amount in composition.items():
        states = _common_states(str(element))
        if not states:
            return None
        # pymatgen tries all ways to give the states to the sites, then all sums of charges
        ways = math.comb(int(amount) + len(states) - 1, len(states) - 1)
        charged.append(ways * int(amount))
        sums.append(min(ways, int(amount) * (max(states) - min(states)) + 1))
    if sum(charged) > MAX_CHARGED_SITES or math.prod(sums) > MAX_CHARGE_COMBINATIONS:
        return None
    try:
        guesses = composition.oxi_state_guesses()
    except (ValueError, KeyError):
        return None
    return {str(el): float(state) for el, state in guesses[0].items()} if guesses else None


def _common_states(symbol: str) -> tuple[int, ...]:
    element = Element(symbol)
    return tuple(element.icsd_oxidation_states or element.common_oxidation_states)

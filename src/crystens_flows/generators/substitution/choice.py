"""Which templates and which elements in their roles meet conditions, and how likely each is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from crystens_flows.errors import InputError
from crystens_flows.generators.elements import MAX_ELEMENTS
from crystens_flows.generators.substitution.ions import IonTable
from crystens_flows.generators.substitution.templates import Crystals, Pattern, Roles, pattern_of

if TYPE_CHECKING:
    from crystens_flows.generators.conditions import Conditions

SHARPNESS = 2.0
"""
Choices are drawn by their likelihood to this power. Of 450 validation crystals, one draw of their
formula matches 45.3 % at 1, 49.3 % at 2 and 50.4 % at 4, where next to nothing is left to draw.
"""


@dataclass(frozen=True)
class Choices:
    """
    Templates with ions to be put in their roles.

    Parameters
    ----------
    templates
        Number of the template, shape (n,).
    ions
        Place of the ion of each role in the table, 0 for no role, shape (n, 9).
    weights
        With which they are drawn, shape (n,).
    """

    templates: np.ndarray
    ions: np.ndarray
    weights: np.ndarray


def possible_templates(conditions: Conditions, crystals: Crystals) -> np.ndarray:
    """
    Find the templates that have the number of sites and the space group asked for.

    Parameters
    ----------
    conditions
        What is asked for.
    crystals
        The templates.

    Returns
    -------
    numpy.ndarray
        Whether each has them, shape (n,).

    Raises
    ------
    InputError
        If none has.
    """
    possible = np.ones(len(crystals), dtype=bool)
    if conditions.n_sites is not None:
        possible &= crystals.n_sites == conditions.n_sites
    if conditions.space_group is not None:
        possible &= crystals.space_groups == conditions.space_group
    if not possible.any():
        raise InputError(f"no template{_restrictions(conditions)}: {_REMEDY}")
    return possible


def choices(conditions: Conditions, crystals: Crystals, roles: Roles, table: IonTable) -> Choices:
    """
    Find all ways to put the elements asked for in the roles of templates.

    Where charges of the elements balance, templates in which they do are taken, and where they
    do not, those in which they do not; the others only where there are none. Of the compositions
    of a chemical system those with charges that balance are preferred. A template is never left
    as it is.

    Parameters
    ----------
    conditions
        With a formula or a chemical system.
    crystals, roles
        The templates.
    table
        How likely an ion stands for another.

    Returns
    -------
    Choices
        At least one.

    Raises
    ------
    InputError
        If there is no template for what is asked.
    """
    possible = possible_templates(conditions, crystals)
    arranged = _arrangements(conditions, roles)
    for as_ions in (True, False):
        found = [
            each
            for pattern, elements in arranged.items()
            for each in _scored(pattern, elements, possible, roles, table, as_ions)
        ]
        if found:
            break
    else:
        raise InputError(_why_not(conditions, arranged, possible, roles))
    if any(charged for *_, charged in found):
        found = [each for each in found if each[-1]]
    templates, ions, scores = (np.concatenate([each[k] for each in found]) for k in range(3))
    return Choices(templates, ions, np.exp(SHARPNESS * (scores - scores.max())))


def _arrangements(conditions: Conditions, roles: Roles) -> dict[Pattern, np.ndarray]:
    """Return the elements of each role in all ways that give what is asked, by pattern."""
    if conditions.formula is not None:
        unit = conditions.compositions[0]
        pattern = pattern_of(list(unit.values()))
        if pattern not in roles.by_pattern:
            return {}
        atoms = {z: n // (sum(unit.values()) // sum(pattern)) for z, n in unit.items()}
        ways = [
            way
            for way in permutations(atoms)
            if all(atoms[z] == n for z, n in zip(way, pattern, strict=True))
        ]
        return {pattern: np.array(ways)}
    ways = list(permutations(conditions.elements))
    fitting = [p for p in roles.by_pattern if len(p) == len(conditions.elements)]
    return {pattern: np.array(ways) for pattern in fitting}


def _scored(
    pattern: Pattern,
    elements: np.ndarray,
    possible: np.ndarray,
    roles: Roles,
    table: IonTable,
    as_ions: bool,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, bool]]:
    """Return templates, ions and log-likelihoods for compositions with charges and without."""
    rows = roles.by_pattern[pattern]
    rows = rows[possible[rows]]
    if len(rows) == 0:
        return []
    n = len(pattern)
    placed = _ions(pattern, elements, table)
    charged = (placed != elements).any(1)
    present = roles.ions[rows, :n]
    unchanged = (table.numbers[present][None] == elements[:, None]).all(-1)
    if as_ions:
        fits = ~unchanged & (charged[:, None] == roles.charged[rows])
    else:
        placed, present, fits = elements, table.numbers[present], ~unchanged
    padded = np.zeros((len(elements), MAX_ELEMENTS), dtype=np.int64)
    padded[:, :n] = placed
    found = []
    for balanced in (True, False):
        way, row = np.nonzero(fits & (charged[:, None] == balanced))
        if len(way):
            score = np.log(table.conditional[placed[way], present[row]]).sum(1)
            found.append((rows[row], padded[way], score, balanced))
    return found


def _ions(pattern: Pattern, elements: np.ndarray, table: IonTable) -> np.ndarray:
    """Return the ion of each element in each arrangement; without charge where none balance."""
    numbers = tuple(sorted(set(elements[0].tolist())))
    counts = np.zeros((len(elements), len(numbers)), dtype=np.int64)
    column = np.searchsorted(numbers, elements)
    np.put_along_axis(counts, column, np.broadcast_to(pattern, column.shape), axis=1)
    found = table.neutral(numbers, counts)
    return np.array(
        [
            way if ions is None else ions[place]
            for way, ions, place in zip(elements, found, column, strict=True)
        ]
    )


_REMEDY = (
    "ask for less, sample from '--generator default', or train '--generator substitution' on data "
    "that have one"
)


def _restrictions(conditions: Conditions) -> str:
    parts = []
    if conditions.n_sites is not None:
        parts.append(f"with {conditions.n_sites} sites")
    if conditions.space_group is not None:
        parts.append(f"in space group {conditions.space_group}")
    return f" {' '.join(parts)}" if parts else ""


def _why_not(
    conditions: Conditions, arranged: dict[Pattern, np.ndarray], possible: np.ndarray, roles: Roles
) -> str:
    if conditions.formula is not None:
        unit = list(conditions.compositions[0].values())
        what = f"pattern {pattern_name(pattern_of(unit))} of {conditions.formula}"
    else:
        what = f"{len(conditions.elements)} elements of {conditions.chemical_system}"
    itself = any(possible[roles.by_pattern[pattern]].any() for pattern in arranged)
    but = " but crystals of that composition itself" if itself else ""
    return f"no template has the {what}{_restrictions(conditions)}{but}: {_REMEDY}"


def pattern_name(pattern: Pattern) -> str:
    """Write a pattern as crystallographers do: ABC3."""
    letters = "ABCDEFGHI"
    return "".join(
        f"{letter}{count if count > 1 else ''}"
        for letter, count in zip(letters, pattern, strict=False)
    )

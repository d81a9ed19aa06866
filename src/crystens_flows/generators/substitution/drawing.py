"""Substitutions drawn by their probability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from crystens_flows.errors import InputError
from crystens_flows.generators.elements import MAX_ELEMENTS
from crystens_flows.generators.substitution.choice import Choices
from crystens_flows.generators.substitution.ions import IonTable
from crystens_flows.generators.substitution.templates import Roles

DRAWS = 64
"""Substitutions drawn at once for a template, of which the first that may be is taken."""

MAX_TEMPLATES = 1000
"""Templates tried for a sample."""


@dataclass(frozen=True)
class Substitution:
    """
    A template and the ions that take the roles in it.

    Parameters
    ----------
    template
        Number of the template.
    ions
        Place of the ion of each role in the table of ions, 0 for no role, shape (9,).
    """

    template: int
    ions: np.ndarray


Holds = Callable[[Substitution], bool]
"""Whether a substitution keeps what was asked for."""


def draw(
    rows: np.ndarray,
    roles: Roles,
    table: IonTable,
    stream: np.random.Generator,
    holds: Holds | None = None,
) -> Substitution:
    """
    Draw a template, each as likely as any other, and ions for it by their probability.

    Ions are drawn for each role by itself, again and again until charges sum to what they did, no
    element stands in two roles, and the composition is another. A template for which none of 64
    draws does is given up for another.

    Parameters
    ----------
    rows
        Templates that may be drawn.
    roles
        The ions in them.
    table
        How likely an ion stands for another.
    stream
        Source of the draws.
    holds
        Whether a substitution keeps what was asked for; all do if None.

    Returns
    -------
    Substitution
        The one drawn.

    Raises
    ------
    InputError
        If 1,000 templates were given up.
    """
    for _ in range(MAX_TEMPLATES):
        template = int(rows[stream.integers(len(rows))])
        n = int((roles.ions[template] > 0).sum())
        old, counts = roles.ions[template, :n], roles.counts[template, :n].astype(np.int64)
        draws = stream.random((DRAWS, n))
        drawn = np.column_stack(
            [
                np.searchsorted(table.drawable[ion], column, side="right")
                for ion, column in zip(old, draws.T, strict=True)
            ]
        )
        drawn = drawn[(drawn < len(table.numbers)).all(1)]
        charge = table.charges.astype(np.int64)
        drawn = drawn[charge[drawn] @ counts == charge[old] @ counts]
        for ions in drawn:
            made = _another(template, ions, old, counts, table)
            if made is not None and (holds is None or holds(made)):
                return made
    raise InputError(
        f"no likely substitution was found in {MAX_TEMPLATES} draws from {len(rows)} templates: "
        "ask for less, or sample from '--generator default'"
    )


def _another(
    template: int, ions: np.ndarray, old: np.ndarray, counts: np.ndarray, table: IonTable
) -> Substitution | None:
    """Return a substitution if each role has an element of its own and the formula is another."""
    new, before = table.numbers[ions], table.numbers[old]
    if len(set(new.tolist())) < len(new):
        return None
    if dict(zip(new, counts, strict=True)) == dict(zip(before, counts, strict=True)):
        return None
    padded = np.zeros(MAX_ELEMENTS, dtype=np.int64)
    padded[: len(ions)] = ions
    return Substitution(template, padded)


def draw_from(
    found: Choices, stream: np.random.Generator, holds: Holds | None = None
) -> Substitution:
    """
    Draw one of several choices by their weights.

    Parameters
    ----------
    found
        Templates with ions for them.
    stream
        Source of the draws.
    holds
        Whether a substitution keeps what was asked for; all do if None.

    Returns
    -------
    Substitution
        The first drawn that does, without drawing any twice.

    Raises
    ------
    InputError
        If none does.
    """
    weights = found.weights.copy()
    while (total := weights.sum()) > 0:
        cumulative = np.cumsum(weights)
        k = int(np.searchsorted(cumulative, stream.random() * total, side="right"))
        k = min(k, int(np.flatnonzero(weights)[-1]))
        made = Substitution(int(found.templates[k]), found.ions[k])
        if holds is None or holds(made):
            return made
        weights[k] = 0
    raise InputError(
        "no template keeps the space group asked for at the volume of the new elements: ask "
        "without, or sample from '--generator default'"
    )

"""The plane-wave cutoff that the PAW setups of GPAW need, by element, as measured."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

PAPER_CUTOFF = 400.0
"""The cutoff of the paper's relaxations, eV."""

MEASURED = (400.0, 500.0, 600.0, 700.0, 800.0)
"""The cutoffs that were measured, eV."""

TOLERANCE = 0.001
"""
At its cutoff, an element's crystals have their lattice constants within 0.1 % of the converged one.

As a pressure this is 0.003 bulk moduli: 3 kbar for 100 GPa, 1.5 kbar for NaF, 5 kbar for MgO. So
far off zero may the true pressure be when that of the relaxation is zero.
"""

MAX_CORRECTION = 0.015
"""
The fixed set of plane waves alone has it within so much: the correction is known to some 5 %.
"""

FILE = Path(__file__).with_name("gpaw_cutoffs.json")


@dataclass(frozen=True)
class Cutoff:
    """
    The cutoff that a crystal needs.

    Parameters
    ----------
    cutoff
        In eV, not below the paper's.
    raised_for
        Elements that need more than the paper's cutoff.
    unmeasured
        Elements of whose setups nothing is known; the highest measured cutoff is taken for them.
    """

    cutoff: float
    raised_for: list[str] = field(default_factory=list)
    unmeasured: list[str] = field(default_factory=list)


@cache
def cutoff_table() -> dict[str, Any]:
    """
    Return the table that ships.

    Returns
    -------
    dict
        With ``elements``, the cutoff of each and the crystals it was measured on, ``crystals``,
        the errors of these, and how they were measured.
    """
    table: dict[str, Any] = json.loads(FILE.read_text())
    return table


def needed_cutoff(elements: Iterable[str]) -> Cutoff:
    """
    Return the cutoff for a crystal of some elements: the highest that one of them needs.

    Parameters
    ----------
    elements
        Symbols.

    Returns
    -------
    Cutoff
        The cutoff, and why it is more than the paper's.
    """
    known = cutoff_table()["elements"]
    needs = {
        element: known[element]["cutoff"] if element in known else None
        for element in sorted(set(elements))
    }
    highest = max(MEASURED)
    return Cutoff(
        cutoff=max([PAPER_CUTOFF, *(highest if need is None else need for need in needs.values())]),
        raised_for=[e for e, need in needs.items() if need is not None and need > PAPER_CUTOFF],
        unmeasured=[e for e, need in needs.items() if need is None],
    )

"""Compositions and energies as users give them, taken apart and checked."""

from __future__ import annotations

import math
import re
import warnings
from collections import defaultdict
from functools import lru_cache

from pymatgen.core import Composition, DummySpecies, Element

_NUMBERS = {Element.from_Z(z).symbol: z for z in range(1, 119)}
_PLAIN = re.compile(r"(?:[A-Z][a-z]?[0-9]{0,6})+")
_PART = re.compile(r"([A-Z][a-z]?)([0-9]*)")


@lru_cache(maxsize=10_000)
def chemical_system(numbers: tuple[int, ...]) -> str:
    """Write elements in alphabetic order, joined by hyphens."""
    return "-".join(sorted(Element.from_Z(z).symbol for z in numbers))


def read_composition(
    composition: Composition | str | None,
) -> tuple[list[int], list[float], str | None]:
    """
    Take the elements of a composition apart.

    Parameters
    ----------
    composition
        A formula, or pymatgen's class; oxidation states and isotopes are left out.

    Returns
    -------
    tuple
        The atomic numbers in ascending order, the fraction of atoms of each, and the reason why
        there are none, or None.
    """
    if isinstance(composition, str) and _PLAIN.fullmatch(composition):
        # what pymatgen would find, ten times faster
        parts = _PART.findall(composition)
        if all(symbol in _NUMBERS and int(count or 1) > 0 for symbol, count in parts):
            plain: dict[int, int] = defaultdict(int)
            for symbol, count in parts:
                plain[_NUMBERS[symbol]] += int(count or 1)
            whole = sum(plain.values())
            numbers = sorted(plain)
            return numbers, [plain[z] / whole for z in numbers], None
    try:
        amounts: dict[int, float] = defaultdict(float)
        parsed = composition
        if not isinstance(parsed, Composition):
            parsed = Composition(parsed or {})
        for species, amount in parsed.items():
            if isinstance(species, DummySpecies):
                return [], [], f"no composition: {composition!r} ({species} is no element)"
            if amount:
                amounts[int(species.Z)] += float(amount)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as exc:
        particulars = " ".join(str(exc).split())[:100]
        return [], [], f"no composition: {composition!r} ({particulars})"
    total = sum(amounts.values())
    if not (0 < total < math.inf):
        return [], [], f"no composition: {composition!r} holds no atoms"
    numbers = sorted(amounts)
    return numbers, [amounts[z] / total for z in numbers], None


def read_energy(energy: float | str | None) -> tuple[float | None, str | None]:
    """Return a finite energy and None, or None and the reason why there is none."""
    if energy is None or (isinstance(energy, str) and not energy.strip()):
        return None, "no energy: it is missing"
    try:
        value = float(energy)
    except (TypeError, ValueError):
        return None, f"no energy: {energy!r} is no number"
    if not math.isfinite(value):
        return None, f"no energy: {value} is not finite"
    return value, None


def reduced_formula(composition: Composition) -> str:
    """Write the reduced formula without oxidation states."""
    with warnings.catch_warnings():
        # noble gases have no electronegativity to order by; nobody can mend that
        warnings.simplefilter("ignore")
        return composition.element_composition.reduced_formula


@lru_cache(maxsize=118)
def element_formula(number: int) -> str:
    """Write an element as a phase, e.g. ``"O2"``."""
    return reduced_formula(Composition({Element.from_Z(number): 1}))

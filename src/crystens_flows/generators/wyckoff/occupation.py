"""Which Wyckoff positions can hold a composition."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from crystens_flows.generators.wyckoff.positions import LETTERS, space_group


@lru_cache(maxsize=230)
def _places(number: int) -> tuple[tuple[int, bool], ...]:
    """Return multiplicity and whether there is freedom for each letter of a space group."""
    return tuple((p.multiplicity, p.freedom > 0) for p in space_group(number).positions)


@lru_cache(maxsize=1 << 20)
def _holds(number: int, counts: tuple[int, ...], used: int, lowest: int) -> bool:
    if not counts:
        return True
    here, later = counts[0], counts[1:]
    if here == 0:
        return _holds(number, later, used, 0)
    places = _places(number)
    for letter in range(len(places) - 1, lowest - 1, -1):  # the general position most often does
        multiplicity, free = places[letter]
        if multiplicity > here or (not free and used >> letter & 1):
            continue
        taken = used if free else used | 1 << letter
        if _holds(number, (here - multiplicity, *later), taken, lowest):
            return True
    return False


def can_hold(number: int, counts: tuple[int, ...]) -> bool:
    """
    Tell whether a space group can hold so many atoms of each element in its primitive cell.

    Parameters
    ----------
    number
        Space group number.
    counts
        Atoms of each element in the primitive cell.

    Returns
    -------
    bool
        Whether there is an assignment of Wyckoff positions; positions without freedom hold one
        orbit at most.
    """
    return _holds(number, tuple(sorted(counts)), 0, 0)


def allowed_letters(
    number: int, letters: list[int], count: int, later: tuple[int, ...], lowest: int
) -> np.ndarray:
    """
    Mark the letters that the next orbit may take.

    Parameters
    ----------
    number
        Space group number.
    letters
        Letters of all orbits so far.
    count
        Atoms of the element at hand that have no place yet, at least 1.
    later
        Atoms of each element that follows.
    lowest
        First letter that may be taken: that of the last orbit of the same element, else 0.

    Returns
    -------
    numpy.ndarray
        bool of shape (27,); those with which all atoms find a place.
    """
    allowed = np.zeros(len(LETTERS), dtype=bool)
    places = _places(number)
    used = sum(1 << k for k in set(letters) if not places[k][1])
    for letter in range(lowest, len(places)):
        multiplicity, free = places[letter]
        if multiplicity > count or (not free and used >> letter & 1):
            continue
        taken = used if free else used | 1 << letter
        allowed[letter] = _holds(number, (count - multiplicity, *later), taken, letter)
    return allowed

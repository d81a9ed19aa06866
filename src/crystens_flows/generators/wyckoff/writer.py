"""What may follow in a specification that is being written, under conditions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from crystens_flows.generators.conditions import Conditions
from crystens_flows.generators.elements import MAX_ELEMENTS, MAX_Z, electronegativity_order
from crystens_flows.generators.wyckoff.occupation import allowed_letters, can_hold
from crystens_flows.generators.wyckoff.positions import first_position_numbers, space_group
from crystens_flows.generators.wyckoff.sentences import (
    END,
    FIRST_COUNT,
    FIRST_ELEMENT,
    FIRST_GROUP,
    FIRST_POSITION,
    VOCABULARY,
    Specification,
)
from crystens_flows.representation import MAX_SITES


@dataclass
class Writer:
    """
    One specification as it is written: what has been said, and what may follow.

    Parameters
    ----------
    conditions
        Conditions.
    composition_first
        Whether the composition comes before the space group.
    """

    conditions: Conditions
    composition_first: bool
    counts: dict[int, int] = field(default_factory=dict)
    element: int = 0
    ended: bool = False
    group: int = 0
    numbers: list[int] = field(default_factory=list)
    letters: list[int] = field(default_factory=list)
    stuck: bool = False

    @property
    def placing(self) -> bool:
        """Whether composition and space group are written, so that orbits follow."""
        return self.ended and self.group > 0

    def next_orbit(self) -> tuple[int, int]:
        """Return the element of the orbit that comes next and its atoms without a place."""
        left = self._left()
        return next(((z, n) for z, n in left.items() if n), (0, 0))

    def _left(self) -> dict[int, int]:
        table = _multiplicities(self.group)
        left = dict(self.counts)
        for z, letter in zip(self.numbers, self.letters, strict=True):
            left[z] -= table[letter]
        return left

    @property
    def done(self) -> bool:
        """Whether nothing is left to write."""
        return self.stuck or (self.placing and self.next_orbit()[0] == 0)

    def words(self) -> np.ndarray:
        """Mark the words that may follow, bool of shape (VOCABULARY,)."""
        allowed = np.zeros(VOCABULARY, dtype=bool)
        if self.group == 0 and (not self.composition_first or self.ended):
            wanted = self.conditions.space_group
            allowed[FIRST_GROUP:] = wanted is None
            if wanted is not None:
                allowed[FIRST_GROUP + wanted - 1] = True
        elif self.element:
            allowed[FIRST_COUNT:FIRST_GROUP] = self._may_count()
        else:
            allowed[FIRST_ELEMENT:FIRST_COUNT] = self._may_follow()
            allowed[END] = self._may_end()
        return allowed

    def _total(self) -> int:
        return sum(self.counts.values())

    def _may_end(self) -> bool:
        wanted, size = self.conditions.elements, self.conditions.n_sites
        return bool(
            self.counts
            and (not wanted or len(self.counts) == len(wanted))
            and (size is None or self._total() == size)
        )

    def _may_follow(self) -> np.ndarray:
        may = np.zeros(MAX_Z, dtype=bool)
        wanted, size = self.conditions.elements, self.conditions.n_sites or MAX_SITES
        if len(self.counts) == MAX_ELEMENTS or self._total() >= size:
            return may
        if wanted:
            if len(self.counts) < len(wanted):
                may[wanted[len(self.counts)] - 1] = True
            return may
        order = electronegativity_order()
        lowest = order[list(self.counts)[-1]] if self.counts else 0
        return order[1:] > lowest

    def _may_count(self) -> np.ndarray:
        may = np.zeros(MAX_SITES, dtype=bool)
        wanted, size = self.conditions.elements, self.conditions.n_sites
        to_come = max(0, len(wanted) - len(self.counts) - 1)
        most = (size or MAX_SITES) - self._total() - to_come
        may[: max(most, 0)] = True
        last = len(self.counts) + 1 == (len(wanted) or MAX_ELEMENTS)
        last |= electronegativity_order()[self.element] == MAX_Z
        if last and size is not None:
            may[: most - 1] = False
        if self.group:
            counts = tuple(self.counts.values())
            may[may] = [can_hold(self.group, (*counts, int(n) + 1)) for n in np.flatnonzero(may)]
        return may

    def orbits(self) -> np.ndarray:
        """Mark the letters that the next orbit may have, bool of shape (27,)."""
        z, count = self.next_orbit()
        lowest = self.letters[-1] if self.numbers and self.numbers[-1] == z else 0
        later = tuple(n for y, n in self._left().items() if y != z and n)
        return allowed_letters(self.group, self.letters, count, later, lowest)

    def write(self, word: int) -> int | None:
        """
        Write a word or, once orbits are placed, a letter.

        Returns
        -------
        int or None
            The token; None if the word cannot be, which then must be drawn anew.
        """
        if self.placing:
            self.numbers.append(self.next_orbit()[0])
            self.letters.append(word)
            return FIRST_POSITION + int(first_position_numbers()[self.group]) + word
        if word >= FIRST_GROUP:
            group = word - FIRST_GROUP + 1
            if self.ended and not can_hold(group, tuple(self.counts.values())):
                return None
            self.group = group
        elif word >= FIRST_COUNT:
            self.counts[self.element] = word - FIRST_COUNT + 1
            self.element = 0
        elif word == END:
            self.ended = True
        else:
            self.element = word - FIRST_ELEMENT + 1
        return word

    def specification(self) -> Specification:
        """Return what was written."""
        return Specification(self.group, tuple(self.numbers), tuple(self.letters))


def _multiplicities(number: int) -> list[int]:
    return [position.multiplicity for position in space_group(number).positions]

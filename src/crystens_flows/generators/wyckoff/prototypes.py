"""Known crystals as structure types that other elements may take."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, permutations

import numpy as np

from crystens_flows.generators.elements import electronegativity_order
from crystens_flows.generators.wyckoff.crystal import (
    SymmetricCrystal,
    canonical,
    free_of_first,
    letter_permutations,
)
from crystens_flows.generators.wyckoff.positions import space_group
from crystens_flows.generators.wyckoff.sentences import composition

MAX_ASSIGNMENTS = 24
"""Most ways in which the elements of a formula take the roles of one known crystal."""

FIXED_POINT = 1 << 20
"""Free coordinates are stored as whole multiples of one part in so many of a cell edge."""

Formula = tuple[tuple[int, ...], tuple[int, ...]]
"""Elements of a reduced formula in order of electronegativity, and their counts."""

Key = tuple[int, tuple[tuple[int, int], ...]]
"""Space group, and for each orbit the place of its element in the formula and its letter."""


@dataclass(frozen=True)
class Candidates:
    """
    Known crystals that a formula may be arranged like, and how.

    Parameters
    ----------
    crystals
        Number of the known crystal, int64 of shape (n,).
    roles
        Which of its elements, in order of electronegativity, each element of the formula stands
        for, int64 of shape (n, elements).
    types
        Number of the structure type that results, int64 of shape (n,); equal for equal types.
    formulas
        Number of the formula of the known crystal, int64 of shape (n,).
    groups, sites
        Space group and sites of the primitive cell of each, int64 of shape (n,).
    """

    crystals: np.ndarray
    roles: np.ndarray
    types: np.ndarray
    formulas: np.ndarray
    groups: np.ndarray
    sites: np.ndarray

    def __len__(self) -> int:
        return len(self.crystals)


@cache
def _letter_rows(number: int) -> np.ndarray:
    return np.unique(letter_permutations(number), axis=0)


def type_of(crystal: SymmetricCrystal, elements: Sequence[int]) -> Key:
    """
    Name the structure type of a crystal, with its elements in a given order.

    Parameters
    ----------
    crystal
        The crystal.
    elements
        Its atomic numbers, in the order of the formula that takes its arrangement.

    Returns
    -------
    tuple
        The same for crystals that differ in elements and geometry alone.
    """
    place = {z: k for k, z in enumerate(elements)}
    rank = np.array([place[z] for z in crystal.numbers.tolist()])
    spellings = []
    for row in _letter_rows(crystal.number):
        letters = row[crystal.letters]
        order = np.lexsort((letters, rank))
        spellings.append(tuple(zip(rank[order].tolist(), letters[order].tolist(), strict=True)))
    return crystal.number, min(spellings)


class Prototypes:
    """
    Known crystals, found by the counts of their formulas.

    They are kept as arrays, as they are stored with weights, and made when they are asked for.

    Parameters
    ----------
    arrays
        ``groups`` and ``orbits`` (space group and number of orbits of each crystal, shape (n,)),
        ``lattices`` (parameters in Angstrom and degrees, (n, 6)), and of all orbits one after the
        other ``numbers``, ``letters``, ``multiplicities`` and ``free`` (free coordinates of the
        first site in fixed point, shape (orbits, 3)).
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = dict(arrays)
        self._ends = np.cumsum(self.arrays["orbits"])
        self._made: dict[int, SymmetricCrystal] = {}
        self._found: dict[tuple[int, ...], Candidates] = {}
        self._types: dict[Key, int] = {}
        self._formulas: dict[Formula, int] = {}
        self._by_counts: dict[tuple[int, ...], list[int]] = defaultdict(list)
        self.elements: list[tuple[int, ...]] = []
        self.counts: list[tuple[int, ...]] = []
        order = electronegativity_order().tolist()
        numbers = self.arrays["numbers"].tolist()
        multiplicities = self.arrays["multiplicities"].tolist()
        first = 0
        for k, end in enumerate(self._ends.tolist()):
            atoms: dict[int, int] = defaultdict(int)
            for z, size in zip(numbers[first:end], multiplicities[first:end], strict=True):
                atoms[z] += size
            first = end
            elements = tuple(sorted(atoms, key=order.__getitem__))
            units = math.gcd(*atoms.values())
            self.elements.append(elements)
            self.counts.append(tuple(atoms[z] // units for z in elements))
            self._by_counts[tuple(sorted(self.counts[k]))].append(k)
            self._formulas.setdefault((elements, self.counts[k]), len(self._formulas))

    @classmethod
    def of(cls, crystals: Sequence[SymmetricCrystal]) -> Prototypes:
        """Keep crystals."""
        free = [np.round(free_of_first(crystal) * FIXED_POINT) for crystal in crystals]
        together = {
            name: np.concatenate([getattr(crystal, name) for crystal in crystals]).astype(np.uint8)
            for name in ("numbers", "letters", "multiplicities")
        }
        return cls(
            {
                "groups": np.array([crystal.number for crystal in crystals]),
                "orbits": np.array([len(crystal.numbers) for crystal in crystals]),
                "lattices": np.array([crystal.lattice for crystal in crystals], dtype=np.float32),
                "free": np.concatenate(free).astype(np.int32),
                **together,
            }
        )

    def __len__(self) -> int:
        return len(self._ends)

    def crystal(self, k: int) -> SymmetricCrystal:
        """Make a crystal."""
        if k not in self._made:
            number = int(self.arrays["groups"][k])
            rows = slice(self._ends[k] - self.arrays["orbits"][k], self._ends[k])
            letters = self.arrays["letters"][rows].astype(np.int64)
            positions = [space_group(number).positions[letter] for letter in letters]
            free = self.arrays["free"][rows] / FIXED_POINT
            self._made[k] = SymmetricCrystal(
                number,
                self.arrays["numbers"][rows].astype(np.int64),
                letters,
                np.array(
                    [
                        position.offset + position.basis @ each[: position.freedom]
                        for position, each in zip(positions, free, strict=True)
                    ]
                ),
                self.arrays["lattices"][k].astype(float),
            )
        return self._made[k]

    def formula_number(self, elements: Sequence[int], counts: Sequence[int]) -> int:
        """Return the number of a reduced formula, -1 if no crystal has it."""
        return self._formulas.get((tuple(elements), tuple(counts)), -1)

    def type_number(self, crystal: SymmetricCrystal) -> int:
        """Give the structure type of a crystal a number, elements by electronegativity."""
        elements = tuple(composition(crystal.numbers, crystal.multiplicities))
        return self._number(type_of(crystal, elements))

    def _number(self, key: Key) -> int:
        return self._types.setdefault(key, len(self._types))

    def candidates(self, counts: tuple[int, ...]) -> Candidates:
        """
        Find the crystals whose arrangement a formula may take.

        Parameters
        ----------
        counts
            Atoms of each element in the reduced formula, in order of electronegativity.

        Returns
        -------
        Candidates
            All crystals with the same counts, once for each way to assign the elements.
        """
        if counts not in self._found:
            rows = [
                (k, roles, self._number(type_of(self.crystal(k), self._in_order(k, roles))))
                for k in self._by_counts.get(tuple(sorted(counts)), ())
                for roles in _assignments(self.counts[k], counts)
            ]
            chosen = np.array([k for k, _, _ in rows], dtype=np.int64)
            self._found[counts] = Candidates(
                chosen,
                np.array([r for _, r, _ in rows], dtype=np.int64).reshape(-1, len(counts)),
                np.array([t for _, _, t in rows], dtype=np.int64),
                np.array(
                    [self.formula_number(self.elements[k], self.counts[k]) for k in chosen],
                    dtype=np.int64,
                ),
                self.arrays["groups"][chosen],
                np.array([self._sites(k) for k in chosen], dtype=np.int64),
            )
        return self._found[counts]

    def _sites(self, k: int) -> int:
        end = self._ends[k]
        return int(self.arrays["multiplicities"][end - self.arrays["orbits"][k] : end].sum())

    def _in_order(self, k: int, roles: Sequence[int]) -> tuple[int, ...]:
        return tuple(self.elements[k][role] for role in roles)

    def renamed(
        self, k: int, roles: Sequence[int], elements: Sequence[int]
    ) -> tuple[SymmetricCrystal, np.ndarray]:
        """
        Put other elements in the places of those of a known crystal.

        Parameters
        ----------
        k
            Number of the crystal.
        roles
            Which of its elements each of the new ones stands for.
        elements
            The new atomic numbers, in order of electronegativity.

        Returns
        -------
        tuple
            The crystal with new elements and its own lattice, in canonical order, and the atomic
            number that each of its orbits had, shape (orbits,).
        """
        crystal = self.crystal(k)
        new = dict(zip(self._in_order(k, roles), elements, strict=True))
        numbers = np.array([new[z] for z in crystal.numbers.tolist()])
        letters, firsts, order = canonical(
            crystal.group, numbers, crystal.letters, crystal.coordinates
        )
        made = SymmetricCrystal(crystal.number, numbers[order], letters, firsts, crystal.lattice)
        return made, crystal.numbers[order]


@cache
def _assignments(have: tuple[int, ...], want: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """List the orders of elements in which their counts are those that are wanted."""
    fitting = (p for p in permutations(range(len(want))) if tuple(have[k] for k in p) == want)
    return tuple(islice(fitting, MAX_ASSIGNMENTS))

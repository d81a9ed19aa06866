"""Crystals but for their geometry, written as words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crystens_flows.generators.elements import MAX_ELEMENTS, MAX_Z, electronegativity_order
from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal
from crystens_flows.generators.wyckoff.occupation import allowed_letters
from crystens_flows.generators.wyckoff.positions import LETTERS, first_position_numbers
from crystens_flows.representation import MAX_SITES

PAD, COMPOSITION_FIRST, GROUP_FIRST, END = range(4)
FIRST_ENERGY = 4
N_ENERGIES = 10
FIRST_GAP = FIRST_ENERGY + N_ENERGIES + 1
N_GAPS = 8
FIRST_ELEMENT = FIRST_GAP + N_GAPS + 1
FIRST_COUNT = FIRST_ELEMENT + MAX_Z
FIRST_GROUP = FIRST_COUNT + MAX_SITES
VOCABULARY = FIRST_GROUP + 230
FIRST_POSITION = VOCABULARY
MAX_TOKENS = 5 + 2 * MAX_ELEMENTS + MAX_SITES
"""Order, energy, gap, space group and end; elements with counts; and an orbit for each site."""


@dataclass(frozen=True)
class Specification:
    """
    All of a crystal but its geometry.

    Parameters
    ----------
    space_group
        Space group number.
    numbers
        Atomic number of each orbit.
    letters
        Number of the Wyckoff position of each orbit, 0 for ``a``.
    """

    space_group: int
    numbers: tuple[int, ...]
    letters: tuple[int, ...]


@dataclass
class Sentences:
    """
    Crystals as the specification model reads them, padded.

    Parameters
    ----------
    tokens
        int64 of shape (n, length).
    elements, remaining
        At each token, the element whose orbit comes next and how many of its atoms have no place
        yet; 0 where no orbit comes next. int64 of shape (n, length).
    letters
        Letter of the orbit that comes next, -1 where none does, int64 of shape (n, length).
    allowed
        Letters that this orbit could have, bool of shape (n, length, 27).
    """

    tokens: np.ndarray
    elements: np.ndarray
    remaining: np.ndarray
    letters: np.ndarray
    allowed: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    def of(self, rows: np.ndarray) -> Sentences:
        """Take some rows."""
        length = int((self.tokens[rows] != PAD).sum(1).max())
        return Sentences(
            *(
                getattr(self, name)[rows, :length]
                for name in ("tokens", "elements", "remaining", "letters", "allowed")
            )
        )


def composition(numbers: np.ndarray, multiplicities: np.ndarray) -> dict[int, int]:
    """Count the atoms of each element, elements in order of electronegativity."""
    order = electronegativity_order()
    elements = sorted(set(numbers.tolist()), key=lambda z: order[z])
    return {z: int(multiplicities[numbers == z].sum()) for z in elements}


def head(
    counts: dict[int, int], group: int, energy: int, gap: int, composition_first: bool
) -> list[int]:
    """
    Write all tokens before the orbits.

    Parameters
    ----------
    counts
        Atoms of each element, in order of electronegativity.
    group
        Space group number.
    energy, gap
        Classes of formation energy and band gap from 1, 0 for unknown.
    composition_first
        Whether the composition comes before the space group, or after it.

    Returns
    -------
    list of int
        Tokens.
    """
    middle = [FIRST_GROUP + group - 1]
    atoms = [t for z, n in counts.items() for t in (FIRST_ELEMENT + z - 1, FIRST_COUNT + n - 1)]
    atoms.append(END)
    first = COMPOSITION_FIRST if composition_first else GROUP_FIRST
    rest = atoms + middle if composition_first else middle + atoms
    return [first, FIRST_ENERGY + energy, FIRST_GAP + gap, *rest]


def sentences(
    crystals: Sequence[SymmetricCrystal],
    energies: Sequence[int],
    gaps: Sequence[int],
    composition_first: bool,
) -> Sentences:
    """
    Write crystals as tokens.

    Parameters
    ----------
    crystals
        The crystals, of at most `MAX_ELEMENTS` elements.
    energies, gaps
        Classes of formation energy and band gap from 1, 0 for unknown.
    composition_first
        Whether the composition comes before the space group, or after it.

    Returns
    -------
    Sentences
        Padded to the longest.
    """
    rows = []
    for crystal, energy, gap in zip(crystals, energies, gaps, strict=True):
        counts = composition(crystal.numbers, crystal.multiplicities)
        tokens = head(counts, crystal.number, energy, gap, composition_first)
        before = len(tokens) - 1
        elements, remaining = [0] * before, [0] * before
        letters: list[int] = [-1] * before
        allowed = [np.ones(len(LETTERS), dtype=bool)] * before
        left = dict(counts)
        done: list[int] = []
        first = int(first_position_numbers()[crystal.number])
        for k, (z, letter, size) in enumerate(
            zip(
                crystal.numbers.tolist(),
                crystal.letters.tolist(),
                crystal.multiplicities.tolist(),
                strict=True,
            )
        ):
            lowest = done[-1] if k and crystal.numbers[k - 1] == z else 0
            later = tuple(n for y, n in left.items() if y != z and n)
            allowed.append(allowed_letters(crystal.number, done, left[z], later, lowest))
            elements.append(z)
            remaining.append(left[z])
            letters.append(letter)
            left[z] -= size
            done.append(letter)
            tokens.append(FIRST_POSITION + first + letter)
        elements.append(0)
        remaining.append(0)
        letters.append(-1)
        allowed.append(np.ones(len(LETTERS), dtype=bool))
        rows.append((tokens, elements, remaining, letters, allowed))
    n, length = len(rows), max(len(row[0]) for row in rows)
    padded = Sentences(
        np.full((n, length), PAD),
        np.zeros((n, length), dtype=np.int64),
        np.zeros((n, length), dtype=np.int64),
        np.full((n, length), -1),
        np.ones((n, length, len(LETTERS)), dtype=bool),
    )
    for k, row in enumerate(rows):
        size = len(row[0])
        padded.tokens[k, :size], padded.elements[k, :size] = row[0], row[1]
        padded.remaining[k, :size], padded.letters[k, :size] = row[2], row[3]
        padded.allowed[k, :size] = row[4]
    return padded

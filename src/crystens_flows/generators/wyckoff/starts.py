"""Known crystals that the flow starts from, where there are any of the same structure type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal, free_of_first
from crystens_flows.generators.wyckoff.recall import Memory
from crystens_flows.generators.wyckoff.sentences import composition

MAX_STARTS = 4
"""Most known crystals that a flow to one crystal starts from in training, the likeliest."""


@dataclass(frozen=True)
class Start:
    """
    A known crystal with other elements in its places.

    Parameters
    ----------
    crystal
        With the new elements, and coordinates and lattice of the known crystal.
    sources
        Atomic number that each orbit had, shape (orbits,).
    """

    crystal: SymmetricCrystal
    sources: np.ndarray

    @cached_property
    def free(self) -> np.ndarray:
        """Free coordinates of the first sites, shape (orbits, 3)."""
        return free_of_first(self.crystal)


def known_lattices(starts: Sequence[Start | None]) -> np.ndarray:
    """Return lattice parameters of known crystals, of a cube where there is none, (n, 6)."""
    cube = np.array([5.0, 5.0, 5.0, 90.0, 90.0, 90.0])
    return np.array([cube if start is None else start.crystal.lattice for start in starts])


def reduced(counts: dict[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Divide a composition into its elements and their counts in the reduced formula."""
    units = int(np.gcd.reduce(list(counts.values())))
    return tuple(counts), tuple(n // units for n in counts.values())


def starts_of(memory: Memory, crystal: SymmetricCrystal) -> tuple[list[Start], np.ndarray]:
    """
    Find the known crystals of a crystal's structure type that are likeliest recalled.

    Parameters
    ----------
    memory
        The known crystals; those of the crystal's own formula are left out.
    crystal
        Its elements and letters; its geometry is not looked at.

    Returns
    -------
    tuple
        At most `MAX_STARTS`, and how likely each of them is, shape (starts,).
    """
    elements, counts = reduced(composition(crystal.numbers, crystal.multiplicities))
    wanted = memory.known.type_number(crystal)
    found, likely = memory.recall(elements, counts, type_number=wanted)
    best = np.argsort(-likely, kind="stable")[:MAX_STARTS]
    best = best[likely[best] > 0]
    starts = [
        Start(*memory.known.renamed(int(found.crystals[k]), found.roles[k].tolist(), elements))
        for k in best
    ]
    return starts, likely[best] / likely[best].sum() if len(best) else likely[best]

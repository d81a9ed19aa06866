"""Space groups: operations, Wyckoff positions and normalisers, in primitive cells."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

TABLE = Path(__file__).parent / "positions.json.gz"
LETTERS = "abcdefghijklmnopqrstuvwxyzA"
DENOMINATOR = 24
"""All translations and offsets of the tables are multiples of 1/24."""

PRIMITIVE_VECTORS = {
    "P": np.eye(3),
    "A": np.array([[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]]),
    "C": np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]]),
    "R": np.array([[2, -1, -1], [1, 1, -2], [1, 1, 1]]) / 3,
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
}
"""Primitive vectors in the conventional cell, as columns, by centring; those of spglib."""


@dataclass(frozen=True)
class WyckoffPosition:
    """
    A Wyckoff position of a space group, in fractional coordinates of the primitive cell.

    Parameters
    ----------
    letter
        Its letter in the International Tables.
    site_symmetry
        Symbol of the point group of a site.
    multiplicity
        Number of sites in the primitive cell.
    offset
        A point of the first site's subspace, shape (3,).
    projector
        Projector onto the directions in which the first site may move, shape (3, 3).
    basis
        Integer vectors that span the lattice of these directions, as columns, shape (3, freedom).
    operations
        For each site, the number of an operation of the group that carries the first site there,
        shape (multiplicity,).
    """

    letter: str
    site_symmetry: str
    multiplicity: int
    offset: np.ndarray
    projector: np.ndarray
    basis: np.ndarray
    operations: np.ndarray

    @property
    def freedom(self) -> int:
        """Number of free coordinates."""
        return self.basis.shape[1]


@dataclass(frozen=True)
class SpaceGroup:
    """
    A space group in spglib's standard setting, described in the primitive cell.

    Parameters
    ----------
    number
        Number in the International Tables.
    primitive
        Primitive lattice vectors in the conventional cell, as columns, shape (3, 3).
    rotations, translations
        Operations in fractional coordinates of the primitive cell, shapes (n, 3, 3) and (n, 3).
    positions
        Wyckoff positions by letter, the most special first.
    normaliser
        Rotations and translations that carry the group into itself and are not in it, one of each
        coset, the identity first; shapes (m, 3, 3) and (m, 3).
    polar
        Projector onto the directions in which the origin is free, shape (3, 3).
    """

    number: int
    primitive: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray
    positions: tuple[WyckoffPosition, ...]
    normaliser: tuple[np.ndarray, np.ndarray]
    polar: np.ndarray

    def site_of(self, letter: int, coordinates: np.ndarray) -> np.ndarray:
        """
        Apply the operations that make the orbit of a first site.

        Parameters
        ----------
        letter
            Number of the Wyckoff position.
        coordinates
            Of the first site, shape (3,).

        Returns
        -------
        numpy.ndarray
            Fractional coordinates in the primitive cell, shape (multiplicity, 3).
        """
        chosen = self.positions[letter].operations
        return (self.rotations[chosen] @ coordinates + self.translations[chosen]) % 1.0


@cache
def _table() -> list[dict[str, Any]]:
    with gzip.open(TABLE, "rt", encoding="ascii") as file:
        return json.load(file)


@cache
def space_group(number: int) -> SpaceGroup:
    """
    Look a space group up.

    Parameters
    ----------
    number
        1 to 230.

    Returns
    -------
    SpaceGroup
        In spglib's standard setting, that of the first Hall number of the group.
    """
    import spglib

    row = _table()[number - 1]
    symmetry: Any = spglib.get_symmetry_from_database(row["hall_number"])
    primitive = PRIMITIVE_VECTORS[row["centring"]]
    inverse = np.linalg.inv(primitive)
    rotations, translations = _distinct(
        inverse @ symmetry["rotations"] @ primitive, symmetry["translations"] @ inverse.T
    )
    positions = tuple(
        _position(entry, primitive, rotations, translations) for entry in row["positions"]
    )
    turns = inverse @ np.array([w for w, _ in row["normaliser"]], dtype=float) @ primitive
    shifts = np.array([w for _, w in row["normaliser"]]) / DENOMINATOR @ inverse.T
    return SpaceGroup(
        number,
        primitive,
        rotations,
        translations,
        positions,
        (turns, shifts % 1.0),
        rotations.mean(0),
    )


def _distinct(rotations: np.ndarray, translations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep one of the operations that differ by a translation of the primitive lattice."""
    _, first = np.unique(np.round(rotations).reshape(-1, 9), axis=0, return_index=True)
    first = np.sort(first)
    return np.round(rotations[first]), _wrapped(translations[first])


def _wrapped(coordinates: np.ndarray) -> np.ndarray:
    """Wrap into [0, 1), with nothing just below 1."""
    return np.round(coordinates % 1.0, 10) % 1.0


def _position(
    entry: dict[str, Any], primitive: np.ndarray, rotations: np.ndarray, translations: np.ndarray
) -> WyckoffPosition:
    inverse = np.linalg.inv(primitive)
    offset = inverse @ (np.array(entry["offset"]) / DENOMINATOR)
    projector = inverse @ (np.array(entry["projector"]) / DENOMINATOR) @ primitive
    basis = lattice_basis(projector)
    inside = offset + basis @ np.array([0.1234567, 0.2718281, 0.4142135])[: basis.shape[1]]
    images = rotations @ inside + translations
    apart = images[:, None] - images
    same = np.abs(apart - np.round(apart)).max(-1) < 1e-6
    chosen = np.flatnonzero(~np.tril(same, -1).any(1))
    return WyckoffPosition(
        entry["letter"],
        entry["site_symmetry"],
        len(chosen),
        offset,
        projector,
        basis,
        chosen,
    )


_SHORT_VECTORS = np.array(
    sorted(product(range(-2, 3), repeat=3), key=lambda v: (sum(map(abs, v)), [-x for x in v])),
    dtype=float,
)
"""Integer vectors, the shortest first, shape (125, 3)."""


def lattice_basis(projector: np.ndarray) -> np.ndarray:
    """
    Find the shortest integer vectors that span the lattice points of a subspace.

    Parameters
    ----------
    projector
        Projector onto the subspace, in fractional coordinates, shape (3, 3).

    Returns
    -------
    numpy.ndarray
        The vectors as columns, shape (3, dimension).
    """
    dimension = round(float(np.trace(projector)))
    chosen: list[np.ndarray] = []
    inside = np.abs(_SHORT_VECTORS @ projector.T - _SHORT_VECTORS).max(-1) < 1e-6
    for vector in _SHORT_VECTORS[inside]:
        if len(chosen) == dimension:
            break
        if _extends(chosen, vector):
            chosen.append(vector)
    return np.array(chosen).reshape(-1, 3).T


def _extends(chosen: list[np.ndarray], vector: np.ndarray) -> bool:
    """Whether a vector keeps the chosen ones a basis of all lattice points of their span."""
    matrix = np.array([*chosen, vector]).T
    minors = [
        round(float(np.linalg.det(matrix[list(rows)])))
        for rows in combinations(range(3), matrix.shape[1])
    ]
    return math.gcd(*minors) == 1


@cache
def first_position_numbers() -> np.ndarray:
    """
    Count the Wyckoff positions of all groups through.

    Returns
    -------
    numpy.ndarray
        Number of the position ``a`` of each space group, 1 for that of P1, int64 of shape (232,);
        the last is one more than the number of all positions.
    """
    counts = [len(row["positions"]) for row in _table()]
    return np.concatenate([[0, 1], 1 + np.cumsum(counts)])


def position_number(number: int, letter: int) -> int:
    """Return the number of a Wyckoff position among those of all groups, from 1."""
    return int(first_position_numbers()[number]) + letter


N_POSITIONS = 1731
"""Wyckoff positions of the 230 space groups."""


@cache
def position_features() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """
    Tabulate what kind of place each Wyckoff position is.

    Returns
    -------
    tuple
        By :func:`position_number`: the number of its site symmetry in the list that comes last,
        int64 of shape (1732,); its freedom, int64 of shape (1732,); its multiplicity in the
        primitive cell, int64 of shape (1732,); and the symbols of all site symmetries.
    """
    entries = [position for n in range(1, 231) for position in space_group(n).positions]
    symbols = sorted({entry.site_symmetry for entry in entries})
    symmetry, freedom, multiplicity = np.zeros((3, N_POSITIONS + 1), dtype=np.int64)
    symmetry[1:] = [symbols.index(entry.site_symmetry) + 1 for entry in entries]
    freedom[1:] = [entry.freedom for entry in entries]
    multiplicity[1:] = [entry.multiplicity for entry in entries]
    return symmetry, freedom, multiplicity, symbols

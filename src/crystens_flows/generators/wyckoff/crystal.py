"""Crystals as a space group, occupied Wyckoff positions and what these leave free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from crystens_flows.errors import InputError
from crystens_flows.generators.elements import electronegativity_order
from crystens_flows.generators.wyckoff.positions import SpaceGroup, WyckoffPosition, space_group

if TYPE_CHECKING:
    from pymatgen.core import Structure

SYMPREC = 0.1
"""Distance tolerance in Angstrom within which a crystal is taken as symmetric."""

ON_POSITION = 1e-3
"""How far a site may lie from a Wyckoff position it is assigned to, in fractional coordinates."""

_SHIFTS = np.array(list(product(range(-2, 3), repeat=3)), dtype=float)


@dataclass(frozen=True)
class SymmetricCrystal:
    """
    A crystal in the standard setting of its space group.

    Parameters
    ----------
    number
        Space group number.
    numbers
        Atomic number of each orbit, shape (orbits,); in order of electronegativity.
    letters
        Number of the Wyckoff position of each orbit, 0 for ``a``, shape (orbits,); ascending
        among orbits of the same element.
    coordinates
        Of the first site of each orbit, fractional in the primitive cell, shape (orbits, 3).
    lattice
        a, b, c in Angstrom and alpha, beta, gamma in degrees of the conventional cell, shape (6,).
    """

    number: int
    numbers: np.ndarray
    letters: np.ndarray
    coordinates: np.ndarray
    lattice: np.ndarray

    @property
    def group(self) -> SpaceGroup:
        """The space group."""
        return space_group(self.number)

    @property
    def multiplicities(self) -> np.ndarray:
        """Number of sites of each orbit in the primitive cell."""
        return np.array([self.group.positions[k].multiplicity for k in self.letters])

    def sites(self) -> tuple[np.ndarray, np.ndarray]:
        """
        Make all sites of the primitive cell.

        Returns
        -------
        tuple of numpy.ndarray
            Atomic numbers (n_sites,) and fractional coordinates (n_sites, 3), orbit by orbit.
        """
        orbits = [
            self.group.site_of(letter, first)
            for letter, first in zip(self.letters, self.coordinates, strict=True)
        ]
        return np.repeat(self.numbers, self.multiplicities), np.concatenate(orbits)

    def structure(self) -> Structure:
        """Return the primitive cell as a structure."""
        from pymatgen.core import Lattice, Structure

        numbers, coordinates = self.sites()
        vectors = self.group.primitive.T @ Lattice.from_parameters(*self.lattice).matrix
        return Structure(Lattice(vectors), numbers.tolist(), coordinates)


def symmetrise(structure: Structure, symprec: float = SYMPREC) -> SymmetricCrystal:
    """
    Find the space group of a crystal and describe it by its occupied Wyckoff positions.

    Of the descriptions that differ by a transformation of the group into itself (a shift of the
    origin by half a cell, for example), the one whose letters come first in the alphabet is taken.

    Parameters
    ----------
    structure
        An ordered structure.
    symprec
        Distance tolerance in Angstrom.

    Returns
    -------
    SymmetricCrystal
        With coordinates and lattice idealised.

    Raises
    ------
    InputError
        If spglib finds no space group, or a site on no Wyckoff position.
    """
    import spglib

    cell: Any = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
    if dataset is None:
        raise InputError(f"no space group within {symprec} A of {structure.formula}")
    group = space_group(dataset.number)
    inverse = np.linalg.inv(group.primitive)
    coordinates = dataset.std_positions @ inverse.T
    numbers, letters, firsts = _orbits(group, np.array(dataset.std_types), coordinates)
    letters, firsts, order = canonical(group, numbers, letters, firsts)
    lattice = _parameters(np.array(dataset.std_lattice))
    return SymmetricCrystal(
        group.number, numbers[order], letters, firsts, _ideal(lattice, group.number)
    )


def canonical(
    group: SpaceGroup, numbers: np.ndarray, letters: np.ndarray, firsts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Describe orbits by the letters that come first in the alphabet, in order.

    Parameters
    ----------
    group
        Space group.
    numbers, letters
        Atomic number and letter of each orbit, shape (orbits,).
    firsts
        A site of each, shape (orbits, 3).

    Returns
    -------
    tuple of numpy.ndarray
        Letters and first sites, in order of electronegativity and letter, and the orbit that each
        was, shape (orbits,).
    """
    choice = _first_choice(group, numbers, letters)
    turns, shifts = group.normaliser
    letters = letter_permutations(group.number)[choice][letters]
    firsts = firsts @ turns[choice].T + shifts[choice]
    firsts = np.array(
        [_first_site(group, k, x) for k, x in zip(letters, firsts, strict=True)]
    ).reshape(-1, 3)
    order = np.lexsort((letters, electronegativity_order()[numbers]))
    return letters[order], firsts[order], order


def _parameters(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = [
        vectors[j] @ vectors[k] / lengths[j] / lengths[k] for j, k in ((1, 2), (0, 2), (0, 1))
    ]
    return np.concatenate([lengths, np.degrees(np.arccos(cosines))])


def _ideal(lattice: np.ndarray, number: int) -> np.ndarray:
    """Make the parameters that the crystal system fixes exact."""
    a, b, c, alpha, beta, gamma = lattice
    if number >= 195:
        a = b = c = (a + b + c) / 3
    elif number >= 75:
        a = b = (a + b) / 2
    if number >= 16:
        alpha = beta = gamma = 90.0
        if 143 <= number < 195:
            gamma = 120.0
    elif number >= 3:
        alpha = gamma = 90.0
    return np.array([a, b, c, alpha, beta, gamma])


def _orbits(
    group: SpaceGroup, types: np.ndarray, coordinates: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divide sites into orbits: atomic numbers, letters and the first site of each."""
    left = list(range(len(types)))
    found: list[tuple[int, int, np.ndarray]] = []
    while left:
        site = left[0]
        letter, first = _position_of(group, coordinates[site])
        found.append((int(types[site]), letter, first))
        apart = coordinates[left][:, None] - group.site_of(letter, first)
        distance = np.abs(apart - np.round(apart)).max(-1).min(1)
        kept = [k for k, d in zip(left, distance, strict=True) if d > 10 * ON_POSITION]
        if len(kept) == len(left):
            raise InputError(f"a site of space group {group.number} lies on no Wyckoff position")
        left = kept
    numbers, letters, firsts = zip(*found, strict=True)
    return np.array(numbers), np.array(letters), np.array(firsts)


def _position_of(
    group: SpaceGroup, site: np.ndarray, letters: Iterable[int] | None = None
) -> tuple[int, np.ndarray]:
    """Find the Wyckoff position of a site, of some or all, and the first site of its orbit."""
    images = group.rotations @ site + group.translations
    for letter in range(len(group.positions)) if letters is None else letters:
        on = _on_subspace(group.positions[letter], images)
        if len(on):
            return letter, on[0] % 1.0
    raise InputError(f"a site of space group {group.number} lies on no Wyckoff position")


def _first_site(group: SpaceGroup, letter: int, site: np.ndarray) -> np.ndarray:
    """Return a site of the orbit of another that is the first of its Wyckoff position."""
    images = group.rotations @ site + group.translations
    on = _on_subspace(group.positions[letter], images)
    if not len(on):
        raise InputError(f"a site of space group {group.number} lies on no Wyckoff position")
    return on[0] % 1.0


def free_coordinates(group: SpaceGroup, letter: int, site: np.ndarray) -> np.ndarray:
    """
    Find the free coordinates of all sites of an orbit that may be called its first.

    Parameters
    ----------
    group
        The space group.
    letter
        Number of the Wyckoff position of the orbit.
    site
        Any site of the orbit, shape (3,).

    Returns
    -------
    numpy.ndarray
        Coefficients of the position's basis in [0, 1), shape (choices, freedom).
    """
    position = group.positions[letter]
    images = _on_subspace(position, group.rotations @ site + group.translations)
    free = (images - position.offset) @ np.linalg.pinv(position.basis).T % 1.0
    return np.unique(np.round(free, 6) % 1.0, axis=0)


def free_of_first(crystal: SymmetricCrystal) -> np.ndarray:
    """
    Find the free coordinates of the first sites of a crystal.

    A first site may lie a lattice vector away from the directions in which it may move.

    Parameters
    ----------
    crystal
        The crystal.

    Returns
    -------
    numpy.ndarray
        Coefficients of the positions' bases in [0, 1), zero where there are fewer than three,
        shape (orbits, 3).
    """
    free = np.zeros((len(crystal.letters), 3))
    for k, (letter, site) in enumerate(zip(crystal.letters, crystal.coordinates, strict=True)):
        position = crystal.group.positions[letter]
        if position.freedom:
            moved = _on_subspace(position, site[None])[0]
            inverse = np.linalg.pinv(position.basis)
            free[k, : position.freedom] = inverse @ (moved - position.offset) % 1.0
    return free


def _on_subspace(position: WyckoffPosition, images: np.ndarray) -> np.ndarray:
    """Return the images that lie where a first site may, moved there exactly, shape (n, 3)."""
    outside = np.eye(3) - position.projector
    apart = images - position.offset
    apart -= np.round(apart)
    residual = (apart @ outside.T)[:, None] - _SHIFTS @ outside.T
    distance = np.abs(residual).max(-1)
    shift = distance.argmin(1)
    on = np.flatnonzero(distance[np.arange(len(images)), shift] < ON_POSITION)
    moved = apart[on] - _SHIFTS[shift[on]]
    return position.offset + moved @ position.projector.T


@cache
def letter_permutations(number: int) -> np.ndarray:
    """
    Tabulate how the normaliser of a space group exchanges Wyckoff positions.

    Parameters
    ----------
    number
        Space group number.

    Returns
    -------
    numpy.ndarray
        For each element of the normaliser and letter, the letter that takes its place; integers
        of shape (m, positions).
    """
    group = space_group(number)
    kinds = [(position.multiplicity, position.freedom) for position in group.positions]
    rows = []
    for turn, shift in zip(*group.normaliser, strict=True):
        row = []
        for position, kind in zip(group.positions, kinds, strict=True):
            alike = [letter for letter, other in enumerate(kinds) if other == kind]
            if len(alike) > 1:
                free = np.array([0.1234567, 0.2718281, 0.4142135])[: position.freedom]
                inside = position.offset + position.basis @ free
                alike = [_position_of(group, turn @ inside + shift, alike)[0]]
            row += alike
        rows.append(row)
    return np.array(rows)


def _first_choice(group: SpaceGroup, numbers: np.ndarray, letters: np.ndarray) -> int:
    """Find the element of the normaliser that makes the letters come first in the alphabet."""
    rank = electronegativity_order()[numbers]
    spellings = []
    for row in letter_permutations(group.number):
        order = np.lexsort((row[letters], rank))
        spellings.append(tuple(row[letters][order]))
    return spellings.index(min(spellings))

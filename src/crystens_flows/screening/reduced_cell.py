"""The cells in which pymatgen's StructureMatcher compares crystals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray
from pymatgen.core import Composition, Lattice, Structure

from crystens_flows.representation.space_group import quiet_spglib

PRIMITIVE_TOLERANCE = 0.25
"""Default tolerance of pymatgen's `get_primitive_structure`, angstrom."""

SLACK = 1e-5
"""Relative margin by which a condition has to hold, so that rounding changes nothing."""

UNIQUE = 1e-3
"""Relative margin by which the shortest vectors of a lattice have to be shorter than the next."""

MAX_LATTICE_POINTS = 1_000_000
"""Collapsed cells, where more lattice points than this are to be searched for a reduced cell, are
compared with nothing: pymatgen would take minutes for each."""

_SUMS = np.array(
    [v for v in product((-1, 0, 1), repeat=3) if v > (0, 0, 0) and np.abs(v).sum() > 1]
)
"""Sums and differences of basis vectors: if these are longer than the last that is in them, all
vectors of the lattice are (Minkowski)."""

_LAST = np.array([max(np.flatnonzero(v)) for v in _SUMS])


@dataclass(frozen=True)
class ReducedCell:
    """
    A primitive Niggli cell, as StructureMatcher makes it, scaled to unit volume.

    Parameters
    ----------
    matrix
        Lattice vectors as rows, shape ``(3, 3)``.
    species
        What is on the sites, sorted by element.
    frac_coords
        In the same order, shape ``(n, 3)``.
    labels
        The elements of the sites: only cells of equal labels can match.
    pivot
        The site that the matcher lays upon the sites of the other crystal.
    """

    matrix: NDArray[np.float64]
    species: list[Any]
    frac_coords: NDArray[np.float64]
    labels: tuple[str, ...]
    pivot: int

    @cached_property
    def parameters(self) -> NDArray[np.float64]:
        """Lengths and angles in degrees, shape ``(6,)``."""
        return cell_parameters(self.matrix)

    @cached_property
    def forbidden(self) -> NDArray[np.int64]:
        """One for each two sites of different elements, shape ``(n, n)``."""
        labels = np.array(self.labels)
        return (labels[:, None] != labels).astype(np.int64)

    @cached_property
    def structure(self) -> Structure:
        """The cell as the matcher takes it."""
        return Structure(Lattice(self.matrix), self.species, self.frac_coords)


def cell_parameters(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find lengths and angles, in degrees, of lattices, shape ``(..., 6)`` of ``(..., 3, 3)``."""
    lengths = np.sqrt((matrices**2).sum(axis=-1))
    units = matrices / lengths[..., None]
    cosines = (units[..., [1, 0, 0], :] * units[..., [2, 2, 1], :]).sum(axis=-1)
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return np.concatenate([lengths, angles], axis=-1)


def reduce_cell(structure: Structure) -> ReducedCell | None:
    """
    Reduce a cell as StructureMatcher does.

    Parameters
    ----------
    structure
        Any structure.

    Returns
    -------
    ReducedCell or None
        None where the cell has collapsed or pymatgen fails, as the matcher would.
    """
    if _has_collapsed(structure.lattice):
        return None
    species = _species(structure)
    try:
        matrix = _niggli(structure.lattice)
        coords = structure.frac_coords @ (structure.lattice.matrix @ np.linalg.inv(matrix))
        if not _is_primitive(matrix, species, coords):
            # here the signs may matter, where translations hold but roughly
            niggli = structure.lattice.get_niggli_reduced_lattice()
            coords = niggli.get_fractional_coords(structure.cart_coords) % 1
            cell = Structure(niggli, species, coords).get_primitive_structure()
            species, matrix, coords = _species(cell), cell.lattice.matrix, cell.frac_coords
    except (ValueError, ArithmeticError, RuntimeError):
        return None
    labels = [_element(kind) for kind in species]
    # The matcher takes the first of the sites whose element is rarest.
    pivot = min(range(len(labels)), key=[labels.count(label) for label in labels].__getitem__)
    order = sorted(range(len(labels)), key=labels.__getitem__)
    return ReducedCell(
        matrix=matrix / abs(np.linalg.det(matrix)) ** (1 / 3),
        species=[species[i] for i in order],
        frac_coords=coords[order] % 1,
        labels=tuple(labels[i] for i in order),
        pivot=order.index(pivot),
    )


def _has_collapsed(lattice: Lattice) -> bool:
    heights = 1 / np.sqrt((lattice.inv_matrix**2).sum(axis=0))

    def too_many(longest: float) -> bool:
        return not np.prod(2 * longest / heights + 1) <= MAX_LATTICE_POINTS

    return too_many(max(lattice.lengths)) and too_many(
        max(lattice.get_lll_reduced_lattice().lengths)
    )


def _niggli(lattice: Lattice) -> NDArray[np.float64]:
    """
    Find the Niggli cell as pymatgen does, but for signs of its vectors.

    Signs change nothing for the matcher. Where the three shortest vectors are clearly shorter than
    all others and of different lengths, every reduced cell is made of them, and spglib's is found
    fifty times as fast as pymatgen's.
    """
    with quiet_spglib():
        try:
            matrix = spglib.niggli_reduce(lattice.matrix)
        except spglib.SpglibError:
            matrix = None
    if matrix is not None:
        basis = np.sqrt((matrix**2).sum(axis=1))
        others = np.sqrt(((_SUMS @ matrix) ** 2).sum(axis=1))
        clearly = 1 + UNIQUE
        if (basis[:2] * clearly < basis[1:]).all() and (basis[_LAST] * clearly < others).all():
            return matrix
    return lattice.get_niggli_reduced_lattice().matrix


@lru_cache(maxsize=1000)
def _element(kind: Any) -> str:
    """Name what the matcher tells sites by: elements and their amounts."""
    composition = kind if isinstance(kind, Composition) else Composition({kind: 1})
    return composition.element_composition.formula


def _species(structure: Structure) -> list[Any]:
    try:
        return structure.species
    except AttributeError:  # disordered
        return [site.specie if site.is_ordered else site.species for site in structure]


def _is_primitive(
    matrix: NDArray[np.float64], species: list[Any], frac_coords: NDArray[np.float64]
) -> bool:
    """
    Tell whether `get_primitive_structure` is sure to return a cell as it is.

    It looks for translations among the differences between sites of the rarest species that lay
    all sites on sites of their species, and divides the cell by as many as the greatest common
    divisor of the numbers of sites at most. Where only the zero vector does, and no fraction of
    the cell is taken for zero, there is nothing to divide by.
    """
    sites: dict[Any, list[int]] = {}
    for i, kind in enumerate(species):
        sites.setdefault(kind, []).append(i)
    parts = math.gcd(*map(len, sites.values()))
    if parts == 1:
        return True
    tolerance = PRIMITIVE_TOLERANCE * (1 + SLACK) / np.sqrt((matrix**2).sum(axis=1))
    if tolerance.max() > 1 / parts:
        return False
    groups = sorted((frac_coords[chosen] for chosen in sites.values()), key=len)
    vectors = groups[0] - groups[0][0]
    for coords in groups:
        for site in coords:
            shift = vectors[:, None] - (coords - site)
            shift -= np.round(shift)
            vectors = vectors[(np.abs(shift) <= 2 * tolerance).all(axis=2).any(axis=1)]
            if len(vectors) == 1:
                return not vectors.any()
    return False

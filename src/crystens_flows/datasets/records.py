"""One structure of a data set: what is accepted, and why another is rejected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystens_flows.distances import MIN_DISTANCE, plane_spacings, shortest_distance
from crystens_flows.representation.arrays import right_handed
from crystens_flows.representation.layout import MAX_SITES
from crystens_flows.representation.space_group import find_space_group

if TYPE_CHECKING:
    from pymatgen.core import Structure

MIN_HEIGHT = 0.1
"""A cell whose lattice planes are closer than this, in Angstrom, is a mistake."""
MAX_CELL_LENGTH = 1000.0
"""A lattice parameter above this, in Angstrom, is a mistake."""
PROPERTIES = ("formation_energy_per_atom", "energy_above_hull", "band_gap")
"""The properties kept beside a structure; NaN where unknown."""


@dataclass(frozen=True)
class Record:
    """
    One accepted structure.

    Parameters
    ----------
    material_id
        The id of the material.
    numbers
        Atomic numbers, shape ``(n_sites,)``.
    frac_coords
        Fractional coordinates in [0, 1), shape ``(n_sites, 3)``.
    lattice
        a, b, c in Angstrom and alpha, beta, gamma in degrees, shape ``(6,)``.
    space_group
        The international number.
    formation_energy_per_atom, energy_above_hull
        In eV/atom; NaN where unknown.
    band_gap
        In eV; NaN where unknown.
    """

    material_id: str
    numbers: NDArray[np.uint8]
    frac_coords: NDArray[np.float32]
    lattice: NDArray[np.float32]
    space_group: int
    formation_energy_per_atom: float = math.nan
    energy_above_hull: float = math.nan
    band_gap: float = math.nan


@dataclass(frozen=True)
class Rejection:
    """
    One entry that was not accepted.

    Parameters
    ----------
    entry
        Where it stands: the file, or the file and the row or line.
    material_id
        Its id, where one is known.
    reason
        Why, in a few words; what stands before a colon is the same for all of one kind.
    """

    entry: str
    material_id: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without its particulars, to count by."""
        return self.reason.split(":")[0]


class RejectedError(ValueError):
    """Raised for a structure that cannot enter a data set; the message is the reason."""


def make_record(
    structure: Structure, material_id: str, properties: Mapping[str, float] | None = None
) -> Record:
    """
    Check a structure and make it a record.

    Parameters
    ----------
    structure
        The structure; its oxidation states and site properties are dropped.
    material_id
        The id of the material.
    properties
        Values of :data:`PROPERTIES`, where known.

    Returns
    -------
    Record
        With the space group that spglib finds.

    Raises
    ------
    RejectedError
        If the structure has no sites or more than 52, is disordered, holds something other than
        elements, is not finite, has no sensible cell, or has overlapping atoms.
    """
    n_sites = len(structure)
    if n_sites == 0:
        raise RejectedError("no sites")
    if n_sites > MAX_SITES:
        raise RejectedError(f"more than {MAX_SITES} sites: {n_sites}")
    if not structure.is_ordered:
        raise RejectedError("disordered: a site is shared or partly occupied")
    for site in structure:
        # a DummySpecies has the number 0 or one above 118
        if not 1 <= site.specie.Z <= 118:
            raise RejectedError(f"no element: {site.specie}")
    numbers = [site.specie.Z for site in structure]
    frac_coords = right_handed(structure.frac_coords, structure.lattice.matrix)
    lattice = np.array(structure.lattice.parameters)
    if not np.isfinite(frac_coords).all():
        raise RejectedError("not finite: a coordinate is NaN or infinite")
    if not np.isfinite(lattice).all():
        raise RejectedError("not finite: a lattice parameter is NaN or infinite")
    wrapped = np.mod(frac_coords, 1.0).astype(np.float32)
    wrapped[wrapped >= 1.0] = 0.0  # just under one in double precision
    single = lattice.astype(np.float32)
    matrix = cell_matrix(single.astype(float))
    shortest = shortest_distance(wrapped.astype(float), matrix)
    if shortest < MIN_DISTANCE:
        raise RejectedError(f"overlapping atoms: {shortest:.3f} A apart, under {MIN_DISTANCE} A")
    space_group = find_space_group(matrix, wrapped.astype(float), numbers)
    if space_group is None:
        raise RejectedError("spglib finds no space group")
    known = {name: float((properties or {}).get(name, math.nan)) for name in PROPERTIES}
    return Record(
        material_id=material_id,
        numbers=np.array(numbers, dtype=np.uint8),
        frac_coords=wrapped,
        lattice=single,
        space_group=space_group,
        **known,
    )


def cell_matrix(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """
    Make the lattice vectors of a cell, in pymatgen's standard orientation.

    Parameters
    ----------
    lattice
        a, b, c in Angstrom and alpha, beta, gamma in degrees, shape ``(6,)``.

    Returns
    -------
    numpy.ndarray
        The vectors as rows, in Angstrom, shape ``(3, 3)``.

    Raises
    ------
    RejectedError
        If the parameters make no cell, or one that is too large or too flat.
    """
    from pymatgen.core import Lattice

    ca, cb, cg = np.cos(np.radians(lattice[3:]))
    if lattice[:3].min() <= 0 or 1 - ca**2 - cb**2 - cg**2 + 2 * ca * cb * cg <= 0:
        raise RejectedError("no cell: the lattice parameters enclose no volume")
    if lattice[:3].max() > MAX_CELL_LENGTH:
        raise RejectedError(f"too large a cell: an edge of {lattice[:3].max():.6g} A")
    matrix = Lattice.from_parameters(*lattice).matrix
    height = plane_spacings(matrix).min()
    if not height >= MIN_HEIGHT:
        raise RejectedError(f"too flat a cell: lattice planes {height:.3g} A apart")
    return matrix

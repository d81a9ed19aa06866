"""Symmetry-equivalent sites as evidence that they hold the same element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pymatgen.core import Lattice

from crystens_flows.representation.elements import Assignment, partitions
from crystens_flows.representation.space_group import symmetry_dataset

_TOLERANCES = (10.0, 16.0)
"""Tolerances of the symmetry search, in standard errors of a position."""

_SMALLEST_TOLERANCE = 1e-3
_LARGEST_TOLERANCE = 1.0
"""Angstrom; an error beyond hides all symmetry."""

_NO_SYMMETRY = 4.0
"""Cost of the assumption that the tensor's space group says nothing about its sites."""

_SMALLEST_GROUP_ERROR = 0.25
"""Error granted to a space group number, which is whole."""


@dataclass(frozen=True)
class Geometry:
    """
    Where the sites are, and how well that is known.

    Parameters
    ----------
    lattice_parameters
        a, b, c in angstrom and alpha, beta, gamma in degree, shape (6,).
    frac_coords
        Fractional coordinates, shape (m, 3).
    error
        Standard error of a coordinate, fractional.
    space_group
        Mean of the space group numbers in the tensor.
    space_group_error
        Standard error of that mean.
    """

    lattice_parameters: np.ndarray
    frac_coords: np.ndarray
    error: float
    space_group: float
    space_group_error: float


def assign_with_symmetry(
    assignments: list[Assignment], values: np.ndarray, error: float, geometry: Geometry
) -> Assignment:
    """
    Choose elements with the help of the space group that the tensor states.

    Each assignment, from one element for all sites to one element more than seems best, is given
    to spglib with the decoded geometry. Where the space group found is the one the tensor states,
    its equivalent sites are taken to hold one element, so that their atomic numbers are averaged
    first. The most probable outcome is returned, be it with or without symmetry.

    Parameters
    ----------
    assignments
        What :func:`~crystens_flows.representation.elements.assign_elements` gives.
    values
        Mean atomic number of each site, shape (m,).
    error
        The error they were grouped with.
    geometry
        The decoded crystal.

    Returns
    -------
    Assignment
        The elements.
    """
    best = Assignment(assignments[0].numbers, assignments[0].cost + _NO_SYMMETRY)
    if len(values) < 2:
        return best
    scale = geometry.error * float(np.mean(geometry.lattice_parameters[:3]))
    lattice = Lattice.from_parameters(*geometry.lattice_parameters.tolist()).matrix
    group_error = max(geometry.space_group_error, _SMALLEST_GROUP_ERROR)
    seen: set[bytes] = set()
    for assignment in assignments:
        if assignment.n_elements > assignments[0].n_elements + 1:
            continue
        for multiple in _TOLERANCES:
            tolerance = max(multiple * scale, _SMALLEST_TOLERANCE)
            if tolerance > _LARGEST_TOLERANCE:
                continue
            found = _symmetry(lattice, geometry.frac_coords, assignment.numbers, tolerance)
            if found is None:
                continue
            number, orbits = found
            deviation = abs(number - geometry.space_group)
            if deviation > max(0.5, 3 * group_error):
                continue
            if orbits.tobytes() in seen:
                break
            seen.add(orbits.tobytes())
            joint = _assign_orbits(orbits, values, error)
            cost = joint.cost + deviation**2 / (2 * group_error**2)
            if cost < best.cost:
                best = Assignment(joint.numbers, cost)
            break
    return best


def _assign_orbits(orbits: np.ndarray, values: np.ndarray, error: float) -> Assignment:
    size = np.bincount(orbits)
    mean = np.bincount(orbits, values) / size
    within = float(np.square(values - mean[orbits]).sum() / (2 * error**2))
    best = partitions(mean, size.astype(float), error)[0]
    return Assignment(best.numbers[orbits], best.cost + within)


def _symmetry(
    lattice: np.ndarray, frac_coords: np.ndarray, numbers: np.ndarray, tolerance: float
) -> tuple[int, np.ndarray] | None:
    dataset = symmetry_dataset(lattice, frac_coords, numbers, tolerance)
    if dataset is None:
        return None
    return int(dataset.number), np.unique(dataset.equivalent_atoms, return_inverse=True)[1]

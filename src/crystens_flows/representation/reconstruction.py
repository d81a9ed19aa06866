"""Crystals from CrysTens in the units of the crystal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from pymatgen.core import Composition, Element, Lattice, Structure

from crystens_flows.representation.consistency import Consistency, measure_consistency
from crystens_flows.representation.elements import (
    LARGEST_NUMBER,
    assign_elements,
    margin,
    rounding_is_safe,
)
from crystens_flows.representation.equivalence import Geometry, assign_with_symmetry
from crystens_flows.representation.kmeans import kmeans_centres
from crystens_flows.representation.layout import COORDINATES, CRYSTAL, NUMBER
from crystens_flows.representation.positions import (
    cluster_coordinates,
    estimate_positions,
    pair_residuals,
)

Clusters = int | Literal["auto"]

_CLEAR_MARGIN = 4.0
"""Assignments of elements better than all others by this much need no help of the symmetry."""


@dataclass(frozen=True)
class Decoded:
    """
    What one CrysTens says.

    Parameters
    ----------
    structure
        The crystal, or None where there is none.
    reason
        Why there is no structure, or None.
    consistency
        Tables 1 and 2 for this tensor.
    space_group
        The space group number that the tensor states; None if that is none from 1 to 230.
    """

    structure: Structure | None
    reason: str | None
    consistency: Consistency
    space_group: int | None


def reconstruct(
    copies: np.ndarray,
    pairs: np.ndarray,
    counts: np.ndarray,
    element_clusters: Clusters,
    coordinate_clusters: Clusters,
) -> list[Decoded]:
    """
    Make crystals of what the tensors hold.

    Parameters
    ----------
    copies
        The eight copies of each attribute in its unit, shape (n, 8, 11, m).
    pairs
        The pair block in fractional units, shape (n, 4, m, m).
    counts
        Numbers of sites, shape (n,), none above m.
    element_clusters, coordinate_clusters
        As for :func:`~crystens_flows.representation.decode.decode`.

    Returns
    -------
    list of Decoded
        One for each tensor.
    """
    sites = np.arange(copies.shape[-1]) < counts[:, None]
    means = copies.mean(axis=1)
    residuals = pair_residuals(means[:, COORDINATES], pairs[:, 1:], sites)
    consistency = measure_consistency(copies, pairs[:, 0], residuals, sites)
    positions, position_errors = estimate_positions(copies[:, :, COORDINATES], residuals, sites)
    if coordinate_clusters == "auto":
        coordinates = cluster_coordinates(positions, position_errors, sites)
    else:
        coordinates = positions
    crystal = (means[:, CRYSTAL] * (sites / counts[:, None])[:, None]).sum(axis=2)
    impossible = _impossible(crystal[:, :6])

    readings = means[:, NUMBER]
    squares = np.square(copies[:, :, NUMBER] - readings[:, None]).sum(axis=1) * sites
    errors = np.sqrt(squares.sum(axis=1) / (7 * 8 * counts))
    slack = 0.5 + 4 * errors[:, None]
    foreign = ((readings < 1 - slack) | (readings > LARGEST_NUMBER + slack)) & sites
    safe = rounding_is_safe(readings, errors, sites)
    rounded = _whole(readings)

    decoded = []
    for i, n in enumerate(counts.tolist()):
        group = float(crystal[i, 6])
        space_group = round(group) if 0.5 < group < 230.5 else None
        if foreign[i].any() or impossible[i]:
            reason = _reason(crystal[i, :6], readings[i], foreign[i])
            decoded.append(Decoded(None, reason, consistency[i], space_group))
            continue
        if element_clusters != "auto":
            centres = kmeans_centres(readings[i, :n], element_clusters)
            numbers = _whole(centres)
        elif safe[i]:
            numbers = rounded[i, :n]
        else:
            geometry = Geometry(
                crystal[i, :6],
                positions[i, :n],
                position_errors[i],
                group,
                np.sqrt(consistency[i].space_group_variance / (8 * n)),
            )
            numbers = _elements(readings[i, :n], errors[i], geometry)
        frac_coords = coordinates[i, :n]
        if coordinate_clusters != "auto":
            axes = [kmeans_centres(axis, coordinate_clusters) for axis in frac_coords.T]
            frac_coords = np.column_stack(axes)
        structure = Structure(
            Lattice.from_parameters(*crystal[i, :6].tolist()),
            [_species(number) for number in numbers.tolist()],
            frac_coords,
        )
        decoded.append(Decoded(structure, None, consistency[i], space_group))
    return decoded


def _elements(values: np.ndarray, error: float, geometry: Geometry) -> np.ndarray:
    assignments, error = assign_elements(values, error)
    if margin(assignments, values, error) > _CLEAR_MARGIN:
        return assignments[0].numbers
    return assign_with_symmetry(assignments, values, error, geometry).numbers


def _whole(numbers: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(numbers), 1, LARGEST_NUMBER).astype(int)


def _impossible(lattices: np.ndarray) -> np.ndarray:
    """Tell which lattice parameters, shape (n, 6), enclose no volume."""
    lengths, angles = lattices[:, :3], lattices[:, 3:]
    cosines = np.cos(np.radians(angles))
    squared = 1 + 2 * cosines.prod(axis=1) - np.square(cosines).sum(axis=1)
    return (
        (lengths.min(axis=1) <= 0)
        | (angles.min(axis=1) <= 0)
        | (angles.max(axis=1) >= 180)
        | (squared <= 1e-8)
    )


def _reason(lattice: np.ndarray, numbers: np.ndarray, foreign: np.ndarray) -> str:
    """Say why there is no crystal."""
    if foreign.any():
        site = int(np.argmax(foreign))
        return (
            f"atomic number of no element: {numbers[site]:.1f} at site {site}, not 1 to "
            f"{LARGEST_NUMBER}"
        )
    a, b, c, alpha, beta, gamma = lattice
    return (
        f"lattice encloses no volume: a, b, c = {a:.2f}, {b:.2f}, {c:.2f} A, alpha, beta, gamma = "
        f"{alpha:.1f}, {beta:.1f}, {gamma:.1f}"
    )


@cache
def _species(number: int) -> Composition:
    return Composition({Element.from_Z(number): 1})

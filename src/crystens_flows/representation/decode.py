"""CrysTens to structures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from pymatgen.core import Composition, Element, Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.representation.consistency import (
    NO_CONSISTENCY,
    Consistency,
    measure_consistency,
)
from crystens_flows.representation.elements import (
    LARGEST_NUMBER,
    assign_elements,
    margin,
    rounding_is_safe,
)
from crystens_flows.representation.equivalence import Geometry, assign_with_symmetry
from crystens_flows.representation.kmeans import kmeans_centres
from crystens_flows.representation.layout import (
    COORDINATES,
    CRYSTAL,
    FIRST_SITE,
    N_ATTRIBUTES,
    NUMBER,
    SHAPE,
)
from crystens_flows.representation.normalization import REFERENCE, Normalization
from crystens_flows.representation.occupancy import count_sites
from crystens_flows.representation.positions import (
    cluster_coordinates,
    estimate_positions,
    pair_residuals,
)

_CHUNK = 256
_STEP = 4

_LARGEST_ENTRY = 1e6
"""Far beyond anything normalised, and far below where float32 overflows."""

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


def decode(
    tensors: np.ndarray,
    *,
    normalization: Normalization = REFERENCE,
    element_clusters: int | Literal["auto"] = "auto",
    coordinate_clusters: int | Literal["auto"] = "auto",
) -> list[Decoded]:
    """
    Decode normalised CrysTens.

    Every copy of every value is used: the lattice and the space group are means of 8A entries;
    atomic numbers and coordinates start from their eight copies; positions are then combined with
    all stored differences (figure 3 of the paper). The number of sites is the most probable one
    by all entries. How many elements and distinct coordinates there are follows from the spread
    of the copies.

    Parameters
    ----------
    tensors
        Normalised CrysTens, shape (n, 4, 64, 64), of a float type.
    normalization
        The scaling they were made with.
    element_clusters
        ``"auto"``, or a fixed K for K-means on the atomic numbers (3 in the paper).
    coordinate_clusters
        ``"auto"``, or a fixed K for K-means on the coordinates of each axis (6 in the paper).

    Returns
    -------
    list of Decoded
        One for each tensor, in order. A tensor that cannot be decoded has no structure and a
        reason; it does not stop the others.

    Raises
    ------
    InputError
        If the array has another shape or type, or a number of clusters is no positive number.
    """
    tensors = np.asarray(tensors)
    if tensors.shape[1:] != SHAPE or not np.issubdtype(tensors.dtype, np.floating):
        raise InputError(
            f"tensors have shape {tensors.shape} and type {tensors.dtype}: expected "
            "(n, 4, 64, 64) of a float type, the batch first"
        )
    for name, clusters in (
        ("element_clusters", element_clusters),
        ("coordinate_clusters", coordinate_clusters),
    ):
        if clusters != "auto" and not (isinstance(clusters, int) and clusters >= 1):
            raise InputError(f"{name} is {clusters!r}: give 'auto' or a whole number from 1")
    decoded: list[Decoded] = []
    for start in range(0, len(tensors), _CHUNK):
        with np.errstate(over="ignore"):
            chunk = tensors[start : start + _CHUNK].astype(np.float32, copy=False)
        decoded += _decode_chunk(chunk, normalization, element_clusters, coordinate_clusters)
    return decoded


def _decode_chunk(
    tensors: np.ndarray,
    normalization: Normalization,
    element_clusters: int | Literal["auto"],
    coordinate_clusters: int | Literal["auto"],
) -> list[Decoded]:
    results: list[Decoded | None] = [None] * len(tensors)
    sound = np.abs(tensors).max(axis=(1, 2, 3)) < _LARGEST_ENTRY  # False for NaN
    tensors = tensors if sound.all() else np.where(sound[:, None, None, None], tensors, 0)
    rows = tensors[:, :, :N_ATTRIBUTES, FIRST_SITE:]
    columns = tensors[:, :, FIRST_SITE:, :N_ATTRIBUTES].swapaxes(2, 3)
    copies = np.concatenate([rows, columns], axis=1).astype(np.float64)
    counts = count_sites(tensors, copies[:, :, CRYSTAL], normalization)
    for i in np.flatnonzero(counts == 0):
        reason = "the tensor holds no sites"
        if not sound[i]:
            reason = f"the tensor holds NaN, infinity or entries above {_LARGEST_ENTRY:g}"
        results[i] = Decoded(None, reason, NO_CONSISTENCY, None)

    # Cut to a width that depends on the tensor alone, so that sums come out the same to the last
    # digit whatever else is in the batch.
    widths = -(-counts // _STEP) * _STEP
    for width in np.unique(widths[counts > 0]):
        block = np.flatnonzero(widths == width)
        values = copies[block, :, :, :width] * normalization.attribute_span[:, None]
        values += normalization.attribute_low[:, None]
        end = FIRST_SITE + width
        pairs = tensors[block, :, FIRST_SITE:end, FIRST_SITE:end]
        pairs = pairs * normalization.pair_span.astype(pairs.dtype)[:, None, None]
        pairs += normalization.pair_low.astype(pairs.dtype)[:, None, None]
        decoded = _decode_block(values, pairs, counts[block], element_clusters, coordinate_clusters)
        for i, result in zip(block, decoded, strict=True):
            results[i] = result
    return [result for result in results if result is not None]


def _decode_block(
    copies: np.ndarray,
    pairs: np.ndarray,
    counts: np.ndarray,
    element_clusters: int | Literal["auto"],
    coordinate_clusters: int | Literal["auto"],
) -> list[Decoded]:
    """Decode tensors of about the same number of sites, in the units of the crystal."""
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
    squares = np.square(copies[:, :, NUMBER] - means[:, None, NUMBER]).sum(axis=1) * sites
    number_errors = np.sqrt(squares.sum(axis=1) / (7 * 8 * counts))
    safe = rounding_is_safe(means[:, NUMBER], number_errors, sites)

    decoded = []
    for i, n in enumerate(counts):
        group = crystal[i, 6]
        space_group = round(group) if 0.5 < group < 230.5 else None
        lattice, numbers = crystal[i, :6], means[i, NUMBER, :n]
        reason = _unusable(lattice, numbers, number_errors[i])
        structure = None
        if reason is None:
            if element_clusters != "auto":
                numbers = kmeans_centres(numbers, element_clusters)
            elif not safe[i]:
                error = np.sqrt(consistency[i].space_group_variance / (8 * n))
                geometry = Geometry(lattice, positions[i, :n], position_errors[i], group, error)
                numbers = _elements(numbers, number_errors[i], geometry)
            frac_coords = coordinates[i, :n]
            if coordinate_clusters != "auto":
                axes = [kmeans_centres(axis, coordinate_clusters) for axis in frac_coords.T]
                frac_coords = np.column_stack(axes)
            whole = np.clip(np.rint(numbers), 1, LARGEST_NUMBER).astype(int)
            structure = Structure(
                Lattice.from_parameters(*lattice.tolist()),
                [_species(number) for number in whole.tolist()],
                frac_coords,
            )
        decoded.append(Decoded(structure, reason, consistency[i], space_group))
    return decoded


def _elements(values: np.ndarray, error: float, geometry: Geometry) -> np.ndarray:
    assignments, error = assign_elements(values, error)
    if margin(assignments, values, error) > _CLEAR_MARGIN:
        return assignments[0].numbers
    return assign_with_symmetry(assignments, values, error, geometry).numbers


def _unusable(lattice: np.ndarray, numbers: np.ndarray, error: float) -> str | None:
    """Say why there can be no crystal, or return None."""
    slack = 0.5 + 4 * error
    outside = (numbers < 1 - slack) | (numbers > LARGEST_NUMBER + slack)
    if outside.any():
        site = int(np.argmax(outside))
        return (
            f"atomic number {numbers[site]:.1f} of site {site} is no element's (1 to "
            f"{LARGEST_NUMBER})"
        )
    lengths, angles = lattice[:3], lattice[3:]
    cosines = np.cos(np.radians(angles))
    squared = 1 + 2 * cosines.prod() - np.square(cosines).sum()
    if lengths.min() <= 0 or angles.min() <= 0 or angles.max() >= 180 or squared <= 1e-8:
        return (
            f"a, b, c = {lengths[0]:.2f}, {lengths[1]:.2f}, {lengths[2]:.2f} A with alpha, beta, "
            f"gamma = {angles[0]:.1f}, {angles[1]:.1f}, {angles[2]:.1f} enclose no volume"
        )
    return None


@cache
def _species(number: int) -> Composition:
    return Composition({Element.from_Z(number): 1})

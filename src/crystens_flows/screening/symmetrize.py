"""Structures of higher symmetry near a structure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import spglib
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure
from scipy.optimize import linear_sum_assignment

from crystens_flows.representation.space_group import (
    ANGLE_TOLERANCE,
    SYMPREC,
    quiet_spglib,
    symmetry_dataset,
)

MAX_STRAIN = 0.15
"""Largest strain between a lattice and its image under an operation. Noise of 1 % in lengths and
angles of a primitive cell makes up to this where the cell is long and centred."""

MAX_OPERATIONS = 1536
"""Most operations of a cell that are considered: 48 of a point group and 32 translations."""

ASYMMETRY = 0.25
"""How far from symmetric a structure is that has no symmetry: displacement by size of the cell."""

MIN_NOISE = 0.002
"""Displacements below this many angstrom mean nothing."""

MAX_NOISE = 0.042
"""No noise is larger than this share of the cell's size, root mean square of each coordinate."""


@dataclass(frozen=True, eq=False)
class Symmetrized:
    """
    A structure brought to a higher symmetry.

    Parameters
    ----------
    structure
        In the setting of the original: as many sites, in the same order.
    n_operations
        How many operations map the cell onto itself.
    tolerance
        The longest distance by which one of them misses a site of the original, angstrom.
    max_displacement
        The longest way a site was moved, with respect to the mean of all, angstrom.
    evidence
        How much likelier the original is as this structure disturbed than as one without
        symmetry: a natural logarithm, see :func:`nearby_symmetries`.
    """

    structure: Structure
    n_operations: int
    tolerance: float
    max_displacement: float
    evidence: float


@dataclass(frozen=True, eq=False)
class _Operation:
    """Maps site i to ``x[i] @ rotation + t``, near ``x[sites[i]] + cells[i]``."""

    rotation: NDArray[np.int64]
    sites: NDArray[np.int64]
    cells: NDArray[np.float64]
    tolerance: float
    miss: float

    @property
    def key(self) -> bytes:
        return _key(self.rotation, self.sites)


def _key(rotation: NDArray[np.int64], sites: NDArray[np.int64]) -> bytes:
    return rotation.astype(np.int8).tobytes() + sites.astype(np.int16).tobytes()


def nearby_symmetries(structure: Structure, max_displacement: float) -> list[Symmetrized]:
    """
    Find structures of higher symmetry near a structure, the nearest first.

    An operation is a matrix of whole numbers that maps the lattice nearly onto itself, and the
    permutation of the sites it comes with. Whether operations form a group is then exact, and
    hangs on no tolerance. Starting from the identity, the operations are taken in the order of
    how far they miss; each that makes a larger group with those before gives one structure, the
    mean of the images of the given one under the group.

    A group leaves some of the 3 n + 6 coordinates free and fixes m of them. If the structure is
    symmetric but for noise, these are off by that noise, of which their mean square s^2 is the
    best estimate; else they are off by something of the size of the cell, S. The logarithm of
    the ratio of the likelihoods, m log(S / s), tells which is the more likely, and which group.

    Parameters
    ----------
    structure
        An ordered structure.
    max_displacement
        No site is to be moved further, angstrom.

    Returns
    -------
    list of Symmetrized
        Each of a group that holds the groups of those before; none where there is no symmetry.
    """
    original = structure.lattice.matrix
    reduced = _reduced(original)
    to_original = np.round(original @ np.linalg.inv(reduced))
    coords = structure.frac_coords @ to_original
    numbers = np.array([site.specie.Z for site in structure])
    operations: dict[bytes, _Operation] = {}
    for operation in _operations(reduced, coords, numbers, 2 * max_displacement):
        operations.setdefault(operation.key, operation)
    found = []
    size = abs(np.linalg.det(reduced)) ** (1 / 3)
    for group in _growing_groups(operations, len(numbers)):
        matrix, moved = _project(group, reduced, coords)
        shifts = np.linalg.norm((moved - coords) @ reduced, axis=1)
        noise, fixed = _noise(group, np.linalg.inv(reduced) @ matrix, shifts / size)
        if shifts.max() > max_displacement or noise > MAX_NOISE:
            continue
        if not all(_maps_exactly(operation, moved) for operation in group):
            continue  # sites missed by about half a cell: it is not clear on which side they are
        snapped = Structure(
            Lattice(to_original @ matrix),
            structure.species,
            moved @ np.linalg.inv(to_original),
            site_properties=structure.site_properties,
        )
        found.append(
            Symmetrized(
                structure=snapped,
                n_operations=len(group),
                tolerance=max(operation.tolerance for operation in group),
                max_displacement=float(shifts.max()),
                evidence=float(fixed * np.log(ASYMMETRY / max(noise, MIN_NOISE / size))),
            )
        )
    return found


def space_group_number(structure: Structure) -> int:
    """Find the space group of a structure at 0.01 angstrom; 1 where spglib finds none."""
    numbers = [site.specie.Z for site in structure]
    matrix, coords = structure.lattice.matrix, structure.frac_coords
    dataset = symmetry_dataset(matrix, coords, numbers, SYMPREC, ANGLE_TOLERANCE)
    return 1 if dataset is None else int(dataset.number)


def _reduced(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    with quiet_spglib():
        try:
            reduced = spglib.niggli_reduce(matrix)
        except spglib.SpglibError:
            reduced = None
    return Lattice(matrix).get_lll_reduced_lattice().matrix if reduced is None else reduced


def _rotations(
    matrix: NDArray[np.float64],
) -> Iterator[tuple[NDArray[np.int64], float]]:
    """Find the matrices of whole numbers that map a reduced lattice nearly onto itself."""
    vectors = np.array(list(product(range(-2, 3), repeat=3)))
    lengths = np.linalg.norm(vectors @ matrix, axis=1)
    sides = [
        vectors[np.abs(lengths / length - 1) <= MAX_STRAIN]
        for length in np.linalg.norm(matrix, axis=1)
    ]
    picks = np.indices([len(side) for side in sides]).reshape(3, -1)
    found = np.stack([side[pick] for side, pick in zip(sides, picks, strict=True)], axis=1)
    found = found[np.abs(np.round(np.linalg.det(found))) == 1]
    stretches = np.linalg.svd(np.linalg.inv(matrix) @ (found @ matrix), compute_uv=False)
    strains = np.abs(stretches - 1).max(axis=1)
    for rotation, strain in zip(found, strains, strict=True):
        if strain <= MAX_STRAIN:
            yield rotation, float(strain)


def _operations(
    matrix: NDArray[np.float64],
    coords: NDArray[np.float64],
    numbers: NDArray[np.int64],
    limit: float,
) -> Iterator[_Operation]:
    """Find the operations that bring all sites within a limit, angstrom, of sites alike."""
    kinds, counts = np.unique(numbers, return_counts=True)
    groups = [np.flatnonzero(numbers == kind) for kind in kinds[np.argsort(counts)]]
    pivots = groups[0]
    size = abs(np.linalg.det(matrix)) ** (1 / 3)
    for rotation, strain in _rotations(matrix):
        turned = coords @ rotation
        shifts = coords[pivots] - turned[pivots[0]]
        for group in groups:
            away = (turned[group] + shifts[:, None])[:, :, None] - coords[group]
            away -= np.round(away)
            squares = ((away @ matrix) ** 2).sum(axis=3)
            # the pivot itself may be off by as much as the others
            shifts = shifts[squares.min(axis=2).max(axis=1) <= (2 * limit) ** 2]
        for shift in shifts:
            sites = np.empty(len(numbers), dtype=np.int64)
            for group in groups:
                away = (turned[group] + shift)[:, None] - coords[group]
                away -= np.round(away)
                _, partner = linear_sum_assignment(((away @ matrix) ** 2).sum(axis=2))
                sites[group] = group[partner]
            away = turned + shift - coords[sites]
            cells = np.round(away)
            away -= cells
            away -= away.mean(axis=0)
            distances = np.linalg.norm(away @ matrix, axis=1)
            if distances.max() <= limit:
                miss = np.sqrt((distances**2).mean() + (strain * size) ** 2)
                yield _Operation(rotation, sites, cells, float(distances.max()), float(miss))


def _growing_groups(
    operations: dict[bytes, _Operation], n_sites: int
) -> Iterator[list[_Operation]]:
    """Add operations, those that miss least first, and yield the groups they form."""
    identity = _key(np.eye(3, dtype=np.int64), np.arange(n_sites))
    if identity not in operations:
        return
    group = {identity: operations[identity]}
    for operation in sorted(operations.values(), key=lambda one: one.miss):
        if operation.key in group:
            continue
        larger = _closure([*group.values(), operation], operations)
        if larger is not None:
            group = larger
            yield list(group.values())


def _closure(
    generators: list[_Operation], operations: dict[bytes, _Operation]
) -> dict[bytes, _Operation] | None:
    """Multiply operations until nothing new comes; None where a product is not among them."""
    known = {operation.key: operation for operation in generators}
    new = list(generators)
    while new:
        products = []
        for first in new:
            for second in generators:
                key = _key(first.rotation @ second.rotation, second.sites[first.sites])
                if key in known:
                    continue
                if key not in operations or len(known) >= MAX_OPERATIONS:
                    return None
                known[key] = operations[key]
                products.append(operations[key])
        new = products
    return known


def _project(
    group: list[_Operation], matrix: NDArray[np.float64], coords: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Average a cell over its images.

    With the mean of all sites as origin, the translation of an operation is the mean of whole
    numbers, so it is free of the noise of the sites, and the average is symmetric exactly.
    """
    metric = np.mean([op.rotation @ matrix @ matrix.T @ op.rotation.T for op in group], axis=0)
    centre = coords.mean(axis=0)
    moved = np.zeros_like(coords)
    for op in group:
        target = coords[op.sites] - centre + op.cells - op.cells.mean(axis=0)
        moved += target @ np.linalg.inv(op.rotation)
    # the lattice of that metric that is turned least against the old one
    lower = np.linalg.cholesky(metric)
    left, _, right = np.linalg.svd(lower.T @ matrix)
    return lower @ left @ right, centre + moved / len(group)


def _maps_exactly(operation: _Operation, coords: NDArray[np.float64]) -> bool:
    away = coords @ operation.rotation - coords[operation.sites]
    away -= away[0]
    away -= np.round(away)
    return bool(np.abs(away).max() < 1e-6)


def _noise(
    group: list[_Operation], deformation: NDArray[np.float64], shifts: NDArray[np.float64]
) -> tuple[float, float]:
    """
    Find the root mean square, by size of the cell, of what a group fixes, and how much that is.

    As many coordinates are free as the group's representation holds the trivial one: the mean of
    its characters.
    """
    n_sites = len(group[0].sites)
    turns = np.array([np.trace(op.rotation) for op in group])
    squares = np.array([np.trace(op.rotation @ op.rotation) for op in group])
    fixed_sites = np.array([(op.sites == np.arange(n_sites)).sum() for op in group])
    free_sites = (turns * (fixed_sites - 1)).mean()  # less those of the whole
    free_lattice = ((turns**2 + squares) / 2).mean()
    fixed = 3 * n_sites - 3 - free_sites + 6 - free_lattice
    strain = (deformation + deformation.T) / 2 - np.eye(3)
    total = (shifts**2).sum() + (strain**2).sum()
    return (float(np.sqrt(total / fixed)) if fixed > 0.5 else 0.0), float(fixed)

"""Neighbours within a cutoff, and neighbourhoods that a potential cannot be asked about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pymatgen.optimization.neighbors import find_points_in_spheres

from crystens_flows.errors import import_extra

MAX_PAIRS = 300_000
"""More pairs of neighbours than this in one structure would take minutes: some 3,000 sites, or
atoms heaped upon one another."""

OVERLAP = 0.5
"""Atoms nearer than this share of the sum of their covalent radii overlap. In the shipped crystals
it is at least 0.65; under 0.45, potentials answer anything down to -1e8 eV/atom."""


@dataclass(frozen=True)
class Neighbors:
    """
    Pairs of neighbours, each from both ends: row ``k`` and row ``k + pairs`` are the same pair.

    Parameters
    ----------
    centers, others
        The sites of each pair, shape ``(2 * pairs,)``.
    images
        The cell that the other one lies in, in lattice vectors, shape ``(2 * pairs, 3)``.
    distances
        In angstrom, shape ``(2 * pairs,)``.
    cutoff
        Within which distance neighbours were looked for, angstrom.
    """

    centers: NDArray[np.int64]
    others: NDArray[np.int64]
    images: NDArray[np.int64]
    distances: NDArray[np.float64]
    cutoff: float


def find_neighbors(
    positions: NDArray[np.float64], cell: NDArray[np.float64], cutoff: float
) -> Neighbors:
    """
    Find all pairs of neighbours in a crystal.

    Parameters
    ----------
    positions
        Cartesian, in angstrom, shape ``(sites, 3)``; they may lie outside the cell.
    cell
        Lattice vectors as rows, in angstrom. Long and slanted ones take any amount of time.
    cutoff
        In angstrom.

    Returns
    -------
    Neighbors
        Sites and their own images among them.
    """
    centers, others, images, distances = find_points_in_spheres(
        np.ascontiguousarray(positions),
        np.ascontiguousarray(positions),
        r=float(cutoff),
        pbc=np.ones(3, dtype=np.int64),
        lattice=np.ascontiguousarray(cell),
        tol=1e-8,
    )
    images = images.astype(np.int64)
    # of each pair the end with the lower site, or, of images of one site, the one further along
    sign = np.sign(images) @ np.array([9, 3, 1])
    once = (centers < others) | ((centers == others) & (sign > 0))
    centers, others, images = centers[once], others[once], images[once]
    return Neighbors(
        centers=np.concatenate([centers, others]),
        others=np.concatenate([others, centers]),
        images=np.concatenate([images, -images]),
        distances=np.tile(distances[once], 2),
        cutoff=cutoff,
    )


def neighborhood_reason(numbers: NDArray[np.int64], neighbors: Neighbors) -> str | None:
    """
    Tell why a potential cannot be asked, from the pairs of neighbours.

    Parameters
    ----------
    numbers
        Atomic numbers, shape ``(sites,)``.
    neighbors
        The pairs of neighbours.

    Returns
    -------
    str or None
        The reason; None for a structure the potential can be asked about.

    References
    ----------
    B. Cordero et al., Dalton Trans. 2832 (2008), covalent radii.
    """
    centers, others, distances = neighbors.centers, neighbors.others, neighbors.distances
    cutoff = neighbors.cutoff
    counts = np.bincount(centers, minlength=len(numbers))
    if not counts.all():
        return f"isolated site: site {int(counts.argmin())} has no neighbour within {cutoff:g} A"
    if (n_pairs := len(centers)) > MAX_PAIRS:
        return f"too many neighbours: {n_pairs} pairs within {cutoff:g} A, at most {MAX_PAIRS}"
    radii = import_extra("ase.data", "screen", "potentials").covalent_radii[numbers]
    shares = distances / (radii[centers] + radii[others])
    if shares[nearest := int(shares.argmin())] < OVERLAP:
        return (
            f"atoms overlap: sites {int(centers[nearest])} and {int(others[nearest])} are "
            f"{distances[nearest]:.2f} A apart, {shares[nearest]:.2f} of their covalent radii, "
            f"under {OVERLAP:g}"
        )
    return None

"""The graphs CGCNN sees: twelve neighbours of each site, many crystals in one graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure
from pymatgen.optimization.neighbors import find_points_in_spheres

from crystens_flows.distances import plane_spacings

RADIUS = 8.0
"""Neighbours are looked for within this many Angstrom."""

N_NEIGHBORS = 12
"""Neighbours a site has in the graph, the nearest first."""

GAUSSIAN_STEP = 0.2
"""Spacing and width of the Gaussians a distance is expanded in, Angstrom."""

MAX_CELLS = 10_000
"""Where neighbours lie in more cells than this, the cell is slanted and pymatgen would search for
hours; in a reduced cell it does not."""

SAME_PLACE = 1e-8
"""A site is not its own neighbour at distances up to this, Angstrom."""


@dataclass(frozen=True)
class Graphs:
    """
    The graphs of several crystals, the sites of one after those of the other.

    Parameters
    ----------
    numbers
        Atomic number of each site, shape ``(n_sites,)``.
    crystals
        Number of the crystal of each site, counted from 0, shape ``(n_sites,)``.
    neighbors
        Sites that are neighbours of each site, shape ``(n_sites, 12)``. Where there are fewer
        than twelve within 8 A, the first site of the crystal, as CGCNN itself pads.
    distances
        Distances to them in Angstrom, shape ``(n_sites, 12)``; 9 A for the padding.
    """

    numbers: NDArray[np.int64]
    crystals: NDArray[np.int64]
    neighbors: NDArray[np.int64]
    distances: NDArray[np.float64]

    def lonely_sites(self) -> dict[int, int]:
        """Find the crystals with a site without neighbours, and the first such site of each."""
        lonely = np.flatnonzero(self.distances[:, 0] > RADIUS + SAME_PLACE)
        crystals, first = np.unique(self.crystals[lonely], return_index=True)
        sites = lonely[first] - np.searchsorted(self.crystals, crystals)
        return dict(zip(crystals.tolist(), sites.tolist(), strict=True))


def build_graphs(structures: Sequence[Structure]) -> Graphs:
    """
    Find the neighbours in several crystals.

    Of neighbours at exactly the same distance those that pymatgen's ``get_neighbor_list`` lists
    first are taken, as CGCNN does. Which they are moves its energies by up to 0.01 eV/atom, so
    they are looked for within the same radius, although fewer would do.

    Parameters
    ----------
    structures
        The crystals, at least one, each with at least one site, all sites ordered.

    Returns
    -------
    Graphs
        Their graphs.
    """
    sizes = np.array([len(structure) for structure in structures])
    first = np.cumsum(sizes) - sizes
    numbers = np.array([z for structure in structures for z in structure.atomic_numbers])
    found = [_pairs(structure) for structure in structures]
    centers = np.concatenate([pair[0] + start for pair, start in zip(found, first, strict=True)])
    others = np.concatenate([pair[1] + start for pair, start in zip(found, first, strict=True)])
    distances = np.concatenate([pair[2] for pair in found])

    different = (centers != others) | (distances > SAME_PLACE)
    centers, others, distances = centers[different], others[different], distances[different]
    # pairs not farther than the twelfth are few: only they are sorted
    near = distances <= _farthest(centers, distances, len(numbers))[centers]
    centers, others, distances = centers[near], others[near], distances[near]
    order = np.lexsort((distances, centers))
    centers, others, distances = centers[order], others[order], distances[order]
    place = _places(centers, len(numbers))
    near = place < N_NEIGHBORS

    crystals = np.repeat(np.arange(len(structures)), sizes)
    neighbors = np.repeat(first[crystals][:, None], N_NEIGHBORS, axis=1)
    lengths = np.full(neighbors.shape, RADIUS + 1.0)
    neighbors[centers[near], place[near]] = others[near]
    lengths[centers[near], place[near]] = distances[near]
    return Graphs(numbers, crystals, neighbors, lengths)


def expand(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """
    Expand distances in Gaussians.

    Parameters
    ----------
    distances
        In Angstrom, of any shape.

    Returns
    -------
    numpy.ndarray
        The same shape with a last axis of 41: Gaussians at 0 to 8 A, 0.2 A apart.
    """
    centers = np.arange(0.0, RADIUS + GAUSSIAN_STEP, GAUSSIAN_STEP)
    exponents = ((distances[..., None] - centers) / GAUSSIAN_STEP) ** 2
    # exp(-600) is as good as nothing; still smaller numbers are denormal, and slow to compute with
    return np.exp(-np.minimum(exponents, 600.0))


def _pairs(
    structure: Structure,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return site, neighbour and distance of all pairs within 8 A, site by site."""
    coords = np.ascontiguousarray(structure.cart_coords, dtype=float)
    lattice = structure.lattice
    if np.prod(2 * RADIUS / plane_spacings(lattice.matrix) + 1) > MAX_CELLS:
        lattice = lattice.get_lll_reduced_lattice()
    centers, others, _, distances = find_points_in_spheres(
        coords,
        coords,
        r=RADIUS,
        pbc=np.array(structure.pbc, dtype=np.int64),
        lattice=np.ascontiguousarray(lattice.matrix, dtype=float),
        tol=SAME_PLACE,
    )
    return centers, others, distances


def _places(centers: NDArray[np.int64], n_sites: int) -> NDArray[np.int64]:
    """Count the pairs of each site from 0; those of one site stand together."""
    counts = np.bincount(centers, minlength=n_sites)
    return np.arange(len(centers)) - np.repeat(np.cumsum(counts) - counts, counts)


def _farthest(
    centers: NDArray[np.int64], distances: NDArray[np.float64], n_sites: int
) -> NDArray[np.float64]:
    """Return the distance of the twelfth neighbour of each site, infinite where there is none."""
    place = _places(centers, n_sites)
    table = np.full((n_sites, max(N_NEIGHBORS, place.max(initial=0) + 1)), np.inf)
    table[centers, place] = distances
    return np.partition(table, N_NEIGHBORS - 1, axis=1)[:, N_NEIGHBORS - 1]

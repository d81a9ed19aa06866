"""The graphs that CHGNet takes, made with arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystens_flows.errors import import_extra
from crystens_flows.screening.potentials.neighbors import Neighbors

Indices = NDArray[np.int64]


def crystal_graph(
    numbers: NDArray[np.int64],
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    neighbors: Neighbors,
    bond_cutoff: float,
) -> Any:
    """
    Make a graph of chgnet's, the one that its own converter makes but for the order of its rows.

    chgnet makes an object of each pair, which takes twenty times as long.

    Parameters
    ----------
    numbers
        Atomic numbers, shape ``(sites,)``.
    positions
        Cartesian, in angstrom, shape ``(sites, 3)``.
    cell
        Lattice vectors as rows, in angstrom.
    neighbors
        The pairs within the cutoff of the graph of the atoms.
    bond_cutoff
        Pairs nearer than this, in angstrom, make angles.

    Returns
    -------
    chgnet.graph.CrystalGraph
        In single precision.
    """
    torch = import_extra("torch", "screen", "CHGNet")
    graph = import_extra("chgnet.graph", "screen", "CHGNet").CrystalGraph
    n_pairs = len(neighbors.centers) // 2
    undirected = np.arange(2 * n_pairs) % n_pairs if n_pairs else np.arange(0)
    first, second = _angles(neighbors, bond_cutoff, len(numbers))
    fractional = np.linalg.solve(cell.T, positions.T).T

    def tensor(values: NDArray[Any], dtype: Any = np.int32) -> Any:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=dtype))

    return graph(
        atomic_number=tensor(numbers),
        atom_frac_coord=tensor(fractional, np.float32),
        atom_graph=tensor(np.stack([neighbors.centers, neighbors.others], axis=1)),
        atom_graph_cutoff=neighbors.cutoff,
        neighbor_image=tensor(neighbors.images, np.float32),
        directed2undirected=tensor(undirected),
        undirected2directed=tensor(np.arange(n_pairs)),
        bond_graph=tensor(
            np.stack(
                [neighbors.centers[first], undirected[first], first, undirected[second], second],
                axis=1,
            )
        ),
        bond_graph_cutoff=bond_cutoff,
        lattice=tensor(cell, np.float32),
    )


def count_angles(neighbors: Neighbors, bond_cutoff: float, n_sites: int) -> int:
    """
    Count the angles of a graph.

    Parameters
    ----------
    neighbors, bond_cutoff
        As for :func:`crystal_graph`.
    n_sites
        How many sites there are.

    Returns
    -------
    int
        Ordered pairs of bonds of one site.
    """
    bonds = np.bincount(neighbors.centers[neighbors.distances < bond_cutoff], minlength=n_sites)
    return int((bonds * (bonds - 1)).sum())


def _angles(neighbors: Neighbors, bond_cutoff: float, n_sites: int) -> tuple[Indices, Indices]:
    """Return all ordered pairs of two different bonds of one site, as rows of the neighbours."""
    bonds = np.flatnonzero(neighbors.distances < bond_cutoff)
    bonds = bonds[np.argsort(neighbors.centers[bonds], kind="stable")]
    centers = neighbors.centers[bonds]
    counts = np.bincount(centers, minlength=n_sites)
    starts = np.cumsum(counts) - counts
    partners = counts[centers]
    first = np.repeat(np.arange(len(bonds)), partners)
    nth = np.arange(len(first)) - np.repeat(np.cumsum(partners) - partners, partners)
    second = starts[centers[first]] + nth
    different = first != second
    return bonds[first[different]], bonds[second[different]]

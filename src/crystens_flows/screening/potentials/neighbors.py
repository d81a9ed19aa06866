"""Neighbourhoods that a potential cannot be asked about."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crystens_flows.errors import import_extra

MAX_PAIRS = 300_000
"""More pairs of neighbours than this in one structure would take minutes: some 3,000 sites, or
atoms heaped upon one another."""

OVERLAP = 0.5
"""Atoms nearer than this share of the sum of their covalent radii overlap. In the shipped crystals
it is at least 0.65; under 0.45, potentials answer anything down to -1e8 eV/atom."""


def neighborhood_reason(
    numbers: NDArray[np.int64],
    centers: NDArray[np.int64],
    neighbors: NDArray[np.int64],
    distances: NDArray[np.float64],
    cutoff: float,
) -> str | None:
    """
    Tell why a potential cannot be asked, from the pairs of neighbours.

    Parameters
    ----------
    numbers
        Atomic numbers, shape ``(sites,)``.
    centers, neighbors
        The sites of each pair, counted from both ends, shape ``(pairs,)``.
    distances
        In Angstrom, shape ``(pairs,)``.
    cutoff
        Within which distance neighbours were looked for, Angstrom.

    Returns
    -------
    str or None
        The reason; None for a structure the potential can be asked about.

    References
    ----------
    B. Cordero et al., Dalton Trans. 2832 (2008), covalent radii.
    """
    counts = np.bincount(centers, minlength=len(numbers))
    if not counts.all():
        return f"isolated site: site {int(counts.argmin())} has no neighbour within {cutoff:g} A"
    if (n_pairs := len(centers)) > MAX_PAIRS:
        return f"too many neighbours: {n_pairs} pairs within {cutoff:g} A, at most {MAX_PAIRS}"
    radii = import_extra("ase.data", "screen", "potentials").covalent_radii[numbers]
    shares = distances / (radii[centers] + radii[neighbors])
    if shares[nearest := int(shares.argmin())] < OVERLAP:
        return (
            f"atoms overlap: sites {int(centers[nearest])} and {int(neighbors[nearest])} are "
            f"{distances[nearest]:.2f} A apart, {shares[nearest]:.2f} of their covalent radii, "
            f"under {OVERLAP:g}"
        )
    return None

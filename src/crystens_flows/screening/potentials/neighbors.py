"""Neighbourhoods that a potential cannot be asked about."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

MAX_PAIRS = 300_000
"""More pairs of neighbours than this in one structure would take minutes: some 3,000 sites, or
atoms heaped upon one another."""


def neighborhood_reason(centers: ArrayLike, n_sites: int, cutoff: float) -> str | None:
    """
    Tell why a potential cannot be asked, from the pairs of neighbours.

    Parameters
    ----------
    centers
        The site of each pair, counted from both ends.
    n_sites
        How many sites there are.
    cutoff
        Within which distance neighbours were looked for, Angstrom.

    Returns
    -------
    str or None
        The reason; None for a structure the potential can be asked about.
    """
    counts = np.bincount(np.asarray(centers, dtype=np.int64), minlength=n_sites)
    if not counts.all():
        return f"isolated site: site {int(counts.argmin())} has no neighbour within {cutoff:g} A"
    if (n_pairs := int(counts.sum())) > MAX_PAIRS:
        return f"too many neighbours: {n_pairs} pairs within {cutoff:g} A, at most {MAX_PAIRS}"
    return None

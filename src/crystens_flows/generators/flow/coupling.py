"""Noise matched to crystals, so that the flow's paths are short."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

OTHER_ELEMENT = 100.0


def match_noise(
    frac: np.ndarray, numbers: np.ndarray, rng: np.random.Generator, iterations: int = 2
) -> np.ndarray:
    """
    Draw uniform noise on the torus and match it to crystals by permutation and translation.

    Sites of the same element are assigned to one another so that the sum of squared periodic
    differences is least, then the noise is moved as a whole, in turn.

    Parameters
    ----------
    frac
        Fractional coordinates of the crystals, shape (batch, sites, 3).
    numbers
        Atomic numbers, 0 for no site, shape (batch, sites).
    rng
        Source of the noise.
    iterations
        How often assignment and translation alternate.

    Returns
    -------
    numpy.ndarray
        Difference from noise to crystal in [-1/2, 1/2], without a common translation, float32 of
        shape (batch, sites, 3); zero where there is no site.
    """
    batch, sites, _ = frac.shape
    noise = rng.random((batch, sites, 3), dtype=np.float32)
    forbidden = (numbers[:, :, None] != numbers[:, None]) * OTHER_ELEMENT
    present = (numbers > 0)[..., None]
    n_sites = present.sum(1)
    difference = np.zeros_like(noise)
    for _ in range(iterations):
        pairs = frac[:, None] - noise[:, :, None]
        pairs -= np.round(pairs)
        cost = (pairs**2).sum(-1) + forbidden
        for b, n in enumerate(n_sites[:, 0]):
            rows, columns = linear_sum_assignment(cost[b, :n, :n])
            noise[b, columns] = noise[b, rows]
        difference = frac - noise
        difference -= np.round(difference)
        shift = (difference * present).sum(1, keepdims=True) / n_sites[:, None]
        noise += shift
    difference = frac - noise
    difference -= np.round(difference)
    difference -= (difference * present).sum(1, keepdims=True) / n_sites[:, None]
    return (difference * present).astype(np.float32)

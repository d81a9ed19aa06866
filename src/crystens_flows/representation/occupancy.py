"""How many sites a CrysTens holds."""

from __future__ import annotations

import numpy as np

from crystens_flows.representation.layout import FIRST_SITE, MAX_SITES, N_ATTRIBUTES
from crystens_flows.representation.normalization import Normalization

_NOISE_GAIN = 50.0
"""What noise alone explains stays below this many variances of an entry."""

_RESOLUTION = 1e-6


def count_sites(
    tensors: np.ndarray, crystal: np.ndarray, normalization: Normalization
) -> np.ndarray:
    """
    Find the number of sites by maximum likelihood, from all entries that tell.

    Rows of present sites repeat the quantities of the crystal; in the pair block the differences
    (i, j) and (j, i) cancel, so that their normalised mean stands at a known level. Beyond the
    last site both are zero. Under noise of one size, the number that explains the tensor best is
    the one that removes most from the sum of squares around zero.

    Parameters
    ----------
    tensors
        Normalised CrysTens, shape (n, 4, 64, 64).
    crystal
        The eight normalised copies of the seven quantities of the crystal, for each of the 52
        sites, shape (n, 8, 7, 52).
    normalization
        The scaling.

    Returns
    -------
    numpy.ndarray
        Numbers of sites, shape (n,); 0 where there is nothing but noise.
    """
    means = crystal.mean(axis=1)
    running = np.cumsum(means, axis=2)
    sizes = np.arange(1, MAX_SITES + 1)
    repeated = 8.0 * np.einsum("nka,nka->na", running, running) / sizes

    # Each pair of sites has six differences; with their sum s, six times the square of s / 6 less
    # the level is smaller than around zero by 2 * level * s - 6 * level^2.
    level = -normalization.low[N_ATTRIBUTES] / normalization.span[N_ATTRIBUTES]
    block = tensors[:, 1:, FIRST_SITE:, FIRST_SITE:]
    directions = block[:, 0] + block[:, 1] + block[:, 2]
    earlier = np.tri(MAX_SITES, k=-1, dtype=directions.dtype)
    sums = np.einsum("nij,ij->ni", directions, earlier)
    sums += np.einsum("nji,ij->ni", directions, earlier)
    added = 2.0 * level * sums.astype(np.float64) - 6.0 * level**2 * np.arange(MAX_SITES)
    gains = repeated + np.cumsum(added, axis=1)

    best = np.argmax(gains, axis=1)
    variance = np.square(crystal - means[:, None]).mean(axis=(1, 2, 3)) * 8 / 7
    gain = np.take_along_axis(gains, best[:, None], axis=1)[:, 0]
    return np.where(gain > _NOISE_GAIN * variance + _RESOLUTION, best + 1, 0)

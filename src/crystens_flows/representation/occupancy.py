"""How many sites a CrysTens holds."""

from __future__ import annotations

import numpy as np

from crystens_flows.representation.layout import FIRST_SITE, MAX_SITES, N_ATTRIBUTES
from crystens_flows.representation.normalization import Normalization


def count_sites(
    tensors: np.ndarray, crystal: np.ndarray, normalization: Normalization
) -> tuple[np.ndarray, np.ndarray]:
    """
    Find the number of sites by maximum likelihood, from all entries that tell.

    Rows of present sites repeat the quantities of the crystal; in the pair block, differences
    (i, j) and (j, i) cancel, so that their normalised mean stands at a known level. Beyond the
    last site both are zero. Under noise of one size, the number A that explains the tensor best
    is the one that removes most of the sum of squares around zero.

    Parameters
    ----------
    tensors
        Normalised CrysTens, shape (n, 4, 64, 64).
    crystal
        Normalised means over the eight copies of the seven quantities of the crystal, for each of
        the 52 sites, shape (n, 7, 52).
    normalization
        The scaling.

    Returns
    -------
    counts : numpy.ndarray
        Numbers of sites, shape (n,), at least 1.
    gains : numpy.ndarray
        Sum of squares that this number of sites explains, shape (n,).
    """
    running = np.cumsum(crystal, axis=2)
    sizes = np.arange(1, MAX_SITES + 1)
    repeated = 8.0 * np.einsum("nka,nka->na", running, running) / sizes

    level = -normalization.low[N_ATTRIBUTES] / normalization.span[N_ATTRIBUTES]
    directions = tensors[:, 1:, FIRST_SITE:, FIRST_SITE:].sum(axis=1, dtype=np.float64)
    lower = np.tril(directions + directions.swapaxes(1, 2), -1).sum(axis=2)
    # Each pair has six entries, of which `lower` holds the sums: 2 * level * sum - 6 * level^2.
    added = 2.0 * level * lower - 6.0 * level**2 * np.arange(MAX_SITES)
    gains = repeated + np.cumsum(added, axis=1)
    best = np.argmax(gains, axis=1)
    return best + 1, np.take_along_axis(gains, best[:, None], axis=1)[:, 0]

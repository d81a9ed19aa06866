"""Sources of random numbers, one for each sample."""

import numpy as np


def streams(n: int, seed: int = 0) -> list[np.random.Generator]:
    """Return n generators that depend on seed and place alone."""
    return [np.random.default_rng([seed, k]) for k in range(n)]

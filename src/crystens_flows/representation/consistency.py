"""How well a CrysTens agrees with itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crystens_flows.representation.layout import COORDINATES, CRYSTAL


@dataclass(frozen=True)
class Consistency:
    """
    Spread of the entries that should be equal, in the units of the crystal.

    All are measured on the tensor as it came, before anything is averaged; nan where the tensor
    holds no sites.

    Parameters
    ----------
    length_variance
        Variance of the 8A copies of a, b and c, mean of the three, angstrom^2 (table 1).
    angle_variance
        Variance of the 8A copies of alpha, beta and gamma, mean of the three, degree^2 (table 1).
    space_group_variance
        Variance of the 8A copies of the space group number (table 1).
    coordinate_variance
        Variance of the 8 copies of a fractional coordinate, mean over sites and x, y, z (table 1).
    coordinate_disagreement
        Mean over ordered pairs of sites and x, y, z of the difference between the position a site
        states and the position another site and the stored difference state for it, fractional
        (table 2).
    pairwise_disagreement
        Summed difference of stored distances and those between the positions of figure 3, over
        the number of sites, fractional (table 2).
    """

    length_variance: float
    angle_variance: float
    space_group_variance: float
    coordinate_variance: float
    coordinate_disagreement: float
    pairwise_disagreement: float

    def as_dict(self) -> dict[str, float | None]:
        """
        Return the quantities by name.

        Returns
        -------
        dict
            Numbers; None instead of nan and infinity, which JSON does not know.
        """
        return {name: value if math.isfinite(value) else None for name, value in vars(self).items()}


NO_CONSISTENCY = Consistency(*(float("nan"),) * 6)
"""That of a tensor without sites, or with entries that are not finite."""


def measure_consistency(
    copies: np.ndarray, distances: np.ndarray, residuals: np.ndarray, sites: np.ndarray
) -> list[Consistency]:
    """
    Measure tables 1 and 2 on raw tensors, cut to the sites.

    Parameters
    ----------
    copies
        The eight copies of each attribute in its unit, shape (n, 8, 11, m).
    distances
        Layer 0 of the pair block, fractional, shape (n, m, m).
    residuals
        What :func:`~crystens_flows.representation.positions.pair_residuals` gives for the means
        of the copies and the stored differences, shape (n, 3, m, m).
    sites
        Whether a site is present, shape (n, m).

    Returns
    -------
    list of Consistency
        One for each tensor.
    """
    n, m = sites.shape
    n_sites = sites.sum(axis=1)
    weight = sites / (8.0 * n_sites[:, None])
    crystal = copies[:, :, CRYSTAL]
    mean = (crystal.sum(axis=1) * weight[:, None]).sum(axis=2)
    squares = np.square(crystal - mean[:, None, :, None]).sum(axis=1)
    variance = (squares * weight[:, None]).sum(axis=2)
    positions = copies[:, :, COORDINATES].mean(axis=1)
    squares = np.square(copies[:, :, COORDINATES] - positions[:, None]).sum(axis=1)
    coordinate = (squares * weight[:, None]).reshape(n, -1).sum(axis=1) / 3

    n_pairs = np.maximum(n_sites * (n_sites - 1), 1)
    disagreement = np.abs(residuals).reshape(n, -1).sum(axis=1) / (3.0 * n_pairs)

    guessed = positions + residuals.sum(axis=2) / n_sites[:, None, None]
    guessed = guessed.astype(distances.dtype)
    difference = guessed[..., :, None] - guessed[..., None, :]
    rebuilt = np.sqrt(np.square(difference, out=difference).sum(axis=1))
    rebuilt -= distances
    rebuilt *= (sites[:, :, None] & sites[:, None, :]) & ~np.eye(m, dtype=bool)
    pairwise = np.abs(rebuilt).reshape(n, -1).sum(axis=1) / n_sites

    columns = (
        variance[:, :3].mean(axis=1),
        variance[:, 3:6].mean(axis=1),
        variance[:, 6],
        coordinate,
        disagreement,
        pairwise,
    )
    return [Consistency(*values) for values in zip(*(c.tolist() for c in columns), strict=True)]

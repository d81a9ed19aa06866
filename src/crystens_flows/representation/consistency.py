"""How well a CrysTens agrees with itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crystens_flows.representation.layout import ANGLES, COORDINATES, LENGTHS, SPACE_GROUP


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
    copies: np.ndarray, pairs: np.ndarray, n_sites: np.ndarray
) -> list[Consistency]:
    """
    Measure tables 1 and 2 on raw tensors, cut to the sites.

    Parameters
    ----------
    copies
        The eight copies of each attribute in its unit, shape (n, 8, 11, m).
    pairs
        The pair block in fractional units, shape (n, 4, m, m); its diagonal is ignored.
    n_sites
        Numbers of sites, shape (n,), none above m.

    Returns
    -------
    list of Consistency
        One for each tensor.
    """
    m = copies.shape[-1]
    present = (np.arange(m) < n_sites[:, None]).astype(np.float64)
    crystal = copies[:, :, 4:]
    count = 8.0 * n_sites[:, None]
    mean = np.einsum("nckm,nm->nk", crystal, present) / count
    deviation = crystal - mean[:, None, :, None]
    variance = np.einsum("nckm,nckm,nm->nk", deviation, deviation, present) / count
    coordinates = copies[:, :, COORDINATES]
    positions = coordinates.mean(axis=1)
    spread = coordinates - positions[:, None]
    coordinate = np.einsum("nckm,nckm,nm->n", spread, spread, present) / (24.0 * n_sites)

    # (i, j): where site i and the stored difference f_i - f_j put site j, less what j states.
    others = present[:, :, None] * present[:, None, :]
    others[:, np.arange(m), np.arange(m)] = 0.0
    residual = positions[..., :, None] - positions[..., None, :] - pairs[:, 1:]
    residual *= others[:, None]
    n_pairs = np.maximum(n_sites * (n_sites - 1), 1)
    disagreement = np.abs(residual).sum(axis=(1, 2, 3)) / (3.0 * n_pairs)

    guessed = positions + residual.sum(axis=2) / n_sites[:, None, None]
    rebuilt = np.sqrt(np.square(guessed[..., :, None] - guessed[..., None, :]).sum(axis=1))
    pairwise = (np.abs(rebuilt - pairs[:, 0]) * others).sum(axis=(1, 2)) / n_sites

    columns = (
        variance[:, LENGTHS.start - 4 : LENGTHS.stop - 4].mean(axis=1),
        variance[:, ANGLES.start - 4 : ANGLES.stop - 4].mean(axis=1),
        variance[:, SPACE_GROUP - 4],
        coordinate,
        disagreement,
        pairwise,
    )
    return [Consistency(*values) for values in zip(*(c.tolist() for c in columns), strict=True)]

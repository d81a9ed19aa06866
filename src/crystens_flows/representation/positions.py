"""Positions of the sites from their own coordinates and all stored differences."""

from __future__ import annotations

import numpy as np

_RESOLUTION = 1e-6
"""Spread below which equal entries are as good as equal: float32 keeps no more."""

_OUTLIER = 4.0
"""Standard deviations beyond which one guess gains no more influence."""

_LINK = 3.0
"""Coordinates closer than this many standard errors may be the same."""


def pair_residuals(
    coordinates: np.ndarray, directions: np.ndarray, sites: np.ndarray
) -> np.ndarray:
    """
    Compare positions with stored differences.

    Parameters
    ----------
    coordinates
        Fractional coordinates, shape (n, 3, m).
    directions
        Stored differences f_i - f_j, shape (n, 3, m, m).
    sites
        Whether a site is present, shape (n, m).

    Returns
    -------
    numpy.ndarray
        Where site i and the stored difference put site j, less where j puts itself, shape
        (n, 3, m, m); zero on the diagonal and for absent sites.
    """
    coordinates = coordinates.astype(directions.dtype)
    residuals = coordinates[..., :, None] - coordinates[..., None, :]
    residuals -= directions
    others = sites[:, :, None] & sites[:, None, :] & ~np.eye(sites.shape[1], dtype=bool)
    residuals *= others[:, None]
    return residuals


def estimate_positions(
    copies: np.ndarray, residuals: np.ndarray, sites: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """
    Combine the A guesses for the position of each site (figure 3 of the paper).

    A site's own coordinates are one guess; every other site's coordinates with the difference
    stored for the pair are another. They are averaged by least squares with weights from their
    spread, measured on the tensor itself: the eight copies of a coordinate tell the error of the
    first kind, the disagreement of the guesses that of the second. Guesses that are off by a
    lattice translation are brought back, and single ones far from the rest are held at four
    standard deviations.

    Parameters
    ----------
    copies
        The eight copies of x, y, z, fractional, shape (n, 8, 3, m).
    residuals
        What :func:`pair_residuals` gives for their means.
    sites
        Whether a site is present, shape (n, m).

    Returns
    -------
    positions : numpy.ndarray
        Fractional coordinates, shape (n, m, 3).
    errors : numpy.ndarray
        Standard error of a coordinate relative to the other sites, fractional, shape (n,).
    """
    n = len(sites)
    n_sites = sites.sum(axis=1)
    n_guesses = 3.0 * np.maximum(n_sites * (n_sites - 1), 1)
    own = copies.mean(axis=1)
    squares = np.square(copies - own[:, None]).sum(axis=1) * sites[:, None]
    own_variance = squares.reshape(n, -1).sum(axis=1) / (7 * 8 * 3 * n_sites) + _RESOLUTION**2

    # The differences (i, j) and (j, i) should cancel: their half difference uses both.
    guesses = (residuals - residuals.swapaxes(2, 3)) / 2
    guesses -= np.rint(guesses)
    deviation = np.sqrt(np.pi / 2) * np.abs(guesses).reshape(n, -1).sum(axis=1) / n_guesses
    limit = (_OUTLIER * deviation)[:, None, None, None].astype(guesses.dtype)
    np.clip(guesses, -limit, limit, out=guesses)
    total_variance = np.square(guesses).reshape(n, -1).sum(axis=1) / n_guesses
    pair_variance = np.maximum(total_variance - 2 * own_variance, _RESOLUTION**2)

    own_weight, pair_weight = 1 / own_variance, 1 / pair_variance
    weight = own_weight + n_sites * pair_weight
    shift = guesses.sum(axis=2) * (pair_weight / weight)[:, None, None]
    return (own + shift).swapaxes(1, 2), 1 / np.sqrt(weight)


def cluster_coordinates(positions: np.ndarray, errors: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """
    Give coordinates that agree within their error the same value.

    The number of clusters comes from the error: values chained by gaps below three standard
    errors become their mean, but only where the spread of the chain is what the error explains.
    All three axes are taken together, on the circle 0 = 1.

    Parameters
    ----------
    positions
        Fractional coordinates, shape (n, m, 3).
    errors
        Standard error of a coordinate, shape (n,).
    sites
        Whether a site is present, shape (n, m).

    Returns
    -------
    numpy.ndarray
        The clustered coordinates, shape (n, m, 3), each next to where it was.
    """
    n, m = sites.shape
    absent = np.repeat(~sites, 3, axis=1)
    apart = 2.0 + np.arange(3 * m)
    values = np.where(absent, apart, positions.reshape(n, 3 * m) % 1.0)
    ordered = np.sort(values, axis=1)
    # Start the circle in its widest gap, so that no cluster is cut in two.
    last = np.take_along_axis(ordered, 3 * sites.sum(axis=1)[:, None] - 1, axis=1)
    gaps = np.diff(ordered, axis=1, prepend=last - 1.0)
    widest = np.argmax(np.where(ordered < 2.0, gaps, -1.0), axis=1)[:, None]
    start = np.take_along_axis(ordered - gaps / 2, widest, axis=1)
    values = np.where(absent, apart, (values - start) % 1.0)
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)

    first = np.diff(ordered, axis=1, prepend=-1.0) > _LINK * errors[:, None]
    first[:, 0] = True
    label = np.cumsum(first.ravel()) - 1
    size = np.bincount(label)
    mean = np.bincount(label, ordered.ravel()) / size
    deviation = (ordered.ravel() - mean[label]) / np.repeat(errors, 3 * m)
    degrees = size - 1
    justified = np.bincount(label, deviation**2) <= degrees + 2 * np.sqrt(2 * degrees)
    shift = np.where(justified[label], mean[label] - ordered.ravel(), 0.0).reshape(n, 3 * m)
    shifts = np.empty_like(shift)
    np.put_along_axis(shifts, order, shift, axis=1)
    return positions + shifts.reshape(n, m, 3)

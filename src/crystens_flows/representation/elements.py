"""Elements from noisy atomic numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma, log

import numpy as np

LARGEST_NUMBER = 118

_EXACT = 0.08
"""Standard error below which rounding each number by itself is safe (six of them to 1/2)."""

_RESOLUTION = 0.01
"""Error granted to every number, however well its copies agree."""


@dataclass(frozen=True)
class Assignment:
    """
    Elements given to sites.

    Parameters
    ----------
    numbers
        Atomic numbers, shape (m,).
    cost
        Negative logarithm of the posterior probability, up to a constant.
    """

    numbers: np.ndarray
    cost: float

    @property
    def n_elements(self) -> int:
        """How many different elements there are."""
        return len(set(self.numbers.tolist()))


def rounding_is_safe(values: np.ndarray, errors: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """
    Tell where each atomic number may be rounded by itself.

    Parameters
    ----------
    values
        Mean atomic number of each site, shape (n, m).
    errors
        Standard error of these means, shape (n,).
    sites
        Whether a site is present, shape (n, m).

    Returns
    -------
    numpy.ndarray
        True where the error is small and the distances to whole numbers are not larger than it
        explains, shape (n,).
    """
    errors = np.maximum(errors, _RESOLUTION)
    residual = np.where(sites, values - np.rint(values), 0.0) / errors[:, None]
    return (errors < _EXACT) & _explained(np.square(residual).sum(axis=1), sites.sum(axis=1))


def assign_elements(values: np.ndarray, error: float) -> tuple[list[Assignment], float]:
    """
    Group sites into elements, for every number of elements K.

    Where the copies of a number agree better than the numbers of different sites agree with any
    few elements, the error is raised until it explains what is left: the paper's rule of
    parsimony, by which 12.2, 12.6, 12.4, 12.5 are four times the same element.

    Parameters
    ----------
    values
        Mean atomic number of each site, shape (m,).
    error
        Standard error of these means by the spread of their copies.

    Returns
    -------
    assignments : list of Assignment
        One for each K that can be best or nearly so, the best first.
    error : float
        The error they were grouped with.
    """
    error = max(error, _RESOLUTION)
    while True:
        found = partitions(values, np.ones(len(values)), error)
        residual = (values - found[0].numbers) / error
        if _explained(np.square(residual).sum(), len(values)):
            return found, error
        error *= 1.25


def partitions(values: np.ndarray, weights: np.ndarray, error: float) -> list[Assignment]:
    """
    Find the most probable assignment for each number of elements K.

    The model: K elements out of all, each site one of them with equal probability, its number
    scattered around the element's by the error. In one dimension the groups are intervals, so
    that dynamic programming finds the optimum. No knowledge of chemistry enters.

    Parameters
    ----------
    values
        Atomic number of each site or set of equivalent sites, shape (m,).
    weights
        How many sites each value is the mean of, shape (m,).
    error
        Standard error of the number of one site.

    Returns
    -------
    list of Assignment
        The best first; the spread inside sets of equivalent sites is not part of the cost.
    """
    m = len(values)
    order = np.argsort(values, kind="stable")
    value, weight = values[order], weights[order]
    total, first, second = (
        np.concatenate([[0.0], np.cumsum(weight * value**power)]) for power in range(3)
    )
    # Entry (i, j): the sites from i to j, in order of their number, as one element.
    w, wz, wzz = (prefix[None, 1:] - prefix[:-1, None] for prefix in (total, first, second))
    upper = np.triu(np.ones((m, m), dtype=bool))
    centre = np.clip(np.rint(wz / np.where(upper, w, 1.0)), 1, LARGEST_NUMBER)
    misfit = wzz - 2 * centre * wz + centre**2 * w
    segment = np.where(upper, misfit / (2 * error**2), np.inf)

    found = []
    cost = segment[0]
    starts = [np.zeros(m, dtype=int)]
    for k in range(1, m + 1):
        if k > 1:
            options = cost[:-1, None] + segment[1:]
            starts.append(np.concatenate([[0], np.argmin(options, axis=0)[1:] + 1]))
            cost = np.concatenate([[np.inf], options.min(axis=0)[1:]])
        prior = _log_choose(LARGEST_NUMBER, k) + m * log(k)
        numbers = np.empty(m, dtype=int)
        stop = m
        for chosen in reversed(starts):
            start = chosen[stop - 1]
            numbers[order[start:stop]] = centre[start, stop - 1]
            stop = start
        found.append(Assignment(numbers, float(cost[-1]) + prior))
        if prior > min(assignment.cost for assignment in found):
            break
    return sorted(found, key=lambda assignment: assignment.cost)


def margin(assignments: list[Assignment], values: np.ndarray, error: float) -> float:
    """
    Return by how much the best assignment beats what differs from it by one step.

    Parameters
    ----------
    assignments
        What :func:`assign_elements` gives.
    values
        Mean atomic number of each site, shape (m,).
    error
        The error they were grouped with.

    Returns
    -------
    float
        Smallest rise of the cost for another K, for another number of one group, or for another
        group of one site.
    """
    best = assignments[0]
    rises = [assignment.cost - best.cost for assignment in assignments[1:]]
    elements, group = np.unique(best.numbers, return_inverse=True)
    size = np.bincount(group)
    offset = np.abs(np.bincount(group, values) / size - elements)
    rises += (size * (1 - 2 * offset) / (2 * error**2)).tolist()
    misfit = np.square(values[:, None] - elements) / (2 * error**2)
    if len(elements) > 1:
        two = np.partition(misfit, 1, axis=1)[:, :2]
        rises.append(float((two[:, 1] - two[:, 0]).min()))
    return min(rises)


def _explained(chi_squared: np.ndarray, degrees: np.ndarray | int) -> np.ndarray:
    return chi_squared <= degrees + 3 * np.sqrt(2 * np.asarray(degrees))


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)

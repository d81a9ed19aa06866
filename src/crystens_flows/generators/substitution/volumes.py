"""The volume that each element takes in crystals."""

from __future__ import annotations

import numpy as np

from crystens_flows.generators.elements import MAX_Z

PRIOR = 1.0
"""Crystals of the mean atomic volume that each element counts as having been seen in."""


def fit_volumes(atoms: np.ndarray, volumes: np.ndarray, prior: float = PRIOR) -> np.ndarray:
    """
    Fit a volume of each element to the volumes of crystals, by least squares of relative errors.

    Parameters
    ----------
    atoms
        Atoms of each atomic number in each cell, shape (n, 101).
    volumes
        Of the cells in A^3, shape (n,).
    prior
        Weight of the mean atomic volume; it decides for elements that no crystal has.

    Returns
    -------
    numpy.ndarray
        In A^3, shape (101,).
    """
    mean = float((volumes / atoms.sum(1)).mean())
    relative = np.concatenate([atoms / volumes[:, None], np.sqrt(prior) / mean * np.eye(MAX_Z + 1)])
    target = np.concatenate([np.ones(len(atoms)), np.full(MAX_Z + 1, np.sqrt(prior))])
    fitted = np.linalg.lstsq(relative, target, rcond=None)[0]
    # Light ions in small voids can come out near nothing or below; a ratio needs them positive.
    return np.maximum(fitted, mean / 10)

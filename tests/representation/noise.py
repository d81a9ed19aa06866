"""Noise on CrysTens, and what it leaves of the atomic numbers at best."""

from __future__ import annotations

import numpy as np


def noisy(tensors: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0.0, sigma, tensors.shape)
    return (tensors + noise).astype(np.float32)


def right_if_grouped(tensor: np.ndarray, numbers: tuple[int, ...]) -> bool:
    """Tell whether the atomic numbers come out right when the sites of an element are known."""
    sites = slice(12, 12 + len(numbers))
    copies = np.concatenate([tensor[:, 0, sites], tensor[:, sites, 0]])
    means = copies.mean(axis=0) * 98 + 1
    elements, group = np.unique(numbers, return_inverse=True)
    return bool((np.rint(np.bincount(group, means) / np.bincount(group)) == elements).all())

"""Fractional coordinates on the torus, and lattices as metric tensors."""

from __future__ import annotations

import torch


def wrap(difference: torch.Tensor) -> torch.Tensor:
    """Return a fractional difference as its representative in [-1/2, 1/2]."""
    return difference - torch.round(difference)


def metric_tensor(parameters: torch.Tensor) -> torch.Tensor:
    """
    Return the metric tensor of each lattice.

    Parameters
    ----------
    parameters
        a, b, c in Angstrom and alpha, beta, gamma in degrees, shape (n, 6).

    Returns
    -------
    torch.Tensor
        Shape (n, 3, 3), in square Angstrom.
    """
    lengths, cosines = parameters[:, :3], torch.cos(torch.deg2rad(parameters[:, 3:]))
    alpha, beta, gamma = cosines.unbind(1)
    one = torch.ones_like(alpha)
    rows = [one, gamma, beta, gamma, one, alpha, beta, alpha, one]
    angles = torch.stack(rows, dim=1).view(-1, 3, 3)
    return lengths[:, :, None] * lengths[:, None, :] * angles

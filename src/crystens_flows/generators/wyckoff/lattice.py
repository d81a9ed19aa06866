"""The lattice as six standardised numbers, of which the crystal system leaves one to six free."""

from __future__ import annotations

import torch
from torch import nn

from crystens_flows.generators.elements import MAX_Z, crystal_systems
from crystens_flows.generators.periodic import metric_tensor

START_NOISE = 0.2
"""Deviation of the noise on the standardised lattice of a known crystal."""

FREE_BY_SYSTEM = (
    (0, 0, 0, 0, 0, 0),
    (1, 1, 1, 1, 1, 1),  # triclinic
    (1, 1, 1, 0, 1, 0),  # monoclinic
    (1, 1, 1, 0, 0, 0),  # orthorhombic
    (1, 0, 1, 0, 0, 0),  # tetragonal
    (1, 0, 1, 0, 0, 0),  # trigonal, in hexagonal axes
    (1, 0, 1, 0, 0, 0),  # hexagonal
    (1, 0, 0, 0, 0, 0),  # cubic
)


class LatticeCodec(nn.Module):
    """
    Lattice parameters of conventional cells as standardised numbers.

    The first is a third of the logarithm of the volume per sum of the volumes that the elements
    take in the training set; then come log(a / b), log(c / sqrt(ab)) and the three angles, each
    less its mean over the crystal system and divided by its standard deviation.
    """

    free: torch.Tensor
    system: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    volumes: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("free", torch.tensor(FREE_BY_SYSTEM, dtype=torch.float32))
        self.register_buffer("system", torch.from_numpy(crystal_systems()))
        self.register_buffer("mean", torch.zeros(8, 6))
        self.register_buffer("std", torch.ones(8, 6))
        self.register_buffer("volumes", torch.full((MAX_Z + 1,), 15.0))

    def mask(self, groups: torch.Tensor) -> torch.Tensor:
        """Mark the free numbers of each space group, shape (batch, 6)."""
        return self.free[self.system[groups]]

    def expected_volume(self, numbers: torch.Tensor, multiplicities: torch.Tensor) -> torch.Tensor:
        """Sum the volumes of the elements in the primitive cell, in A^3, shape (batch,)."""
        return (self.volumes[numbers] * multiplicities).sum(1)

    @staticmethod
    def _raw(parameters: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        a, b, c = parameters[:, :3].log().unbind(1)
        volume = (torch.linalg.det(metric_tensor(parameters)).log() / 2 - expected.log()) / 3
        return torch.cat(
            [torch.stack([volume, a - b, c - (a + b) / 2], dim=1), parameters[:, 3:]], dim=1
        )

    def fit(
        self,
        parameters: torch.Tensor,
        groups: torch.Tensor,
        numbers: torch.Tensor,
        multiplicities: torch.Tensor,
        cells: torch.Tensor,
    ) -> None:
        """
        Take volumes, means and standard deviations from crystals.

        Parameters
        ----------
        parameters
            Of the conventional cells, shape (n, 6).
        groups
            Space group numbers, shape (n,).
        numbers, multiplicities
            Of the orbits, shape (n, orbits).
        cells
            Primitive cells in a conventional one, shape (n,).
        """
        volume = torch.linalg.det(metric_tensor(parameters)).sqrt() / cells
        for _ in range(30):  # each element takes the mean ratio of the crystals that have it
            ratio = (volume / self.expected_volume(numbers, multiplicities)).log()
            total, count = torch.zeros(2, MAX_Z + 1, dtype=ratio.dtype)
            weight = (multiplicities / multiplicities.sum(1, keepdim=True)).to(ratio.dtype)
            total.index_add_(0, numbers.flatten(), (ratio[:, None] * weight).flatten())
            count.index_add_(0, numbers.flatten(), weight.flatten())
            step = (total / (count + 0.5)).exp().to(self.volumes.dtype)
            self.volumes.mul_(step)
        raw = self._raw(parameters, self.expected_volume(numbers, multiplicities) * cells)
        system = self.system[groups]
        for k in range(1, 8):
            of_system = raw[system == k]
            if len(of_system) > 1:
                self.mean[k] = of_system.mean(0)
                self.std[k] = of_system.std(0).clamp_min(0.02)

    def encode(
        self, parameters: torch.Tensor, groups: torch.Tensor, expected: torch.Tensor
    ) -> torch.Tensor:
        """
        Standardise lattice parameters.

        Parameters
        ----------
        parameters
            Of the conventional cells, shape (batch, 6).
        groups
            Space group numbers, shape (batch,).
        expected
            Volume that the elements take in the conventional cell, shape (batch,).

        Returns
        -------
        torch.Tensor
            Shape (batch, 6), zero where the crystal system leaves nothing free.
        """
        system = self.system[groups]
        raw = self._raw(parameters, expected)
        return (raw - self.mean[system]) / self.std[system] * self.free[system]

    def decode(
        self, encoded: torch.Tensor, groups: torch.Tensor, expected: torch.Tensor
    ) -> torch.Tensor:
        """Restore lattice parameters of conventional cells (A, degrees), shape (batch, 6)."""
        system = self.system[groups]
        free = self.free[system]
        raw = encoded.clamp(-8, 8) * self.std[system] + self.mean[system]
        ab = raw[:, 1] * free[:, 1]
        ca = raw[:, 2] * free[:, 2]
        right = torch.full_like(raw[:, 3:], 90.0)
        hexagonal = (groups >= 143) & (groups < 195)
        right[:, 2] = torch.where(hexagonal, torch.full_like(right[:, 2], 120.0), right[:, 2])
        angles = torch.where(free[:, 3:] > 0, raw[:, 3:].clamp(35, 145), right)
        unit = torch.cat([torch.stack([ab / 2, -ab / 2, ca], dim=1).exp(), angles], dim=1)
        share = torch.linalg.det(metric_tensor(unit)).clamp_min(1e-3).log() / 2
        size = raw[:, 0].clamp(-1.5, 1.5) + (expected.log() - share) / 3
        lengths = torch.stack([ab / 2, -ab / 2, ca], dim=1) + size[:, None]
        return torch.cat([lengths.exp(), angles], dim=1)

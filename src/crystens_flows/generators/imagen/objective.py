"""What a training step draws, and its loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from crystens_flows.errors import InputError
from crystens_flows.generators.imagen.data import Crystals
from crystens_flows.generators.imagen.diffusion import Condition, diffusion_loss
from crystens_flows.generators.imagen.downscale import DOWNSCALES
from crystens_flows.generators.imagen.settings import ImagenSettings

VALIDATION_CRYSTALS = 64


def step_seed(seed: int, number: int, step: int) -> int:
    """Return the seed of all that is random in one step of one network."""
    return int(np.random.SeedSequence([seed, number, step]).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class Objective:
    """
    The loss of one network on crystals, shared by processes.

    Each process draws the noise of the whole batch and takes its share, so that the number of
    processes changes nothing but the order of sums.

    Parameters
    ----------
    name
        ``base`` or ``super_resolution``.
    settings
        Settings of the training.
    device
        Where to compute.
    process
        Number of this process.
    processes
        How many there are.
    """

    name: str
    settings: ImagenSettings
    device: torch.device
    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.settings.batch_size % self.processes:
            raise InputError(
                f"a batch of {self.settings.batch_size} crystals cannot be divided among "
                f"{self.processes} processes: give a batch_size that can"
            )

    def loss(
        self,
        network: nn.Module,
        crystals: Crystals,
        rows: np.ndarray,
        seed: int,
        times: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Return the loss of this process's share of a batch.

        Parameters
        ----------
        network
            The network.
        crystals
            Where the batch comes from.
        rows
            The batch.
        seed
            Seed of noise and times.
        times
            Times of the whole batch, shape (n,); drawn if None.

        Returns
        -------
        torch.Tensor
            A scalar.
        """
        share = slice(self.process, None, self.processes)
        generator = torch.Generator(self.device).manual_seed(seed)

        def draw(shape: torch.Size) -> torch.Tensor:
            whole = (len(rows), *shape[1:])
            return torch.randn(whole, generator=generator, device=self.device)[share]

        tensors = torch.from_numpy(crystals.tensors(rows[share])).to(self.device) * 2 - 1
        if times is None:
            times = torch.rand(len(rows), generator=generator, device=self.device)
        way = DOWNSCALES[self.settings.downscale]
        images, condition = way.down(tensors), None
        if self.name == "super_resolution":
            # one time for all of the batch, as in the library
            time = torch.rand(1, generator=generator, device=self.device)
            shown = way.up(images)
            condition = Condition.noised(shown, time.expand(len(shown)), draw(shown.shape))
            images = tensors
        return diffusion_loss(
            network,
            images,
            times[share],
            draw(images.shape),
            weight=self.settings.loss_weight,
            condition=condition,
        )

    @torch.no_grad()
    def validate(self, network: nn.Module, crystals: Crystals) -> torch.Tensor:
        """
        Return the loss on crystals held out, of this process's share.

        Parameters
        ----------
        network
            The network.
        crystals
            The crystals; of at most 64 of them, each at another time of the schedule.

        Returns
        -------
        torch.Tensor
            A scalar; the same at every call but for the network, as the noise is.
        """
        n = min(len(crystals), VALIDATION_CRYSTALS)
        n = max(n // self.processes, 1) * self.processes
        times = torch.randperm(n, generator=torch.Generator().manual_seed(0)).to(self.device)
        times = (times + 0.5) / n
        size = self.settings.batch_size
        losses = [
            self.loss(
                network,
                crystals,
                np.arange(first, min(first + size, n)) % len(crystals),
                step_seed(0, 0, first),
                times[first : first + size],
            )
            for first in range(0, n, size)
        ]
        return torch.stack(losses).mean()

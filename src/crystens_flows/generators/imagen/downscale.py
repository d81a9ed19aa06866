"""What the first network learns of a CrysTens, and how the second is shown it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from crystens_flows.representation.layout import N_LAYERS


@dataclass(frozen=True)
class Downscale:
    """
    A way from 4 x 64 x 64 to a smaller image, and back to one that the second network is shown.

    Parameters
    ----------
    channels
        Channels of the small image.
    down
        Takes tensors of shape (n, 4, 64, 64) to (n, channels, 32, 32).
    up
        Takes them back to (n, 4, 64, 64).
    """

    channels: int
    down: Callable[[torch.Tensor], torch.Tensor]
    up: Callable[[torch.Tensor], torch.Tensor]


def _nearest(images: torch.Tensor) -> torch.Tensor:
    return images[:, :, ::2, ::2]


def _doubled(images: torch.Tensor) -> torch.Tensor:
    return images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def _area(images: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(images, 2)


def _phases(images: torch.Tensor) -> torch.Tensor:
    return torch.stack(
        [images[:, layer, layer // 2 :: 2, layer % 2 :: 2] for layer in range(N_LAYERS)], dim=1
    )


def _mosaic(images: torch.Tensor) -> torch.Tensor:
    return functional.pixel_shuffle(images, 2).expand(-1, N_LAYERS, -1, -1)


def _unshuffled(images: torch.Tensor) -> torch.Tensor:
    return functional.pixel_unshuffle(images, 2)


def _shuffled(images: torch.Tensor) -> torch.Tensor:
    return functional.pixel_shuffle(images, 2)


DOWNSCALES = {
    "nearest": Downscale(N_LAYERS, _nearest, _doubled),
    "area": Downscale(N_LAYERS, _area, _doubled),
    "phases": Downscale(N_LAYERS, _phases, _mosaic),
    "unshuffle": Downscale(4 * N_LAYERS, _unshuffled, _shuffled),
}
"""
By name. ``nearest`` is that of the reference code: the even rows and columns, so that x, z, b,
alpha, gamma and every second site are not in the small image. ``area`` has the means of blocks of
2 x 2, which mix neighbouring quantities and sites. ``phases`` takes another quarter of the entries
from each layer: a quantity of a site or of the crystal stands alike in all four, so the small image
holds every one of them, at the size of ``nearest``; of the pair block it holds the distances of
even sites to even ones, the differences in x of even to odd, in y of odd to even, in z of odd to
odd. The second network is shown the quarters put together, in each channel. ``unshuffle`` keeps
every entry, in 16 channels.
"""

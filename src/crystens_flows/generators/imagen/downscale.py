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
    A way from 64 x 64 to a smaller image, and back to one that the second network is shown.

    Parameters
    ----------
    channels_each
        Channels of the small image for each layer of the tensors.
    down
        Takes tensors of shape (n, layers, 64, 64) to (n, channels, 32, 32).
    up
        Takes them back to (n, layers, 64, 64).
    """

    channels_each: int
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
        [images[:, layer, layer // 2 % 2 :: 2, layer % 2 :: 2] for layer in range(images.shape[1])],
        dim=1,
    )


def _mosaic(images: torch.Tensor) -> torch.Tensor:
    shown = functional.pixel_shuffle(images[:, :N_LAYERS], 2).expand(-1, N_LAYERS, -1, -1)
    if images.shape[1] == N_LAYERS:
        return shown
    return torch.cat([shown, _doubled(images[:, N_LAYERS:])], dim=1)


def _unshuffled(images: torch.Tensor) -> torch.Tensor:
    return functional.pixel_unshuffle(images, 2)


def _shuffled(images: torch.Tensor) -> torch.Tensor:
    return functional.pixel_shuffle(images, 2)


DOWNSCALES = {
    "nearest": Downscale(1, _nearest, _doubled),
    "area": Downscale(1, _area, _doubled),
    "phases": Downscale(1, _phases, _mosaic),
    "unshuffle": Downscale(4, _unshuffled, _shuffled),
}
"""
By name. ``nearest`` is that of the reference code: the even rows and columns, so that x, z, b,
alpha, gamma and every second site are not in the small image. ``area`` has the means of blocks of
2 x 2, which mix neighbouring quantities and sites. ``phases`` takes another quarter of the entries
from each layer: a quantity of a site or of the crystal stands alike in all four, so the small image
holds every one of them, at the size of ``nearest``; of the pair block it holds the distances of
even sites to even ones, the differences in x of even to odd, in y of odd to even, in z of odd to
odd. The second network is shown the quarters put together, in each channel. ``unshuffle`` keeps
every entry, in four channels a layer. Layers of descriptors are taken as the others; of ``phases``
they have a quarter in the same turn, and are shown to the second network as ``nearest`` does.
"""

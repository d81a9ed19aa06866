"""The two U-nets of imagen-pytorch."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import torch
from torch import nn

from crystens_flows.generators.imagen.downscale import DOWNSCALES
from crystens_flows.generators.imagen.library import import_imagen
from crystens_flows.generators.imagen.norms import use_faster_norms
from crystens_flows.generators.imagen.settings import ImagenSettings, NetworkSettings
from crystens_flows.representation.layout import N_LAYERS

_OF_TEXT = ("null_text_embed", "null_text_hidden", "attn_pool.")
"""Parameters for conditions given as text: they are there in unconditional networks too, unused."""


def build_network(
    settings: NetworkSettings,
    channels: int = N_LAYERS,
    *,
    conditioned: bool = False,
    device: str = "cpu",
) -> nn.Module:
    """
    Build one U-net.

    Parameters
    ----------
    settings
        Its sizes.
    channels
        Channels of its images.
    conditioned
        Whether it is shown the result of the network before it.
    device
        Where its parameters are; ``"meta"`` for a network without values.

    Returns
    -------
    torch.nn.Module
        Takes noisy images of shape (n, channels, size, size) and log signal-to-noise ratios of
        shape (n,) to the noise in the images. Parameters that it does not use need no gradient.
    """
    unet = import_imagen().Unet
    # the library prints that networks of fewer than 128 channels are small
    with torch.device(device), contextlib.redirect_stdout(io.StringIO()):
        network: nn.Module = unet(
            **settings.model_dump(),
            channels=channels,
            lowres_cond=conditioned,
            cond_on_text=False,
        )
    use_faster_norms(network)
    for name, parameter in network.named_parameters():
        if name.startswith(_OF_TEXT):
            parameter.requires_grad_(False)
    return network


def build_base(settings: ImagenSettings, device: str = "cpu") -> nn.Module:
    """Build the first network; its channels follow from the way of down-scaling."""
    channels = DOWNSCALES[settings.downscale].channels_each * settings.n_layers
    return build_network(settings.base, channels, device=device)


def build_super_resolution(settings: ImagenSettings, device: str = "cpu") -> nn.Module:
    """Build the second network, which is shown the result of the first."""
    return build_network(
        settings.super_resolution, settings.n_layers, conditioned=True, device=device
    )


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "base": build_base,
    "super_resolution": build_super_resolution,
}
"""What builds each network, in the order in which they are trained and sampled from."""

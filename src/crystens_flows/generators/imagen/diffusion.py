"""The noise schedule, the training loss, and the estimate of the clean image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from crystens_flows.generators.imagen.library import import_imagen

MIN_SNR_GAMMA = 5.0
"""Signal-to-noise ratios above it count as it, in the loss weight `min_snr`."""


@lru_cache
def _schedule(kind: str) -> Any:
    library = import_imagen().imagen_pytorch
    return library.GaussianDiffusionContinuousTimes(noise_schedule=kind)


def image_schedule() -> Any:
    """Return the schedule of the images of both networks: a cosine in continuous time 0 to 1."""
    return _schedule("cosine")


def condition_schedule() -> Any:
    """Return the schedule of what the second network is shown: linear."""
    return _schedule("linear")


def alpha_sigma(log_snr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how much of image and noise a noisy image holds, of shape (n, 1, 1, 1)."""
    log_snr = log_snr[:, None, None, None]
    return log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()


@dataclass(frozen=True)
class Condition:
    """
    What the second network is shown: the first one's result, noised.

    Parameters
    ----------
    image
        The noised image, shape (n, layers, 64, 64).
    log_snr
        Its log signal-to-noise ratio, shape (n,).
    """

    image: torch.Tensor
    log_snr: torch.Tensor

    @classmethod
    def noised(cls, image: torch.Tensor, time: torch.Tensor, noise: torch.Tensor) -> Condition:
        """
        Noise an image.

        Parameters
        ----------
        image
            In -1..1, shape (n, layers, 64, 64).
        time
            Time of the schedule, shape (n,).
        noise
            Normal noise of the same shape as `image`.

        Returns
        -------
        Condition
            The noised image.
        """
        noisy, *_ = condition_schedule().q_sample(x_start=image, t=time, noise=noise)
        return cls(noisy, condition_schedule().get_condition(time))


def predict_noise(
    network: nn.Module, noisy: torch.Tensor, log_snr: torch.Tensor, condition: Condition | None
) -> torch.Tensor:
    """Return the noise that a network sees in noisy images, of their shape."""
    if condition is None:
        return network(noisy, log_snr)
    return network(
        noisy, log_snr, lowres_cond_img=condition.image, lowres_noise_times=condition.log_snr
    )


def loss_weight(log_snr: torch.Tensor, kind: str) -> torch.Tensor:
    """
    Weigh noise levels in the loss.

    Parameters
    ----------
    log_snr
        Log signal-to-noise ratios, shape (n,).
    kind
        ``p2``: one over the root of 1 + SNR (arXiv 2204.00227, k = 1, gamma = 1/2, the library's
        default when the paper was written); ``min_snr``: the smaller of SNR and 5 over SNR
        (arXiv 2303.09556, its default now).

    Returns
    -------
    torch.Tensor
        Weights of shape (n,).
    """
    snr = log_snr.exp()
    if kind == "p2":
        return (1 + snr).rsqrt()
    return snr.clamp(max=MIN_SNR_GAMMA) / snr


def diffusion_loss(
    network: nn.Module,
    images: torch.Tensor,
    times: torch.Tensor,
    noise: torch.Tensor,
    *,
    weight: str,
    condition: Condition | None = None,
) -> torch.Tensor:
    """
    Compute the weighted mean squared error of the predicted noise.

    Parameters
    ----------
    network
        The network.
    images
        Clean images in -1..1, shape (n, channels, size, size).
    times
        Times of the schedule, shape (n,).
    noise
        Normal noise of the shape of `images`.
    weight
        As for :func:`loss_weight`.
    condition
        What the second network is shown.

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    noisy, log_snr, *_ = image_schedule().q_sample(x_start=images, t=times, noise=noise)
    predicted = predict_noise(network, noisy, log_snr, condition)
    errors = (predicted - noise).square().mean((1, 2, 3))
    return (errors * loss_weight(log_snr, weight)).mean()


def predict_image(
    network: nn.Module,
    noisy: torch.Tensor,
    times: torch.Tensor,
    condition: Condition | None,
    threshold: float,
) -> torch.Tensor:
    """
    Estimate clean images, with the dynamic thresholding of Imagen (arXiv 2205.11487).

    Parameters
    ----------
    network
        The network.
    noisy
        Noisy images, shape (n, channels, size, size).
    times
        Their times, shape (n,).
    condition
        What the second network is shown.
    threshold
        The quantile of an image's absolute values that bounds them, if above 1.

    Returns
    -------
    torch.Tensor
        Images in -1..1, of the shape of `noisy`.
    """
    schedule = image_schedule()
    noise = predict_noise(network, noisy, schedule.get_condition(times), condition)
    image = schedule.predict_start_from_noise(noisy, t=times, noise=noise)
    bound = torch.quantile(image.flatten(1).abs(), threshold, dim=1).clamp(min=1.0)
    bound = bound[:, None, None, None]
    return image.clamp(-bound, bound) / bound

"""From noise to CrysTens, one image after the other or in fewer steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from crystens_flows.generators.imagen.diffusion import (
    Condition,
    alpha_sigma,
    image_schedule,
    predict_image,
)
from crystens_flows.generators.imagen.downscale import DOWNSCALES
from crystens_flows.generators.imagen.settings import SamplingSettings
from crystens_flows.representation.layout import N_LAYERS, SIZE

Noise = Callable[[tuple[int, ...]], torch.Tensor]
"""Makes normal noise of a shape whose first axis is the batch."""

Step = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes noisy images, estimates of the clean ones, times and next times to less noisy images."""


class SampleNoise:
    """
    Normal noise of samples, each from a stream of its own.

    Parameters
    ----------
    seed
        Seed of the sampling.
    indices
        Index of each sample of the batch.
    device
        Where the noise is needed; it is drawn on the CPU, so that all devices see the same.
    """

    def __init__(self, seed: int, indices: Sequence[int], device: torch.device) -> None:
        self.streams = [np.random.default_rng([seed, index]) for index in indices]
        self.device = device

    def __call__(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Draw the next noise of each sample, of this shape together."""
        noise = np.empty(shape, dtype=np.float32)
        for stream, row in zip(self.streams, noise, strict=True):
            stream.standard_normal(out=row, dtype=np.float32)
        return torch.from_numpy(noise).to(self.device)


def _ancestral(noise: Noise) -> Step:
    """Draw from the distribution of the next image, as the library does to the last step."""

    def step(
        noisy: torch.Tensor, image: torch.Tensor, time: torch.Tensor, following: torch.Tensor
    ) -> torch.Tensor:
        mean, _, log_variance = image_schedule().q_posterior(
            x_start=image, x_t=noisy, t=time, t_next=following
        )
        spread = (0.5 * log_variance).exp() * (following > 0)[:, None, None, None]
        return mean + spread * noise(tuple(noisy.shape))

    return step


def _ddim() -> Step:
    """Follow the probability flow to first order (arXiv 2010.02502)."""

    def step(
        noisy: torch.Tensor, image: torch.Tensor, time: torch.Tensor, following: torch.Tensor
    ) -> torch.Tensor:
        alpha, sigma = alpha_sigma(image_schedule().get_condition(time))
        next_alpha, next_sigma = alpha_sigma(image_schedule().get_condition(following))
        return next_alpha * image + next_sigma * (noisy - alpha * image) / sigma

    return step


def _second_order() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Lead estimates of the clean image on along the line through the last two."""
    last: tuple[torch.Tensor, torch.Tensor] | None = None

    def lead(image: torch.Tensor, ahead: torch.Tensor) -> torch.Tensor:
        nonlocal last
        led = image
        if last is not None:
            led = image + ahead / (2 * last[1]) * (image - last[0])
        last = (image, ahead)
        return led

    return lead


def _dpm() -> Step:
    """Follow the flow to second order: DPM-Solver++ (2M), arXiv 2211.01095."""
    lead = _second_order()

    def step(
        noisy: torch.Tensor, image: torch.Tensor, time: torch.Tensor, following: torch.Tensor
    ) -> torch.Tensor:
        now, then = (image_schedule().get_condition(t) for t in (time, following))
        ahead = (then - now)[:, None, None, None] / 2
        (_, sigma), (next_alpha, next_sigma) = alpha_sigma(now), alpha_sigma(then)
        return next_sigma / sigma * noisy - next_alpha * torch.expm1(-ahead) * lead(image, ahead)

    return step


def _sde(noise: Noise) -> Step:
    """Draw each image to second order: SDE-DPM-Solver++ (2M), arXiv 2211.01095."""
    lead = _second_order()

    def step(
        noisy: torch.Tensor, image: torch.Tensor, time: torch.Tensor, following: torch.Tensor
    ) -> torch.Tensor:
        now, then = (image_schedule().get_condition(t) for t in (time, following))
        ahead = (then - now)[:, None, None, None] / 2
        (_, sigma), (next_alpha, next_sigma) = alpha_sigma(now), alpha_sigma(then)
        fresh = -torch.expm1(-2 * ahead)
        return (
            next_sigma / sigma * torch.exp(-ahead) * noisy
            + next_alpha * fresh * lead(image, ahead)
            + next_sigma * fresh.sqrt() * noise(tuple(noisy.shape))
        )

    return step


def sampler_step(sampler: str, noise: Noise) -> Step:
    """
    Return what a sampler does in one step.

    Parameters
    ----------
    sampler
        Its name in :class:`~crystens_flows.generators.imagen.settings.SamplingSettings`.
    noise
        Source of the noise, of which ``ancestral`` and ``sde`` take some in each step.

    Returns
    -------
    Step
        For one batch and one network, as it may remember the step before.
    """
    made: dict[str, Callable[[], Step]] = {
        "ancestral": lambda: _ancestral(noise),
        "sde": lambda: _sde(noise),
        "ddim": _ddim,
        "dpm": _dpm,
    }
    return made[sampler]()


def denoise(
    network: nn.Module,
    shape: tuple[int, ...],
    noise: Noise,
    settings: SamplingSettings,
    condition: Condition | None = None,
) -> torch.Tensor:
    """
    Carry noise to images with one network.

    Parameters
    ----------
    network
        The network.
    shape
        Shape of the images, (n, channels, size, size).
    noise
        Source of the noise.
    settings
        Sampler and number of steps.
    condition
        What the second network is shown.

    Returns
    -------
    torch.Tensor
        Images in -1..1 of that shape.
    """
    step = sampler_step(settings.sampler, noise)
    images = noise(shape)
    times = torch.linspace(1.0, 0.0, settings.steps + 1, device=images.device)
    if settings.sampler != "ancestral":
        times = times.square()  # few steps are needed most where little noise is left
    for k in range(settings.steps):
        time, following = times[k].expand(shape[0]), times[k + 1].expand(shape[0])
        clean = predict_image(network, images, time, condition, settings.threshold)
        if k == settings.steps - 1 and settings.sampler != "ancestral":
            # the schedule ends with some noise left, which would stay in the sample
            images = clean
        else:
            images = step(images, clean, time, following)
    return images.clamp(-1.0, 1.0)


@torch.no_grad()
def sample_cascade(
    networks: dict[str, nn.Module],
    n_samples: int,
    noise: Noise,
    downscale: str,
    settings: SamplingSettings,
    n_layers: int = N_LAYERS,
) -> torch.Tensor:
    """
    Sample with one network after the other.

    Parameters
    ----------
    networks
        ``base`` and ``super_resolution``.
    n_samples
        Size of the batch.
    noise
        Source of the noise.
    downscale
        What the first network has learnt, a key of
        :data:`~crystens_flows.generators.imagen.downscale.DOWNSCALES`.
    settings
        How to sample.
    n_layers
        Layers that the networks were trained with.

    Returns
    -------
    torch.Tensor
        Normalised CrysTens in 0..1, shape (n_samples, n_layers, 64, 64).
    """
    way = DOWNSCALES[downscale]
    small_shape = (n_samples, way.channels_each * n_layers, SIZE // 2, SIZE // 2)
    small = denoise(networks["base"], small_shape, noise, settings)
    shown = way.up(small)
    time = torch.full((n_samples,), settings.condition_noise, device=small.device)
    condition = Condition.noised(shown, time, noise(tuple(shown.shape)))
    shape = (n_samples, n_layers, SIZE, SIZE)
    images = denoise(networks["super_resolution"], shape, noise, settings, condition)
    return (images + 1) / 2

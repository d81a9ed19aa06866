"""The moving average of a network's parameters, which samples are drawn with."""

from __future__ import annotations

import torch
from torch import nn

DECAY = 0.9999
POWER = 2 / 3
START = 100
"""Steps before which the average is a copy; these three are the defaults of ema-pytorch."""


def update_average(average: nn.Module, network: nn.Module, step: int, every: int) -> None:
    """
    Take a step into a moving average, as ema-pytorch does by default.

    Parameters
    ----------
    average
        The average, changed in place.
    network
        The network after the step.
    step
        Steps that were taken before this one.
    every
        The average changes in each of so many steps.
    """
    if step % every:
        return
    decay = 0.0
    if step > START:
        decay = min(DECAY, 1 - (1 + step - START) ** -POWER)
    with torch.no_grad():
        averages: list[torch.Tensor] = list(average.parameters())
        torch._foreach_lerp_(averages, list(network.parameters()), 1 - decay)

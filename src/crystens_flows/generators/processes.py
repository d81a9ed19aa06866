"""The processes that train a network together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch

from crystens_flows.errors import import_extra
from crystens_flows.generators.base import Progress
from crystens_flows.generators.pause import TrainingPaused


class Processes:
    """
    One process by itself, or those that ``accelerate launch`` started, each with its device.

    All have the same networks; each computes the gradients of its share of a batch, and all take
    the step of their mean.

    Attributes
    ----------
    index, count
        Which of them this is, and how many there are.
    device
        Where this one computes.

    Raises
    ------
    MissingExtraError
        If there are several and accelerate is not installed.
    """

    def __init__(self) -> None:
        self._accelerator: Any = None
        self.index, self.count = 0, 1
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            accelerate = import_extra("accelerate", "imagen", "training in several processes")
            self._accelerator = accelerate.Accelerator()
            self.index = self._accelerator.process_index
            self.count = self._accelerator.num_processes
            self.device = self._accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.index == 0

    def wait(self) -> None:
        """Wait for the others."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """
        Put the mean over the processes in the place of gradients.

        Parameters
        ----------
        parameters
            Those of a network; a parameter without gradient counts as one of gradient zero.
        """
        if self._accelerator is None:
            return
        trained = [each for each in parameters if each.requires_grad]
        for each in trained:
            if each.grad is None:
                each.grad = torch.zeros_like(each)
        parts = [each.grad.flatten() for each in trained if each.grad is not None]
        together = self._accelerator.reduce(torch.cat(parts), "mean")
        sizes = [each.numel() for each in trained]
        for each, part in zip(trained, together.split(sizes), strict=True):
            each.grad = part.view_as(each)

    def together(self, progress: Progress | None) -> Progress | None:
        """
        Let the main process report, and all pause at the step at which it is told to.

        Parameters
        ----------
        progress
            Called in the main process alone.

        Returns
        -------
        callable or None
            What to give to a training as its `progress`, in every process.
        """
        return (
            progress if self._accelerator is None else report_together(progress, self._accelerator)
        )


def report_together(progress: Progress | None, accelerator: Any) -> Progress:
    """
    Let the main process report, and all pause at the step at which it is told to.

    Parameters
    ----------
    progress
        Called in the main process alone.
    accelerator
        What accelerate knows the processes by.
    """

    def report(done: int, total: int) -> None:
        paused = torch.zeros((), device=accelerator.device)
        if accelerator.is_main_process and progress is not None:
            try:
                progress(done, total)
            except TrainingPaused:
                paused += 1
        if accelerator.reduce(paused) > 0:
            raise TrainingPaused(done, total)

    return report

"""Training of one of the two networks: resumable, on one device or many."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from crystens_flows.errors import TrainingError, import_extra
from crystens_flows.generators.base import Progress
from crystens_flows.generators.imagen.average import update_average
from crystens_flows.generators.imagen.data import Crystals
from crystens_flows.generators.imagen.networks import NETWORKS
from crystens_flows.generators.imagen.objective import Objective, step_seed
from crystens_flows.generators.imagen.settings import ImagenSettings
from crystens_flows.generators.imagen.state import (
    PURPOSE,
    load_state,
    read_progress,
    save_state,
)
from crystens_flows.generators.pause import report

if TYPE_CHECKING:
    from accelerate import Accelerator

ADAM_BETAS = (0.9, 0.99)
"""The library's."""

SAVE_SECONDS = 120.0
"""How often the state of a training is written, if that is quick."""

SAVE_SHARE = 0.02
"""Most of the time that writing states may take."""

RECORD_STEPS = 250


def make_accelerator() -> Accelerator:
    """
    Set up the devices: one process by itself, or one of those that ``accelerate launch`` started.

    Returns
    -------
    Accelerator
        In bfloat16 where a GPU has it.

    Raises
    ------
    MissingExtraError
        If accelerate is not installed.
    """
    accelerate = import_extra("accelerate", "imagen", PURPOSE)
    half = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return accelerate.Accelerator(mixed_precision="bf16" if half else None)


@dataclass
class NetworkTrainer:
    """
    One network, its optimiser, its moving average and where its training stands.

    Step `k` depends on the seed, `k` and the state before it alone, so a training that is
    interrupted and continued is the one that was not: to the last bit on a CPU, and on a GPU but
    for the order in which its kernels add.

    Parameters
    ----------
    name
        ``base`` or ``super_resolution``.
    network
        The network.
    settings
        Settings of the training.
    folder
        Where the state and the learning curve are kept.
    steps
        How many steps in all.
    seed
        Seed of the training.
    accelerator
        The devices.
    """

    name: str
    network: nn.Module
    settings: ImagenSettings
    folder: Path
    steps: int
    seed: int
    accelerator: Accelerator
    step: int = 0
    seconds: float = 0.0
    average: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        device = self.accelerator.device
        self.objective = Objective(
            self.name,
            self.settings,
            device,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        self.number = list(NETWORKS).index(self.name)
        self.network.to(device)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.optimizer = torch.optim.Adam(
            [p for p in self.network.parameters() if p.requires_grad],
            self.settings.learning_rate,
            betas=ADAM_BETAS,
            fused=device.type in ("cpu", "cuda"),
        )
        self.prepared: nn.Module = self.accelerator.prepare(self.network)
        self._saved = time.monotonic()
        self._saved_step = 0
        self._wait = SAVE_SECONDS

    @property
    def state_file(self) -> Path:
        """The file that training continues from."""
        return state_file(self.folder, self.name)

    def run(self, train: Crystals, validation: Crystals, progress: Progress | None = None) -> float:
        """
        Train up to the number of steps, from the state in the folder if there is one.

        Parameters
        ----------
        train
            The crystals to learn.
        validation
            Crystals held out, for the learning curve.
        progress
            Called with the steps done and the steps in all.

        Returns
        -------
        float
            The loss of the average on the crystals held out.

        Raises
        ------
        TrainingError
            If the loss is no longer a number, or the state cannot be written.
        CheckpointError
            If the state cannot be read.
        TrainingPaused
            If `progress` raises it, in all processes at the same step; the state is written.
        """
        if self.state_file.is_file():
            state = load_state(self.state_file, self.network, self.average, self.optimizer)
            self.step, self.seconds = state["step"], state["seconds"]
        self.network.train()
        losses, held_out = [], None
        while self.step < self.steps:
            began = time.monotonic()
            losses.append(self.take_step(train))
            self.seconds += time.monotonic() - began
            last = self.step == self.steps
            if last or self.step % RECORD_STEPS == 0:
                held_out = self._validate(validation)
                self._record(float(np.mean(losses)), held_out)
                losses = []
            self._save(force=last)
            report(progress, self.step, self.steps, self._save_now)
        return self._validate(validation) if held_out is None else held_out

    def take_step(self, train: Crystals) -> float:
        """
        Take the next step.

        Parameters
        ----------
        train
            The crystals to learn.

        Returns
        -------
        float
            The loss before it.

        Raises
        ------
        TrainingError
            If that is not a number.
        """
        seed = step_seed(self.seed, self.number, self.step)
        rows = np.random.default_rng(seed).integers(0, len(train), self.settings.batch_size)
        torch.manual_seed(seed + self.accelerator.process_index)  # for dropout
        loss = self.objective.loss(self.prepared, train, rows, seed)
        value = float(self.accelerator.reduce(loss.detach(), "mean"))
        if not math.isfinite(value):
            raise self._diverged("the loss is not a number")
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        if self.settings.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()
        update_average(self.average, self.network, self.step, self.settings.ema_every)
        self.step += 1
        return value

    def _validate(self, validation: Crystals) -> float:
        loss = self.objective.validate(self.average, validation)
        return float(self.accelerator.reduce(loss, "mean"))

    def _record(self, train: float, validation: float) -> None:
        if not self.accelerator.is_main_process:
            return
        line = {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "train": train,
            "validation": validation,
        }
        with (self.folder / f"{self.name}-learning-curve.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _save(self, *, force: bool) -> None:
        """Write the state if it is time, and only if it is one to continue from."""
        if not self.accelerator.is_main_process:
            return
        began = time.monotonic()
        if not force and began - self._saved < self._wait:
            return
        norms = torch._foreach_norm([p.detach() for p in self.network.parameters()])
        if not torch.isfinite(torch.stack(norms)).all():
            raise self._diverged("a parameter is not a number")
        progress = {"step": self.step, "seconds": self.seconds}
        save_state(self.state_file, self.network, self.average, self.optimizer, progress)
        self._saved, self._saved_step = time.monotonic(), self.step
        self._wait = max(SAVE_SECONDS, (self._saved - began) / SAVE_SHARE)

    def _save_now(self) -> None:
        """Write the state, unless it is that of this step, before any process goes on."""
        if self.step != self._saved_step:
            self._save(force=True)
        self.accelerator.wait_for_everyone()

    def _diverged(self, reason: str) -> TrainingError:
        kept = "no state had been written"
        if self.state_file.is_file():
            step = read_progress(self.state_file)["step"]
            kept = f"the state of step {step} is kept in {self.folder}"
        return TrainingError(
            f"training of the network '{self.name}' stopped at step {self.step}: {reason}; {kept}. "
            "Start again with the same folder and a smaller learning_rate or a max_grad_norm"
        )


def state_file(folder: Path, name: str) -> Path:
    """Return where the state of a network's training is kept."""
    return folder / f"{name}-state.safetensors"

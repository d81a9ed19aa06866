"""Training of two networks against each other, which continues where it was."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crystens_flows.errors import CheckpointError, TrainingError
from crystens_flows.generators.adversarial.adversary import Adversary
from crystens_flows.generators.adversarial.library import to_images
from crystens_flows.generators.adversarial.weights import kept_at, load_state, save_state
from crystens_flows.generators.base import Progress
from crystens_flows.generators.checkpoints import write_atomically
from crystens_flows.generators.imagen.data import Crystals
from crystens_flows.generators.pause import report

SAVE_SECONDS = 180.0
"""How often the state is written within an epoch."""

SAVE_SHARE = 0.05
"""Largest share of the time that writing it after each epoch may take."""

LOG_FILE = "losses.jsonl"
STATE_FILE = "training-state.safetensors"


@dataclass
class AdversarialTrainer:
    """
    Trains for a number of steps, and writes the state after each epoch or each few minutes.

    What is random in a step depends on the seed and the number of the step alone, so a training
    that was interrupted goes on as if it had not been.

    Parameters
    ----------
    adversary
        The networks.
    crystals
        What to train on.
    folder
        Where the state and the losses are kept.
    seed
        Seed of order and noise.
    steps
        How many steps in all.
    steps_per_epoch
        After how many the state is written.
    """

    adversary: Adversary
    crystals: Crystals
    folder: Path
    seed: int
    steps: int
    steps_per_epoch: int
    step: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    _lines: list[str] = field(default_factory=list)

    @property
    def state_file(self) -> Path:
        """The file that training continues from."""
        return self.folder / STATE_FILE

    def run(self, progress: Progress | None = None) -> None:
        """
        Train up to the number of steps.

        Parameters
        ----------
        progress
            Called with the steps done and the steps in all.

        Raises
        ------
        TrainingError
            If a loss or a weight is not a finite number, or the disk is full; the last good state
            is kept.
        CheckpointError
            If the state of an earlier start is damaged, or of networks of other sizes.
        TrainingPaused
            If `progress` raises it; the state is written.
        """
        self._resume()
        saved, writing = time.monotonic(), 0.0
        while self.step < self.steps:
            began = time.monotonic()
            rng = np.random.default_rng([self.seed, 1, self.step])
            losses = self.adversary.step(len(self.crystals), self._render, rng)
            self.step += 1
            self.seconds += time.monotonic() - began
            self._record(losses)
            now = time.monotonic()
            waited = now - saved
            at_end = self.step % self.steps_per_epoch == 0 and waited * SAVE_SHARE >= writing
            if at_end or waited >= SAVE_SECONDS or self.step == self.steps:
                self._save()
                saved = time.monotonic()
                writing = saved - now
            report(progress, self.step, self.steps, self._save)

    def _render(self, rows: np.ndarray) -> np.ndarray:
        return to_images(self.crystals.tensors(rows))

    def _record(self, losses: np.ndarray) -> None:
        self.losses = dict(zip(self.adversary.losses, map(float, losses), strict=True))
        if not np.isfinite(losses).all():
            name = next(k for k, v in self.losses.items() if not np.isfinite(v))
            raise self._diverged(f"the loss '{name}' is {self.losses[name]}")
        line: dict[str, Any] = {
            "epoch": (self.step - 1) // self.steps_per_epoch + 1,
            "step": self.step,
            "seconds": round(self.seconds, 2),
            **self.losses,
        }
        self._lines.append(json.dumps(line) + "\n")

    def _save(self) -> None:
        """Write the losses since the last state, then the state."""
        progress = {"step": self.step, "seconds": self.seconds, "losses": self.losses}
        try:
            with (self.folder / LOG_FILE).open("a") as file:
                file.writelines(self._lines)
        except OSError as exc:
            raise TrainingError(
                f"{self.folder / LOG_FILE} cannot be written ({exc.strerror or exc}); "
                f"{kept_at(self.state_file)}: make room on the disk and start again with the same "
                "folder"
            ) from exc
        self._lines = []
        try:
            save_state(self.state_file, self.adversary, progress)
        except FloatingPointError as exc:
            raise self._diverged(f"'{exc}' is not finite") from None

    def _resume(self) -> None:
        """Continue from the state in the folder, if there is one."""
        log = self.folder / LOG_FILE
        if self.state_file.is_file():
            state = load_state(self.state_file, self.adversary)
            self.step, self.seconds = state["step"], state["seconds"]
            self.losses = state["losses"]
        if not log.is_file():
            return
        # Steps after the last state are taken again; of a line cut short there is no number.
        kept = []
        for line in log.read_text().splitlines(keepends=True):
            try:
                if json.loads(line)["step"] <= self.step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                break
        write_atomically(log, "".join(kept).encode())

    def _diverged(self, reason: str) -> TrainingError:
        try:
            kept = kept_at(self.state_file)
        except CheckpointError as exc:
            kept = str(exc)
        return TrainingError(
            f"training stopped at step {self.step}: {reason}; {kept} in {self.folder}. Start again "
            "with the same folder and smaller learning rates, or with --steps up to that step for "
            "a generator of that state"
        )

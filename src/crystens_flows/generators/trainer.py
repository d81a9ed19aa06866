"""One network as it is trained: optimiser, moving average, learning curve, state to go on from."""

from __future__ import annotations

import copy
import io
import json
import math
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from crystens_flows.errors import CheckpointError
from crystens_flows.generators.checkpoints import write_atomically
from crystens_flows.generators.processes import Processes

EMA_DECAY = 0.999
SAVE_SECONDS = 120.0
"""How often the state of a training is written."""

COOLDOWN = 0.4
"""Last share of the steps, in which the learning rate falls to zero."""


Model = TypeVar("Model", bound=nn.Module)


@dataclass
class Trainer(Generic[Model]):
    """
    One network, its optimiser, its moving average and where training stands.

    Parameters
    ----------
    name
        Name of the network, for its files.
    model
        The network.
    folder
        Where the state and the learning curve are kept.
    steps
        How many steps in all.
    learning_rate
        Peak learning rate of AdamW.
    weight_decay
        Weight decay of AdamW.
    seed
        Seed of the order of the data and of all that is random in a step, which depends on the
        seed, the name and the number of the step alone: a training that was interrupted and goes
        on is the one that was not.
    processes
        The processes that train together.
    """

    name: str
    model: Model
    folder: Path
    steps: int
    learning_rate: float
    weight_decay: float
    seed: int = 0
    processes: Processes = field(default_factory=Processes)
    step: int = 0
    seconds: float = 0.0
    average: Model = field(init=False)
    best: dict[str, Any] | None = None
    epochs: int = 0
    taken: int = 0
    """Epochs done, and batches taken of the one that is not."""

    running: list[list[float]] = field(default_factory=list)
    """Training losses since the last line of the learning curve."""

    def __post_init__(self) -> None:
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            self.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=self.weight_decay,
        )
        self._saved = time.monotonic()

    @property
    def state_file(self) -> Path:
        """The file that training continues from."""
        return self.folder / f"{self.name}-state.pt"

    @property
    def curve_file(self) -> Path:
        """The file of the learning curve."""
        return self.folder / f"{self.name}-learning-curve.jsonl"

    def rate(self) -> float:
        """Return the learning rate of the coming step: warm-up, constant, then a cosine to zero."""
        warmup = min(1.0, (self.step + 1) / min(300, max(1, self.steps // 10)))
        left = (self.steps - self.step) / max(1.0, COOLDOWN * self.steps)
        fall = 1.0 if left >= 1 else 0.5 * (1 - math.cos(math.pi * left))
        return self.learning_rate * warmup * max(fall, 0.01)

    def stream(self) -> np.random.Generator:
        """Return what is random in the coming step, and set it for PyTorch, in this process."""
        key = [self.seed, zlib.crc32(self.name.encode()), self.step, self.processes.index + 1]
        rng = np.random.default_rng(key)
        torch.manual_seed(int(rng.integers(2**63)))
        return rng

    def update(self, loss: torch.Tensor) -> None:
        """Take one step of the optimiser and of the moving average."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.processes.average_gradients(self.model.parameters())
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            averages: list[torch.Tensor] = list(self.average.parameters())
            torch._foreach_lerp_(averages, list(self.model.parameters()), 1 - decay)
        self.step += 1

    def record(self, **values: float) -> None:
        """Append a line to the learning curve."""
        if not self.processes.is_main:
            return
        line = {"step": self.step, "seconds": round(self.seconds, 1), "rate": self.rate(), **values}
        with self.curve_file.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def save(self, force: bool = False) -> None:
        """Write the state, if enough time has passed since the last."""
        if not self.processes.is_main:
            return
        if not force and time.monotonic() - self._saved < SAVE_SECONDS:
            return
        self._saved = time.monotonic()
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "epochs": self.epochs,
            "taken": self.taken,
            "running": self.running,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.state_file, buffer.getvalue())

    def resume(self) -> None:
        """
        Continue from the state in the folder, if there is one.

        What the learning curve has of later steps, which were lost, is taken off.

        Raises
        ------
        CheckpointError
            If the state is damaged, or that of another network.
        """
        if not self.state_file.is_file():
            return
        try:
            device = next(self.model.parameters()).device
            state: dict[str, Any] = torch.load(self.state_file, device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
            self.epochs, self.taken = state["epochs"], state["taken"]
            self.running = state["running"]
        except Exception as exc:
            raise CheckpointError(
                f"{self.state_file} cannot be continued from ({type(exc).__name__}): "
                "delete it to train from the start"
            ) from exc
        self._shorten_curve()

    def _shorten_curve(self) -> None:
        if not (self.processes.is_main and self.curve_file.is_file()):
            return
        kept = []
        for line in self.curve_file.read_text().splitlines(keepends=True):
            if not line.endswith("\n") or json.loads(line)["step"] > self.step:
                break
            kept.append(line)
        write_atomically(self.curve_file, "".join(kept).encode())

    def keep_best(self, loss: float) -> None:
        """Keep the moving average if its validation loss is the lowest so far."""
        if self.best is None or loss < self.best["loss"]:
            average = copy.deepcopy(self.average.state_dict())
            self.best = {"loss": loss, "average": average}

    def take_best(self, validate: Callable[[], float]) -> float:
        """Put the best moving average in place and return its validation loss."""
        if self.best is None:
            return validate()
        self.average.load_state_dict(self.best["average"])
        return float(self.best["loss"])

    def epoch(self, n_sites: np.ndarray, max_sites: int, max_pairs: int) -> Iterator[np.ndarray]:
        """
        Give the batches of an epoch, crystals of similar size together.

        Parameters are those of :func:`batches_by_size`; see :meth:`epoch_of`.
        """
        yield from self.epoch_of(
            lambda rng: list(batches_by_size(n_sites, rng, max_sites, max_pairs))
        )

    def epoch_of(
        self, divide: Callable[[np.random.Generator], list[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """
        Give the batches of an epoch, of one that was interrupted those that are left.

        Parameters
        ----------
        divide
            Divides the data into batches, in random order.

        Yields
        ------
        numpy.ndarray
            The share of this process in a batch, at least one row.
        """
        key = [self.seed, zlib.crc32(self.name.encode()), self.epochs, 0, 1]
        batches = divide(np.random.default_rng(key))
        while self.taken < len(batches):
            batch = batches[self.taken]
            self.taken += 1
            yield batch[self.processes.index % len(batch) :: self.processes.count]
        self.epochs, self.taken = self.epochs + 1, 0


def batches_by_size(
    n_sites: np.ndarray, rng: np.random.Generator, max_sites: int, max_pairs: int
) -> Iterator[np.ndarray]:
    """
    Divide a data set into batches of crystals of similar size, in random order.

    Parameters
    ----------
    n_sites
        Number of sites of each crystal, shape (n,).
    rng
        Source of the order.
    max_sites
        Most sites of a batch, padding included.
    max_pairs
        Most pairs of sites of a batch, padding included.

    Yields
    ------
    numpy.ndarray
        Indices of a batch.
    """
    order = np.argsort(n_sites + rng.uniform(-1.5, 1.5, len(n_sites)))
    batches: list[np.ndarray] = []
    first, largest = 0, 0
    for last, index in enumerate(order):
        larger = max(largest, int(n_sites[index]))
        count = last - first + 1
        if count > 1 and (count * larger > max_sites or count * larger**2 > max_pairs):
            batches.append(order[first:last])
            first, larger = last, int(n_sites[index])
        largest = larger
    batches.append(order[first:])
    for k in rng.permutation(len(batches)):
        yield batches[k]

"""Training of the two networks: resumable, with a learning curve."""

from __future__ import annotations

import copy
import io
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from crystens_flows.errors import CheckpointError, DatasetError
from crystens_flows.generators.base import Progress
from crystens_flows.generators.checkpoints import write_atomically
from crystens_flows.generators.flow.coupling import match_noise
from crystens_flows.generators.flow.network import COORDINATE_SCALE, FlowNetwork
from crystens_flows.generators.flow.specification import (
    MAX_ELEMENTS,
    PAD,
    SpecificationModel,
    tokenise,
)
from crystens_flows.generators.pause import report
from crystens_flows.generators.training_set import TrainingSet

SPACE_GROUP_DROPOUT = 0.15
LATTICE_WEIGHT = 0.5
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
    """

    name: str
    model: Model
    folder: Path
    steps: int
    learning_rate: float
    weight_decay: float
    step: int = 0
    seconds: float = 0.0
    average: Model = field(init=False)
    best: dict[str, Any] | None = None
    order: dict[str, Any] | None = None

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

    def rate(self) -> float:
        """Return the learning rate of the coming step: warm-up, constant, then a cosine to zero."""
        warmup = min(1.0, (self.step + 1) / min(300, max(1, self.steps // 10)))
        left = (self.steps - self.step) / max(1.0, COOLDOWN * self.steps)
        fall = 1.0 if left >= 1 else 0.5 * (1 - math.cos(math.pi * left))
        return self.learning_rate * warmup * max(fall, 0.01)

    def update(self, loss: torch.Tensor) -> None:
        """Take one step of the optimiser and of the moving average."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            averages: list[torch.Tensor] = list(self.average.parameters())
            torch._foreach_lerp_(averages, list(self.model.parameters()), 1 - decay)
        self.step += 1

    def record(self, **values: float) -> None:
        """Append a line to the learning curve."""
        line = {"step": self.step, "seconds": round(self.seconds, 1), "rate": self.rate(), **values}
        with (self.folder / f"{self.name}-learning-curve.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def save(self, rng: np.random.Generator, force: bool = False) -> None:
        """Write the state, if enough time has passed since the last."""
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
            "order": self.order,
            "torch_rng": torch.get_rng_state(),
            "numpy_rng": json.dumps(rng.bit_generator.state),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.state_file, buffer.getvalue())

    def resume(self, rng: np.random.Generator) -> None:
        """
        Continue from the state in the folder, if there is one.

        Raises
        ------
        CheckpointError
            If the state is damaged, or that of another network.
        """
        if not self.state_file.is_file():
            return
        try:
            state: dict[str, Any] = torch.load(self.state_file, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["torch_rng"])
            rng.bit_generator.state = json.loads(state["numpy_rng"])
            self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
            self.order = state.get("order")  # states of the first versions have none
        except Exception as exc:
            raise CheckpointError(
                f"{self.state_file} cannot be continued from ({type(exc).__name__}): "
                "delete it to train from the start"
            ) from exc

    def epoch(
        self, n_sites: np.ndarray, rng: np.random.Generator, max_sites: int, max_pairs: int
    ) -> Iterator[np.ndarray]:
        """
        Give the batches of an epoch, of one that was interrupted those that are left.

        Parameters and what is yielded are those of :func:`batches_by_size`.
        """
        if self.order is None:
            self.order = {"rng": json.dumps(rng.bit_generator.state), "taken": 0}
        drawn = np.random.default_rng()
        drawn.bit_generator.state = json.loads(self.order["rng"])
        batches = list(batches_by_size(n_sites, drawn, max_sites, max_pairs))
        if self.order["taken"] == 0:
            rng.bit_generator.state = drawn.bit_generator.state
        while self.order["taken"] < len(batches):
            self.order["taken"] += 1
            yield batches[self.order["taken"] - 1]
        self.order = None


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


def flow_loss(
    network: FlowNetwork,
    data: TrainingSet,
    batch: np.ndarray,
    rng: np.random.Generator,
    *,
    device: torch.device,
    training: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Compute the flow-matching losses of a batch.

    Parameters
    ----------
    network
        The network.
    data
        The crystals.
    batch
        Indices into `data`.
    rng
        Source of noise and times.
    device
        Where to compute.
    training
        Whether to hide the space group of some and to compute in bfloat16.

    Returns
    -------
    tuple of torch.Tensor
        Mean squared errors of the coordinate velocities (an atom and direction) and of the
        lattice velocities.
    """
    size = len(batch)
    sites = int(data.n_sites[batch].max())
    numbers, frac = data.numbers[batch, :sites], data.frac_coords[batch, :sites]
    difference = torch.from_numpy(match_noise(frac, numbers, rng)).to(device)
    lattice_noise = torch.from_numpy(rng.standard_normal((size, 6)).astype(np.float32)).to(device)
    times = rng.random(size) ** 0.75 if training else (np.arange(size) + 0.5) / size
    time_ = torch.from_numpy(times.astype(np.float32)).to(device)
    hidden = rng.random(size) < SPACE_GROUP_DROPOUT if training else np.zeros(size, bool)
    group = torch.from_numpy(np.where(hidden, 0, data.space_groups[batch])).to(device)
    crystal = torch.from_numpy(frac).to(device)
    atoms = torch.from_numpy(numbers).to(device)
    n_sites = (atoms > 0).sum(1)
    lattice = network.codec.encode(torch.from_numpy(data.lattice[batch]).to(device), n_sites)
    at_time = crystal - (1 - time_)[:, None, None] * difference
    lattice_velocity = lattice - lattice_noise
    lattice_at_time = lattice_noise + lattice_velocity * time_[:, None]
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=training):
        coordinates, cell = network(at_time, lattice_at_time, time_, atoms, group)
    target = difference / COORDINATE_SCALE
    coordinate_loss = (((coordinates - target) ** 2).sum((1, 2)) / (3 * n_sites)).mean()
    return coordinate_loss, ((cell - lattice_velocity) ** 2).mean()


def train_flow(
    trainer: Trainer[FlowNetwork],
    train: TrainingSet,
    validation: TrainingSet,
    rng: np.random.Generator,
    *,
    device: torch.device,
    max_sites: int = 2048,
    max_pairs: int = 40_000,
    progress: Progress | None = None,
) -> float:
    """
    Train the flow network up to the trainer's number of steps.

    Returns
    -------
    float
        Validation loss of the moving average, coordinates plus half of lattice.
    """
    network = trainer.model
    network.codec.fit(torch.from_numpy(train.lattice), torch.from_numpy(train.n_sites))
    trainer.average.codec.load_state_dict(network.codec.state_dict())
    trainer.resume(rng)

    def validate() -> dict[str, float]:
        fixed, losses = np.random.default_rng(123), []
        for first in range(0, min(len(validation), 512), 64):
            batch = np.arange(first, min(first + 64, len(validation)))
            with torch.no_grad():
                pair = flow_loss(
                    trainer.average,
                    validation,
                    batch,
                    fixed,
                    device=device,
                    training=False,
                )
            losses.append([value.item() for value in pair])
        coordinates, cell = np.mean(losses, axis=0)
        return {"validation_coordinates": float(coordinates), "validation_lattice": float(cell)}

    running: list[list[float]] = []
    while trainer.step < trainer.steps:
        for batch in trainer.epoch(train.n_sites, rng, max_sites, max_pairs):
            began = time.monotonic()
            network.train()
            pair = flow_loss(network, train, batch, rng, device=device, training=True)
            trainer.update(pair[0] + LATTICE_WEIGHT * pair[1])
            trainer.seconds += time.monotonic() - began
            running.append([value.item() for value in pair])
            if trainer.step % 250 == 0 or trainer.step == trainer.steps:
                coordinates, cell = np.mean(running, axis=0)
                running = []
                trainer.record(
                    train_coordinates=float(coordinates), train_lattice=float(cell), **validate()
                )
            trainer.save(rng, force=trainer.step == trainer.steps)
            report(progress, trainer.step, trainer.steps, lambda: trainer.save(rng, force=True))
            if trainer.step >= trainer.steps:
                break
    final = validate()
    return final["validation_coordinates"] + LATTICE_WEIGHT * final["validation_lattice"]


def specification_tokens(data: TrainingSet, order: np.ndarray) -> torch.Tensor:
    """
    Write the specifications of a data set as one padded array of tokens.

    Crystals of more elements than the model's grammar has are left out.

    Returns
    -------
    torch.Tensor
        int64 of shape (n, length).
    """
    rows = [
        tokenise(numbers[numbers > 0], int(group), order)
        for numbers, group in zip(data.numbers, data.space_groups, strict=True)
        if len(np.unique(numbers[numbers > 0])) <= MAX_ELEMENTS
    ]
    if not rows:
        raise DatasetError(
            f"no crystal of at most {MAX_ELEMENTS} elements in the split: give more data"
        )
    tokens = np.full((len(rows), max(map(len, rows))), PAD)
    for k, row in enumerate(rows):
        tokens[k, : len(row)] = row
    return torch.from_numpy(tokens)


def train_specification(
    trainer: Trainer[SpecificationModel],
    train: TrainingSet,
    validation: TrainingSet,
    rng: np.random.Generator,
    *,
    device: torch.device,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> float:
    """
    Train the specification model and leave the best moving average in the trainer.

    Returns
    -------
    float
        Validation negative log-likelihood in nats a crystal.
    """
    model = trainer.model
    order = model.order.cpu().numpy()
    tokens = specification_tokens(train, order).to(device)
    held_out = specification_tokens(validation, order).to(device)
    trainer.resume(rng)

    def loss_of(
        network: SpecificationModel, rows: torch.Tensor, half: bool = False
    ) -> torch.Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            logits = network(rows[:, :-1])
        total = functional.cross_entropy(
            logits.float().transpose(1, 2), rows[:, 1:], ignore_index=PAD, reduction="sum"
        )
        return total / len(rows)

    def validate() -> float:
        trainer.average.eval()
        with torch.no_grad():
            return loss_of(trainer.average, held_out).item()

    while trainer.step < trainer.steps:
        began = time.monotonic()
        model.train()
        batch = rng.choice(len(tokens), min(batch_size, len(tokens)), replace=False)
        trainer.update(loss_of(model, tokens[torch.from_numpy(batch).to(device)], half=True))
        trainer.seconds += time.monotonic() - began
        if trainer.step % 50 == 0 or trainer.step == trainer.steps:
            loss = validate()
            trainer.record(validation=loss)
            if trainer.best is None or loss < trainer.best["loss"]:
                trainer.best = {
                    "loss": loss,
                    "average": copy.deepcopy(trainer.average.state_dict()),
                }
        trainer.save(rng, force=trainer.step == trainer.steps)
        report(progress, trainer.step, trainer.steps, lambda: trainer.save(rng, force=True))
    if trainer.best is None:
        return validate()
    trainer.average.load_state_dict(trainer.best["average"])
    return trainer.best["loss"]

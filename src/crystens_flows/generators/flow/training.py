"""Training of the two networks: resumable, with a learning curve."""

from __future__ import annotations

import copy
import time

import numpy as np
import torch
from torch.nn import functional

from crystens_flows.errors import DatasetError
from crystens_flows.generators.base import Progress
from crystens_flows.generators.flow.coupling import match_noise
from crystens_flows.generators.flow.network import COORDINATE_SCALE, FlowNetwork
from crystens_flows.generators.flow.specification import (
    MAX_ELEMENTS,
    PAD,
    SpecificationModel,
    tokenise,
)
from crystens_flows.generators.pause import report
from crystens_flows.generators.trainer import Trainer
from crystens_flows.generators.training_set import TrainingSet

SPACE_GROUP_DROPOUT = 0.15
LATTICE_WEIGHT = 0.5


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
    trainer.resume()

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
        for batch in trainer.epoch(train.n_sites, max_sites, max_pairs):
            began, rng = time.monotonic(), trainer.stream()
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
            trainer.save(force=trainer.step == trainer.steps)
            report(progress, trainer.step, trainer.steps, lambda: trainer.save(force=True))
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
    trainer.resume()

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
        began, rng = time.monotonic(), trainer.stream()
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
        trainer.save(force=trainer.step == trainer.steps)
        report(progress, trainer.step, trainer.steps, lambda: trainer.save(force=True))
    if trainer.best is None:
        return validate()
    trainer.average.load_state_dict(trainer.best["average"])
    return trainer.best["loss"]

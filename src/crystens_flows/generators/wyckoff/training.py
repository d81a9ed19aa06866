"""Training of the three networks on symmetric crystals."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from crystens_flows.errors import DatasetError, InputError
from crystens_flows.generators.base import Progress
from crystens_flows.generators.elements import MAX_ELEMENTS
from crystens_flows.generators.pause import report
from crystens_flows.generators.trainer import Trainer
from crystens_flows.generators.training_set import for_each_structure
from crystens_flows.generators.wyckoff.arrays import frames_of
from crystens_flows.generators.wyckoff.coupling import Variants, match_noise, variants
from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal, symmetrise
from crystens_flows.generators.wyckoff.network import SymmetricFlow, TensorFrames
from crystens_flows.generators.wyckoff.recall import QUERIES, Formulas, Memory, Recall
from crystens_flows.generators.wyckoff.sentences import (
    FIRST_ENERGY,
    FIRST_GAP,
    PAD,
    Sentences,
    sentences,
)
from crystens_flows.generators.wyckoff.specification import SpecificationModel, log_likelihood
from crystens_flows.generators.wyckoff.starts import Start, known_lattices, starts_of
from crystens_flows.representation import MAX_SITES

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystens_flows.datasets import Dataset

GAP_EDGES = (0.05, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
"""Bounds in eV of the classes of band gaps; the first is that of metals."""

PROPERTY_DROPOUT = 0.5
"""How often energy and gap, each by itself, are kept from the specification model."""

LATTICE_WEIGHT = 0.5
KNOWN_SHARE = 0.7
"""How often the flow to a crystal starts from a known one in training, where there is any."""

MAX_WORDS = 2_560
"""Most words of a batch for the specification model, padding included."""

MAX_PAIRS = 8_000
"""Most pairs of a first site and a site in a batch, padding included."""


@dataclass
class SymmetricSet:
    """
    Crystals in the form that the networks train on.

    Parameters
    ----------
    crystals
        The crystals.
    formation_energies, band_gaps
        In eV/atom and eV, NaN where unknown, shape (n,).
    left_out
        Why crystals of the data set were left out, and how many for each reason.
    """

    crystals: list[SymmetricCrystal]
    formation_energies: np.ndarray
    band_gaps: np.ndarray
    left_out: dict[str, int]
    _variants: dict[int, Variants] = field(default_factory=dict)
    _starts: dict[int, tuple[list[Start], np.ndarray]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.crystals)

    def variants(self, index: int) -> Variants:
        """Return the descriptions of a crystal by the same letters."""
        if index not in self._variants:
            self._variants[index] = variants(self.crystals[index])
        return self._variants[index]

    def start(self, index: int, memory: Memory, rng: np.random.Generator) -> Start | None:
        """Draw a known crystal that the flow to a crystal may start from, None without any."""
        if index not in self._starts:
            self._starts[index] = starts_of(memory, self.crystals[index])
        starts, likely = self._starts[index]
        return starts[rng.choice(len(starts), p=likely)] if starts else None


def _symmetrised(structure: Structure) -> SymmetricCrystal | str:
    try:
        crystal = symmetrise(structure)
    except (InputError, ValueError, ArithmeticError):
        return "no space group found"
    if crystal.multiplicities.sum() > MAX_SITES:
        return f"more than {MAX_SITES} sites"
    if len(set(crystal.numbers.tolist())) > MAX_ELEMENTS:
        return f"more than {MAX_ELEMENTS} elements"
    return crystal


def require_split(dataset: Dataset, split: str) -> None:
    """
    Refuse a data set without crystals in a split.

    Raises
    ------
    DatasetError
        If there are none.
    """
    if not len(dataset.split.get(split, ())):
        raise DatasetError(
            f"the data set has no crystals in split '{split}': give one with splits 'train' and "
            "'validation'"
        )


def symmetric_set(dataset: Dataset, split: str) -> SymmetricSet:
    """
    Take a split of a data set in the form the networks train on.

    Parameters
    ----------
    dataset
        The data set.
    split
        Name of the split.

    Returns
    -------
    SymmetricSet
        The crystals idealised, those left out counted.

    Raises
    ------
    DatasetError
        If the data set has no such split or nothing is left of it.
    """
    indices = dataset.split.get(split, np.array([], dtype=int))
    results = for_each_structure(_symmetrised, dataset, indices)
    kept = [k for k, result in enumerate(results) if not isinstance(result, str)]
    reasons = [result for result in results if isinstance(result, str)]
    if not kept:
        raise DatasetError(
            f"the data set has no crystals to train on in split '{split}': give one with splits "
            "'train' and 'validation'"
        )
    rows = np.asarray(indices)[kept]
    return SymmetricSet(
        [result for result in results if not isinstance(result, str)],
        np.asarray(dataset.formation_energy_per_atom)[rows],
        np.asarray(dataset.band_gap)[rows],
        {reason: reasons.count(reason) for reason in sorted(set(reasons))},
    )


@dataclass(frozen=True)
class Batch:
    """
    Crystals, and where the flows to them start.

    Parameters
    ----------
    firsts
        Coordinates of the first sites, shape (batch, orbits, 3).
    difference
        What leads there from where the flow starts, shape (batch, orbits, 3).
    lattice
        Lattice parameters, shape (batch, 6).
    starts
        The known crystals that flows start from, None for noise.
    """

    firsts: np.ndarray
    difference: np.ndarray
    lattice: np.ndarray
    starts: list[Start | None]

    @classmethod
    def of(
        cls,
        data: SymmetricSet,
        rows: np.ndarray,
        rng: np.random.Generator,
        memory: Memory,
        known_share: float,
    ) -> Batch:
        """Draw where the flows start, and match the crystals' descriptions to it."""
        orbits = max(len(data.crystals[k].numbers) for k in rows)
        firsts, difference = np.zeros((2, len(rows), orbits, 3), dtype=np.float32)
        starts: list[Start | None] = []
        for row, k in enumerate(rows):
            described = data.variants(k)
            start = data.start(k, memory, rng) if rng.random() < known_share else None
            free = None if start is None else start.free
            first, apart = match_noise(described, rng, free)
            firsts[row, : len(first)], difference[row, : len(first)] = first, apart
            starts.append(start)
        lattice = np.array([data.crystals[k].lattice for k in rows], dtype=np.float32)
        return cls(firsts, difference, lattice, starts)


def flow_loss(
    network: SymmetricFlow,
    data: SymmetricSet,
    rows: np.ndarray,
    rng: np.random.Generator,
    memory: Memory,
    known_share: float = KNOWN_SHARE,
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
    rows
        Which of them.
    rng
        Source of noise and times.
    memory
        The known crystals that flows start from.
    known_share
        How often they do, where there are any.
    device
        Where to compute.
    training
        Whether to compute in bfloat16, at random times.

    Returns
    -------
    tuple of torch.Tensor
        Mean squared errors of the velocities of sites, for each free coordinate, and of the
        lattice, for each free parameter, in units of the network's scales.
    """
    size = len(rows)
    batch = Batch.of(data, rows, rng, memory, known_share)
    firsts, difference, parameters = (
        torch.from_numpy(a).to(device) for a in (batch.firsts, batch.difference, batch.lattice)
    )
    crystals = [data.crystals[k] for k in rows]
    frames = TensorFrames.of(
        frames_of(crystals, [None if s is None else s.sources for s in batch.starts]),
        device,
        torch.get_default_dtype(),
    )
    times = rng.random(size) if training else (np.arange(size) + 0.5) / size
    time_ = torch.from_numpy(times.astype(np.float32)).to(device)
    free = network.codec.mask(frames.groups)
    noise = torch.from_numpy(rng.standard_normal((size, 6))).to(frames.primitive)
    known = torch.from_numpy(known_lattices(batch.starts)).to(frames.primitive)
    begin = network.start_lattice(known, noise, frames)
    cell_velocity = (network.encode_lattice(parameters, frames) - begin) * free
    lattice = begin + cell_velocity * time_[:, None]
    at_time = firsts - (1 - time_)[:, None, None] * difference
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=training):
        velocity, cell = network(at_time, lattice, time_, frames)
    scale, cell_scale = network.scales(frames)
    freedom = frames.projectors.diagonal(dim1=-2, dim2=-1).sum(-1) * frames.multiplicities
    error = ((velocity - difference) / scale[:, None, None]) ** 2
    error = error.sum(-1) * frames.multiplicities
    moves = freedom.sum(1) > 0.5
    of_sites = (error * (freedom > 0.5)).sum(1)[moves] / freedom.sum(1)[moves]
    of_cell = (((cell - cell_velocity) / cell_scale[:, None]) ** 2).sum(1) / free.sum(1)
    return of_sites.sum() / moves.sum().clamp_min(1), of_cell.mean()


def fit_lattice(network: SymmetricFlow, data: SymmetricSet) -> None:
    """Take means and deviations of lattices, and volumes of elements, from a training set."""
    frames = frames_of(data.crystals)
    network.codec.fit(
        torch.tensor(np.array([crystal.lattice for crystal in data.crystals])),
        torch.from_numpy(frames.groups),
        torch.from_numpy(frames.numbers),
        torch.from_numpy(frames.multiplicities),
        torch.from_numpy(1 / np.linalg.det(frames.primitive)),
    )


def train_flow(
    trainer: Trainer[SymmetricFlow],
    train: SymmetricSet,
    validation: SymmetricSet,
    memory: Memory,
    *,
    progress: Progress | None = None,
) -> float:
    """
    Train the flow network up to the trainer's number of steps.

    Returns
    -------
    float
        Validation loss of the moving average from known crystals, sites plus half of lattice.
    """
    network = trainer.model
    fit_lattice(network, train)
    trainer.average.codec.load_state_dict(network.codec.state_dict())
    trainer.resume()
    device = trainer.processes.device

    def validate(known_share: float) -> tuple[float, float]:
        fixed = np.random.default_rng(123)
        trainer.average.eval()
        with torch.no_grad():
            losses = [
                flow_loss(
                    trainer.average,
                    validation,
                    rows,
                    fixed,
                    memory,
                    known_share,
                    device=device,
                    training=False,
                )
                for rows in _parts(min(len(validation), 800), 100)
            ]
        sites, cell = np.mean([[float(a), float(b)] for a, b in losses], axis=0)
        return float(sites), float(cell)

    pairs = [len(c.numbers) * int(c.multiplicities.sum()) for c in train.crystals]
    while trainer.step < trainer.steps:
        for rows in trainer.epoch(np.sqrt(pairs), 10**9, MAX_PAIRS):
            began, rng = time.monotonic(), trainer.stream()
            network.train()
            sites, cell = flow_loss(network, train, rows, rng, memory, device=device, training=True)
            trainer.update(sites + LATTICE_WEIGHT * cell)
            trainer.seconds += time.monotonic() - began
            trainer.running.append([sites.item(), cell.item()])
            if trainer.step % 250 == 0 or trainer.step == trainer.steps:
                mean = np.mean(trainer.running, axis=0)
                known, noise = validate(1.0), validate(0.0)
                trainer.running = []
                trainer.record(
                    train_sites=float(mean[0]),
                    train_lattice=float(mean[1]),
                    validation_sites=known[0],
                    validation_lattice=known[1],
                    validation_sites_from_noise=noise[0],
                    validation_lattice_from_noise=noise[1],
                )
            trainer.save(force=trainer.step == trainer.steps)
            report(progress, trainer.step, trainer.steps, lambda: trainer.save(force=True))
            if trainer.step >= trainer.steps:
                break
    sites_, cell_ = validate(1.0)
    return sites_ + LATTICE_WEIGHT * cell_


def train_recall(
    trainer: Trainer[Recall], train: Formulas, validation: Formulas, *, progress: Progress | None
) -> float:
    """
    Train the model of recall and leave the best moving average in the trainer.

    Returns
    -------
    float
        Validation negative log-likelihood in nats of a structure type that another formula has.
    """
    trainer.resume()
    device = trainer.processes.device

    def validate() -> tuple[float, float]:
        trainer.average.eval()
        with torch.no_grad():
            rows = np.arange(len(validation.own))
            found, right = validation.log_likelihood(trainer.average, rows, device)
        return -float(found.mean()) if len(found) else 0.0, right / max(len(rows), 1)

    while trainer.step < trainer.steps:
        for rows in trainer.epoch_of(train.steps):
            began, rng = time.monotonic(), trainer.stream()
            trainer.model.train()
            found, _ = train.log_likelihood(trainer.model, rows, device, rng)
            trainer.update(-found.sum() / QUERIES * trainer.processes.count)
            trainer.seconds += time.monotonic() - began
            if trainer.step % 200 == 0 or trainer.step == trainer.steps:
                nats, right = validate()
                trainer.record(validation_nats=nats, validation_right=right)
                trainer.keep_best(nats)
            trainer.save(force=trainer.step == trainer.steps)
            report(progress, trainer.step, trainer.steps, lambda: trainer.save(force=True))
            if trainer.step >= trainer.steps:
                break
    return trainer.take_best(lambda: validate()[0])


def _parts(n: int, size: int) -> Iterator[np.ndarray]:
    for first in range(0, n, size):
        yield np.arange(first, min(first + size, n))


def _classes(values: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Sort values into classes between edges, from 1; 0 where a value is unknown."""
    return np.where(np.isfinite(values), 1 + np.searchsorted(edges, values), 0)


def fit_classes(model: SpecificationModel, data: SymmetricSet) -> None:
    """Take the bounds of ten equal classes of formation energies, and set those of gaps, if any."""
    known = data.formation_energies[np.isfinite(data.formation_energies)]
    if len(known):
        tenths = np.quantile(known, np.arange(1, 10) / 10)
        model.energy_edges.copy_(torch.from_numpy(tenths))
    if np.isfinite(data.band_gaps).any():
        model.gap_edges.copy_(torch.tensor(GAP_EDGES))


def both_orders(model: SpecificationModel, data: SymmetricSet) -> tuple[Sentences, Sentences]:
    """Write a set with the composition first, and with the space group first."""
    energies = _classes(data.formation_energies, model.energy_edges.tolist()).tolist()
    gaps = _classes(data.band_gaps, model.gap_edges.tolist()).tolist()
    composition_first = sentences(data.crystals, energies, gaps, True)
    return composition_first, sentences(data.crystals, energies, gaps, False)


def train_specification(
    trainer: Trainer[SpecificationModel],
    train: SymmetricSet,
    validation: SymmetricSet,
    *,
    progress: Progress | None = None,
) -> float:
    """
    Train the specification model and leave the best moving average in the trainer.

    Returns
    -------
    float
        Validation negative log-likelihood in nats a crystal, the mean over both orders.
    """
    model = trainer.model
    fit_classes(model, train)
    trainer.average.load_state_dict(model.state_dict())
    trainer.resume()
    device = trainer.processes.device
    orders, held_out = both_orders(model, train), both_orders(model, validation)

    def validate() -> tuple[float, float]:
        trainer.average.eval()
        total = np.zeros(2)
        for written in held_out:
            for rows in _parts(len(written), 200):
                part = _hidden(written.of(rows), np.ones((2, len(rows)), dtype=bool))
                with torch.no_grad():
                    total -= [float(v.sum()) for v in log_likelihood(trainer.average, part, device)]
        head, orbits = total / len(validation) / 2
        return float(head), float(orbits)

    lengths = (orders[0].tokens != PAD).sum(1)
    while trainer.step < trainer.steps:
        for rows in trainer.epoch(lengths, MAX_WORDS, 10**9):
            began, rng = time.monotonic(), trainer.stream()
            model.train()
            part = orders[trainer.step % 2].of(rows)
            part = _hidden(part, rng.random((2, len(rows))) < PROPERTY_DROPOUT)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                head, orbits = log_likelihood(model, part, device)
            trainer.update(-(head + orbits).sum() / MAX_WORDS * trainer.processes.count)
            trainer.seconds += time.monotonic() - began
            if trainer.step % 200 == 0 or trainer.step == trainer.steps:
                found = validate()
                trainer.record(validation_head=found[0], validation_orbits=found[1])
                trainer.keep_best(sum(found))
            trainer.save(force=trainer.step == trainer.steps)
            report(progress, trainer.step, trainer.steps, lambda: trainer.save(force=True))
            if trainer.step >= trainer.steps:
                break
    return trainer.take_best(lambda: sum(validate()))


def _hidden(part: Sentences, hide: np.ndarray) -> Sentences:
    """Hide formation energies and band gaps; `hide` of shape (2, n)."""
    tokens = part.tokens.copy()
    tokens[hide[0], 1], tokens[hide[1], 2] = FIRST_ENERGY, FIRST_GAP
    return Sentences(tokens, part.elements, part.remaining, part.letters, part.allowed)

"""Real crystals that samples are held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from crystens_flows.errors import DatasetError
from crystens_flows.evaluation.coverage import Fingerprints
from crystens_flows.evaluation.distributions import Distributions
from crystens_flows.screening.novelty import KnownCrystals

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset

FLOOR = "real crystals"
"""Name of the column of held-out real crystals, which have what can be had at best."""


@dataclass
class Reference:
    """
    Real crystals in three parts that share none.

    Parameters
    ----------
    crystals
        Those that distributions and coverage are measured against.
    floor
        Others, which are evaluated like samples: the figures that real crystals get.
    training
        What counts as known: a sample that is none of these is novel.
    name
        What the data set is called.
    hold_outs
        Crystals of each split that is neither for training nor for validation, by its name.
    formation_energies
        Of the training crystals, eV/atom, those that are known.
    processes
        How many processes compute fingerprints.
    """

    crystals: list[Structure]
    floor: list[Structure]
    training: KnownCrystals
    name: str
    hold_outs: dict[str, list[Structure]] = field(default_factory=dict)
    formation_energies: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    processes: int = 1

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """Fingerprints of the crystals."""
        return Fingerprints.of(self.crystals, self.processes)

    @cached_property
    def distributions(self) -> Distributions:
        """Distributions of the crystals."""
        distributions = Distributions()
        for structure in self.crystals:
            distributions.add(structure, None)
        return distributions


def reference_of(
    dataset: Dataset, name: str, size: int, seed: int = 0, processes: int = 1
) -> Reference:
    """
    Divide a data set into what is known, what is compared with, and the floor.

    The split "train" is what is known; the rest is shuffled and halved. Without such a split half
    of all is known, and a quarter each serves as reference and floor.

    Parameters
    ----------
    dataset
        The data set.
    name
        What it is called.
    size
        At most so many crystals in the reference and in the floor.
    seed
        Seed of the shuffling.
    processes
        How many processes compute fingerprints.

    Returns
    -------
    Reference
        Of this data set.

    Raises
    ------
    DatasetError
        If fewer than four crystals are not for training.
    """
    rng = np.random.default_rng(seed)
    train: NDArray[np.int64] = np.asarray(dataset.split.get("train", []), dtype=np.int64)
    rest = np.setdiff1d(np.arange(len(dataset)), train)
    rng.shuffle(rest)
    if not len(train):
        train, rest = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    if len(rest) < 4:
        raise DatasetError(
            f"{name} has {len(rest)} crystals that are not for training: give a reference with "
            "more, e.g. structures without splits"
        )
    half = len(rest) // 2
    energies = np.asarray(dataset.formation_energy_per_atom, dtype=float)[train]
    hold_outs = {
        name: list(dataset.structures(np.random.default_rng(seed).permutation(rows)[:size]))
        for name, rows in dataset.split.items()
        if name not in ("train", "validation") and len(rows)
    }
    return Reference(
        list(dataset.structures(rest[:half][:size])),
        list(dataset.structures(rest[half:][:size])),
        KnownCrystals.from_dataset(dataset.subset(np.sort(train))),
        name,
        hold_outs,
        energies[np.isfinite(energies)],
        processes,
    )

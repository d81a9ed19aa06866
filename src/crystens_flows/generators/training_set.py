"""Crystals in the form that generators train on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from crystens_flows.errors import DatasetError
from crystens_flows.representation import MAX_SITES

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystens_flows.datasets import Dataset

Result = TypeVar("Result")

AT_A_TIME = 64
"""How many crystals are given to a process at a time."""


@dataclass
class TrainingSet:
    """
    Crystals as padded arrays, in Niggli-reduced cells.

    Parameters
    ----------
    numbers
        Atomic numbers, 0 for no site, int64 of shape (n, 52).
    frac_coords
        Fractional coordinates, float32 of shape (n, 52, 3).
    lattice
        Lattice parameters in Angstrom and degrees, float32 of shape (n, 6).
    space_groups
        Space group numbers, int64 of shape (n,).
    """

    numbers: np.ndarray
    frac_coords: np.ndarray
    lattice: np.ndarray
    space_groups: np.ndarray
    n_sites: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.n_sites = (self.numbers > 0).sum(1)

    def __len__(self) -> int:
        return len(self.numbers)


def _niggli(structure: Structure) -> Structure:
    try:
        return structure.get_reduced_structure("niggli")
    except ValueError:  # the algorithm gives up on a few very skewed cells
        return structure


def training_set(
    dataset: Dataset, split: str, reduce: Callable[[Structure], Structure] = _niggli
) -> TrainingSet:
    """
    Take a split of a data set in the form the networks train on.

    Parameters
    ----------
    dataset
        The data set.
    split
        Name of the split.
    reduce
        Makes the cell unique; the Niggli reduction by default.

    Returns
    -------
    TrainingSet
        Padded arrays of the reduced crystals.

    Raises
    ------
    DatasetError
        If the data set has no such split or it is empty.
    """
    indices = dataset.split.get(split, np.array([], dtype=int))
    if len(indices) == 0:
        raise DatasetError(
            f"the data set has no crystals in split '{split}': give one with splits "
            "'train' and 'validation'"
        )
    numbers = np.zeros((len(indices), MAX_SITES), dtype=np.int64)
    frac = np.zeros((len(indices), MAX_SITES, 3), dtype=np.float32)
    lattice = np.zeros((len(indices), 6), dtype=np.float32)
    for k, structure in enumerate(for_each_structure(reduce, dataset, indices)):
        n = len(structure)
        numbers[k, :n] = structure.atomic_numbers
        frac[k, :n] = structure.frac_coords % 1.0
        lattice[k] = structure.lattice.parameters
    groups = np.asarray(dataset.space_groups)[indices].astype(np.int64)
    return TrainingSet(numbers, frac, lattice, groups)


def for_each_structure(
    function: Callable[[Structure], Result], dataset: Dataset, indices: np.ndarray
) -> list[Result]:
    """
    Apply a function to crystals of a data set, in as many processes as there are cores.

    A few are not worth starting processes for.

    Parameters
    ----------
    function
        What to apply, of a module.
    dataset
        The data set.
    indices
        Which of its crystals.

    Returns
    -------
    list
        The results, in the order of the indices.
    """
    structures = dataset.structures(indices)
    if len(indices) <= AT_A_TIME:
        return [function(structure) for structure in structures]
    with ProcessPoolExecutor() as pool:
        return list(pool.map(function, structures, chunksize=AT_A_TIME))


def fingerprint_of(dataset: Dataset, *splits: str) -> str:
    """Return the SHA-256 of splits of a data set as they were read, with their properties."""
    sha256 = hashlib.sha256()
    names = ("numbers", "frac_coords", "lattice", "formation_energy_per_atom", "band_gap")
    for split in splits:
        rows = dataset.split.get(split, np.array([], dtype=int))
        for name in names:
            sha256.update(np.ascontiguousarray(getattr(dataset, name)[rows]).tobytes())
    return sha256.hexdigest()

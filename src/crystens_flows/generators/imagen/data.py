"""The crystals of a training: reduced once, kept in its folder, rendered as they are needed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crystens_flows.errors import CheckpointError, DatasetError
from crystens_flows.generators.checkpoints import write_atomically
from crystens_flows.generators.training_set import TrainingSet, training_set
from crystens_flows.representation import add_descriptors, render

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset

SPLITS = ("train", "validation")
_ARRAYS = ("numbers", "frac_coords", "lattice", "space_groups")


def fingerprint(dataset: Dataset, batch_size: int) -> str:
    """
    Return the SHA-256 of the crystals of both splits, and refuse too few.

    Parameters
    ----------
    dataset
        A data set with splits ``train`` and ``validation``.
    batch_size
        Crystals of a training step.

    Raises
    ------
    DatasetError
        If a split is missing or empty, or ``train`` has fewer crystals than a batch.
    """
    sha256 = hashlib.sha256()
    for split in SPLITS:
        rows = dataset.split.get(split, np.array([], dtype=int))
        if len(rows) == 0:
            raise DatasetError(
                f"the data set has no crystals in split '{split}': give one with splits "
                "'train' and 'validation'"
            )
        if split == "train" and len(rows) < batch_size:
            raise DatasetError(
                f"split 'train' has {len(rows)} crystals, fewer than a batch of {batch_size}: "
                "give more data or a smaller batch_size"
            )
        for name in _ARRAYS:
            sha256.update(np.ascontiguousarray(getattr(dataset, name)[rows]).tobytes())
    return sha256.hexdigest()


class Crystals:
    """
    A split of a data set in Niggli-reduced cells.

    A batch is rendered from it in less than a thousandth of a training step, so CrysTens are not
    kept: they would take 65 kB a crystal.

    Parameters
    ----------
    data
        The crystals.
    descriptors
        Chemical descriptors, of each of which CrysTens have a layer beside the four.
    """

    def __init__(self, data: TrainingSet, descriptors: Sequence[str] = ()) -> None:
        self.data = data
        self.descriptors = descriptors

    def __len__(self) -> int:
        return len(self.data)

    def tensors(self, rows: np.ndarray) -> np.ndarray:
        """
        Render crystals.

        Parameters
        ----------
        rows
            Which ones, shape (n,).

        Returns
        -------
        numpy.ndarray
            Normalised CrysTens, cut to 0..1, float32 of shape (n, 4 + d, 64, 64).
        """
        data = self.data
        tensors = render(
            data.numbers[rows],
            data.frac_coords[rows],
            data.lattice[rows],
            data.space_groups[rows],
            data.n_sites[rows],
        )
        np.clip(tensors, 0.0, 1.0, out=tensors)
        if not self.descriptors:
            return tensors
        return add_descriptors(tensors, data.numbers[rows], self.descriptors)


def load_crystals(
    dataset: Dataset, folder: Path, descriptors: Sequence[str] = (), *, write: bool = True
) -> dict[str, Crystals]:
    """
    Take both splits of a data set, reduced now or by an earlier start in the same folder.

    Parameters
    ----------
    dataset
        The data set that the folder was claimed with.
    folder
        Folder of the training.
    descriptors
        Of which layers are added.
    write
        Whether to keep the reduced crystals there.

    Returns
    -------
    dict
        ``train`` and ``validation``.

    Raises
    ------
    CheckpointError
        If what an earlier start kept is damaged.
    """
    found = {}
    for split in SPLITS:
        file = folder / f"{split}-crystals.npz"
        if file.is_file():
            found[split] = Crystals(_read(file), descriptors)
            continue
        data = training_set(dataset, split)
        if write:
            buffer = io.BytesIO()
            np.savez(buffer, **{name: getattr(data, name) for name in _ARRAYS})
            write_atomically(file, buffer.getvalue())
        found[split] = Crystals(data, descriptors)
    return found


def _read(file: Path) -> TrainingSet:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return TrainingSet(**{name: arrays[name] for name in _ARRAYS})
    except Exception as exc:
        raise CheckpointError(
            f"{file} is damaged ({type(exc).__name__}): delete it and start again"
        ) from exc

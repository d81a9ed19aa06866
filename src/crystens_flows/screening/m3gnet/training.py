"""Training of an M3GNet on the formation energies of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystens_flows.datasets import Dataset
from crystens_flows.errors import DatasetError, import_extra
from crystens_flows.generators.checkpoints import claim_folder
from crystens_flows.screening.element_references import fit_references
from crystens_flows.screening.m3gnet.epochs import run_epochs
from crystens_flows.screening.m3gnet.folder import Target, import_matgl, is_complete


@dataclass(frozen=True)
class M3GNetSettings:
    """
    How an M3GNet is trained.

    Parameters
    ----------
    epochs
        Passes over the training structures.
    batch_size
        Structures a step.
    learning_rate
        Of Adam at the start; it falls to a hundredth along a cosine.
    ema_decay
        Decay, a step, of the moving average of the weights that is kept; less at the start.
    n_train
        Train on so many structures, drawn with the seed; None for all.
    seed
        Of the weights at the start, the order of the structures and what `n_train` draws.
    bfloat16
        Multiply matrices in bfloat16.
    compile
        Compile the network's blocks, which takes half a minute and a C++ compiler.
    """

    epochs: int = 40
    batch_size: int = 32
    learning_rate: float = 1e-3
    ema_decay: float = 0.999
    n_train: int | None = None
    seed: int = 0
    bfloat16: bool = True
    compile: bool = False


def train_m3gnet(
    dataset: Dataset,
    folder: Path,
    settings: M3GNetSettings,
    data: str = "unnamed",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """
    Train an M3GNet on the formation energies of a data set, or go on where training ended.

    A reference energy for each element is fitted to the training structures by least squares; the
    network learns what is left, in units of its standard deviation. The mean absolute error is
    minimised, the moving average of the weights is kept.

    Parameters
    ----------
    dataset
        With the splits ``"train"`` and ``"validation"``; rows without a formation energy, or with
        elements that matgl leaves out (polonium to radium, americium and beyond), are not used.
    folder
        For the state after each epoch, the history, and at the end the model as matgl saves it.
    settings
        How to train.
    data
        Where the data set is from.
    progress
        Called with the epochs done and the epochs in all.

    Returns
    -------
    pathlib.Path
        The folder of the model.

    Raises
    ------
    DatasetError
        If a split is missing or has no formation energies, or too few structures for one batch.
    OutputFolderError
        If the folder holds something else, or another training.
    MissingExtraError
        If matgl is not installed.

    References
    ----------
    C. Chen, S. P. Ong, Nat. Comput. Sci. 2, 718 (2022).
    """
    graphs = import_matgl("matgl.graph.data")
    lightning = import_extra("lightning", "screen", "training an M3GNet")
    from matgl.config import DEFAULT_ELEMENTS
    from matgl.models import M3GNet
    from matgl.utils.training import ModelLightningModule
    from torch.utils.data import DataLoader

    train, validation = training_rows(dataset, settings.n_train, settings.seed)
    energies = dataset.formation_energy_per_atom.astype(float)
    references = fit_references(dataset.numbers[train], energies[train])
    residuals = energies - references.per_atom(dataset.numbers)
    std = float(residuals[train].std())
    # what holds an element that the training structures lack tells nothing
    validation = validation[np.isfinite(residuals[validation])]
    if len(train) < settings.batch_size or not len(validation) or std == 0:
        raise DatasetError(
            f"too few structures to train on: {len(train)} for training, {len(validation)} to "
            f"validate; give more, or a smaller batch size than {settings.batch_size}"
        )
    described = {"model": "M3GNet", **asdict(settings)}
    claim_folder(folder, described | {"data_sha256": _fingerprint(dataset, train, validation)})
    if is_complete(folder):
        return folder

    lightning.seed_everything(settings.seed, verbose=False)
    model = M3GNet(element_types=DEFAULT_ELEMENTS, is_intensive=True, readout_type="weighted_atom")
    if settings.compile:
        for block in [*model.graph_layers, *model.three_body_interactions]:
            block.compile(dynamic=True)
    module = ModelLightningModule(
        model=model,
        data_mean=0.0,
        data_std=std,
        loss="l1_loss",
        lr=settings.learning_rate,
        decay_steps=settings.epochs,
        decay_alpha=0.01,
    )
    loaders: list[Any] = [
        DataLoader(
            _graphs(dataset, rows, residuals),
            batch_size=settings.batch_size,
            sampler=_EpochOrder(len(rows), settings.seed) if rows is train else None,
            collate_fn=graphs.collate_fn_graph,
            drop_last=rows is train,
        )
        for rows in (train, validation)
    ]
    run_epochs(
        module,
        loaders,
        folder,
        epochs=settings.epochs,
        ema_decay=settings.ema_decay,
        bfloat16=settings.bfloat16,
        progress=progress,
    )
    Target(std, references, len(train), data).write(folder)
    model.save(folder, metadata={"settings": asdict(settings)})
    return folder


def training_rows(
    dataset: Dataset, n_train: int | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """
    Say on which rows of a data set a model is trained, and with which it is validated.

    Parameters
    ----------
    dataset
        With the splits ``"train"`` and ``"validation"``.
    n_train, seed
        As in the settings.

    Returns
    -------
    tuple of numpy.ndarray
        Rows to train on and rows to validate with.

    Raises
    ------
    DatasetError
        If a split is missing or has no formation energies.
    """
    train, validation = _rows(dataset, "train"), _rows(dataset, "validation")
    if n_train is not None and n_train < len(train):
        train = np.sort(np.random.default_rng(seed).permutation(train)[:n_train])
    return train, validation


def _fingerprint(dataset: Dataset, *parts: NDArray[np.int64]) -> str:
    sha256 = hashlib.sha256()
    for rows in parts:
        for name in ("numbers", "frac_coords", "lattice", "formation_energy_per_atom"):
            sha256.update(np.ascontiguousarray(getattr(dataset, name)[rows]).tobytes())
    return sha256.hexdigest()


def _rows(dataset: Dataset, split: str) -> NDArray[np.int64]:
    if split not in dataset.split:
        raise DatasetError(f"the data set has no split '{split}': make it with one")
    from matgl.config import DEFAULT_ELEMENTS
    from pymatgen.core import Element

    rows = dataset.split[split]
    known = [0, *(Element(symbol).Z for symbol in DEFAULT_ELEMENTS)]
    usable = np.isfinite(dataset.formation_energy_per_atom[rows])
    usable &= np.isin(dataset.numbers[rows], known).all(axis=1)
    if not usable.any():
        raise DatasetError(f"no structure of the split '{split}' has a formation energy")
    return rows[usable]


def _graphs(dataset: Dataset, rows: NDArray[np.int64], values: NDArray[np.float64]) -> Any:
    """Return (graph, lattice, state, labels), what matgl's collate function takes, of each row."""
    import torch
    from matgl.config import DEFAULT_ELEMENTS
    from matgl.ext.pymatgen import Structure2Graph

    converter = Structure2Graph(element_types=DEFAULT_ELEMENTS, cutoff=5.0)
    found = []
    for row in rows:
        graph, lattice, state = converter.get_graph(dataset.structure(int(row)))
        label = {"residual": float(values[row])}
        found.append((graph, lattice, torch.tensor(state, dtype=torch.float32), label))
    return found


class _EpochOrder:
    """An order of the structures that depends on seed and epoch alone, so training can go on."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed, self.epoch = n, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)
        return iter(order.tolist())

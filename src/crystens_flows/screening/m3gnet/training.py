"""Training of an M3GNet on the formation energies of a data set."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystens_flows.datasets import Dataset
from crystens_flows.errors import DatasetError, import_extra
from crystens_flows.screening.element_references import fit_references

HISTORY_FILE = "history.csv"
STATE_FOLDER = "state"
TARGET_FILE = "target.json"


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
        Decay, a step, of the moving average of the weights that is kept.
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


def train_m3gnet(dataset: Dataset, folder: Path, settings: M3GNetSettings) -> Path:
    """
    Train an M3GNet on the formation energies of a data set, or go on where training ended.

    A reference energy for each element is fitted to the training structures by least squares; the
    network learns what is left, in units of its standard deviation. The mean absolute error is
    minimised, the moving average of the weights is kept.

    Parameters
    ----------
    dataset
        With the splits ``"train"`` and ``"validation"``; rows without a formation energy are left
        out.
    folder
        For the state after each epoch, the history, and at the end the model as matgl saves it.
    settings
        How to train.

    Returns
    -------
    pathlib.Path
        The folder of the model.

    Raises
    ------
    DatasetError
        If a split is missing or has no formation energies.
    MissingExtraError
        If matgl is not installed.

    References
    ----------
    C. Chen, S. P. Ong, Nat. Comput. Sci. 2, 718 (2022).
    """
    graphs = import_extra("matgl.graph.data", "screen", "training an M3GNet")
    lightning = import_extra("lightning", "screen", "training an M3GNet")
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint
    from matgl.config import DEFAULT_ELEMENTS
    from matgl.models import M3GNet
    from matgl.utils.training import ModelLightningModule
    from torch.utils.data import DataLoader

    train, validation = _rows(dataset, "train"), _rows(dataset, "validation")
    if settings.n_train is not None and settings.n_train < len(train):
        chosen = np.random.default_rng(settings.seed).permutation(train)[: settings.n_train]
        train = np.sort(chosen)
    energies = dataset.formation_energy_per_atom.astype(float)
    references = fit_references(dataset.numbers[train], energies[train])
    residuals = energies - references.per_atom(dataset.numbers)
    std = float(residuals[train].std())
    # what holds an element that the training structures lack tells nothing
    validation = validation[np.isfinite(residuals[validation])]
    folder.mkdir(parents=True, exist_ok=True)

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
    loaders = [
        DataLoader(
            _graphs(dataset, rows, residuals),
            batch_size=settings.batch_size,
            sampler=_EpochOrder(len(rows), settings.seed) if rows is train else None,
            collate_fn=graphs.collate_fn_graph,
            drop_last=rows is train,
        )
        for rows in (train, validation)
    ]
    state = folder / STATE_FOLDER
    trainer = lightning.Trainer(
        max_epochs=settings.epochs,
        accelerator="auto",
        devices=1,
        precision="bf16-mixed" if settings.bfloat16 else "32-true",
        gradient_clip_val=1.0,
        callbacks=[
            _moving_average(settings.ema_decay),
            ModelCheckpoint(dirpath=state, save_last=True, save_top_k=0, every_n_epochs=1),
            _history(folder / HISTORY_FILE),
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    last = state / "last.ckpt"
    trainer.fit(module, *loaders, ckpt_path=str(last) if last.is_file() else None)
    model.to(torch.device("cpu")).save(folder, metadata={"settings": asdict(settings)})
    target = {
        "std": std,
        "references": references.to_dict(),
        "elements": sorted({int(z) for z in np.unique(dataset.numbers[train]) if z}),
        "n_train": len(train),
    }
    (folder / TARGET_FILE).write_text(json.dumps(target, indent=1) + "\n")
    return folder


def _rows(dataset: Dataset, split: str) -> NDArray[np.int64]:
    if split not in dataset.split:
        raise DatasetError(f"the data set has no split '{split}': make it with one")
    rows = dataset.split[split]
    rows = rows[np.isfinite(dataset.formation_energy_per_atom[rows])]
    if not len(rows):
        raise DatasetError(f"no structure of the split '{split}' has a formation energy")
    return rows


def _graphs(dataset: Dataset, rows: NDArray[np.int64], values: NDArray[np.float64]) -> list[Any]:
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


def _moving_average(decay: float) -> Any:
    from lightning.pytorch.callbacks import WeightAveraging
    from torch.optim.swa_utils import get_ema_multi_avg_fn

    return WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(decay))


def _history(file: Path) -> Any:
    from lightning.pytorch.callbacks import Callback

    class History(Callback):
        def __init__(self) -> None:
            self.began = time.monotonic()

        def on_validation_end(self, trainer: Any, _: Any) -> None:
            metrics = trainer.callback_metrics
            row = {
                "epoch": trainer.current_epoch + 1,
                "validation_mae": round(float(metrics["val_MAE"]), 5),
                "train_mae": round(float(metrics.get("train_MAE", float("nan"))), 5),
                "seconds": round(time.monotonic() - self.began, 1),
            }
            new = not file.exists()
            with file.open("a", newline="") as stream:
                writer = csv.DictWriter(stream, list(row))
                if new:
                    writer.writeheader()
                writer.writerow(row)

    return History()

"""The loop of a training: Lightning, a moving average of weights, a state after each epoch."""

from __future__ import annotations

import csv
import logging
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HISTORY_FILE = "history.csv"
LAST_STATE = "state/last.ckpt"


def run_epochs(
    module: Any,
    loaders: list[Any],
    folder: Path,
    *,
    epochs: int,
    ema_decay: float,
    bfloat16: bool,
    progress: Callable[[int, int], None] | None,
) -> None:
    """
    Train, from the last state in the folder if there is one; leave the averaged weights.

    Parameters
    ----------
    module
        matgl's module; after training on the CPU, with the moving average of its weights.
    loaders
        Of batches to train on and to validate with.
    folder
        For the state after each epoch and the history.
    epochs
        Epochs in all.
    ema_decay
        Decay, a step, of the moving average.
    bfloat16
        Multiply matrices in bfloat16.
    progress
        Called with the epochs done and the epochs in all.
    """
    import lightning
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint

    last = folder / LAST_STATE
    handler = signal.getsignal(signal.SIGINT)
    with _quiet():
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="auto",
            devices=1,
            precision="bf16-mixed" if bfloat16 else "32-true",
            gradient_clip_val=1.0,
            callbacks=[
                _moving_average(ema_decay),
                _history(folder / HISTORY_FILE, progress),
                # save_last alone would save at the end of training only
                ModelCheckpoint(last.parent, last.stem, enable_version_counter=False),
            ],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        try:
            trainer.fit(
                module,
                train_dataloaders=loaders[0],
                val_dataloaders=loaders[1],
                ckpt_path=str(last) if last.is_file() else None,
            )
        except SystemExit:
            # what Lightning makes of an interruption
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from None
    # in the state, the weights proper are the moving average
    state = torch.load(last, map_location="cpu", weights_only=True)
    module.cpu().load_state_dict(state["state_dict"])


def validation_mae(folder: Path) -> float:
    """
    Return the mean absolute error on the validation structures after the last epoch.

    Parameters
    ----------
    folder
        The folder of a training.

    Returns
    -------
    float
        In eV/atom.
    """
    with (folder / HISTORY_FILE).open(newline="") as stream:
        *_, last = csv.DictReader(stream)
    return float(last["validation_mae"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what Lightning says of the machine, of workers and of its other products."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _moving_average(decay: float) -> Any:
    from lightning.pytorch.callbacks import WeightAveraging
    from torch.optim.swa_utils import get_ema_multi_avg_fn

    def average(averaged: Any, current: Any, n_averaged: Any) -> None:
        # in a short training, weights of the start would stay in the average
        now = min(decay, float((1 + n_averaged) / (10 + n_averaged)))
        get_ema_multi_avg_fn(now)(averaged, current, n_averaged)

    return WeightAveraging(multi_avg_fn=average)


def _history(file: Path, progress: Callable[[int, int], None] | None) -> Any:
    from lightning.pytorch.callbacks import Callback

    class History(Callback):
        """Writes errors after each epoch; they are kept with the state, so none is there twice."""

        def __init__(self) -> None:
            self.rows: list[dict[str, float]] = []
            self.began = time.monotonic()

        def state_dict(self) -> dict[str, Any]:
            return {"rows": self.rows}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.rows = state["rows"]
            self.began -= self.rows[-1]["seconds"]

        def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
            metrics = trainer.callback_metrics
            self.rows.append(
                {
                    "epoch": trainer.current_epoch + 1,
                    "validation_mae": round(float(metrics["val_MAE"]), 5),
                    "train_mae": round(float(metrics["train_MAE"]), 5),
                    "seconds": round(time.monotonic() - self.began, 1),
                }
            )
            with file.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, list(self.rows[0]))
                writer.writeheader()
                writer.writerows(self.rows)
            if progress is not None:
                progress(len(self.rows), trainer.max_epochs)

    return History()

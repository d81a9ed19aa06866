"""
Make weights that ship with the package from a trained checkpoint.

Run as ``python -m crystens_flows.generators.make_shipped CHECKPOINT NAME``. The weights are rounded
to half precision and written to the folder ``weights/NAME`` of this package, beside the model card;
the generator is then known by NAME.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from crystens_flows.errors import CheckpointError, InputError
from crystens_flows.generators import SHIPPED_WEIGHTS, generator_sha256
from crystens_flows.generators.checkpoints import (
    WEIGHTS_FILE,
    read_checkpoint,
    read_header,
    serialised,
    write_checkpoint,
)

MAX_BYTES = 15_000_000
"""Largest file of weights that ships."""


def make_shipped(checkpoint: Path, name: str, weights_folder: Path = SHIPPED_WEIGHTS) -> Path:
    """
    Write a checkpoint with weights in half precision.

    It is another checkpoint than the trained one, with a SHA-256 of its own; its card says which
    it comes from.

    Parameters
    ----------
    checkpoint
        Folder of a checkpoint.
    name
        Name of the generator, and of the folder that is made.
    weights_folder
        Where that folder goes.

    Returns
    -------
    pathlib.Path
        The folder that was made.

    Raises
    ------
    InputError
        If the name is no name of a folder.
    CheckpointError
        If there is no checkpoint, a weight does not fit in half precision, or the file of weights
        would be too large to ship; nothing is written.
    """
    if not name.replace("-", "_").isidentifier():
        raise InputError(f"'{name}' is no name of a generator: give one word, e.g. 'gan'")
    kind = read_header(checkpoint)["kind"]
    config, card, weights, sha256 = read_checkpoint(checkpoint, kind, "numpy")
    rounded = {key: _rounded(key, value) for key, value in weights.items()}
    size = len(serialised(rounded))
    if size > MAX_BYTES:
        raise CheckpointError(
            f"the weights of {checkpoint} take {size / 1e6:.1f} MB in half precision, and at most "
            f"{MAX_BYTES / 1e6:.0f} MB ship: train smaller networks"
        )
    card["weights"] = f"rounded to half precision after training; before, SHA-256 {sha256}"
    write_checkpoint(weights_folder / name, kind, config, card, rounded)
    return weights_folder / name


def _rounded(name: str, value: np.ndarray) -> np.ndarray:
    if not np.issubdtype(value.dtype, np.floating):
        return value
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    if not np.isfinite(half).all():
        raise CheckpointError(
            f"'{name}' has values up to {np.abs(value).max():g}, beyond the "
            f"{np.finfo(np.float16).max:g} of half precision: it cannot ship so"
        )
    return half


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint")
    parser.add_argument("name", help="name of the generator, e.g. 'gan'")
    options = parser.parse_args()
    folder = make_shipped(options.checkpoint, options.name)
    size = (folder / WEIGHTS_FILE).stat().st_size
    print(f"{folder}: {size} B of weights, SHA-256 {generator_sha256(folder)}")  # noqa: T201


if __name__ == "__main__":
    main()

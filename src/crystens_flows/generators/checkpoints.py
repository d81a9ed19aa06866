"""Checkpoints on disk: a folder with configuration, model card and weights, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crystens_flows.errors import CheckpointError, OutputFolderError, import_extra

if TYPE_CHECKING:
    import torch

FORMAT = 1
TRAINING_FILE = "training.json"
DATASET_FILES = ("dataset.npz", "dataset.json")
"""A data set that was made for a training may stand in its folder before it begins."""

CONFIG_FILE = "config.json"
CARD_FILE = "card.json"
WEIGHTS_FILE = "weights.safetensors"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is either the old one or the new one, whatever happens."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_foreign(folder: Path) -> None:
    """
    Refuse a folder for a training that holds anything but that training, or data made for it.

    Another process of the same training may take the folder meanwhile.

    Raises
    ------
    OutputFolderError
        If it is a file, lies in one, or holds something else.
    """
    existing = next(parent for parent in folder.absolute().parents if parent.exists())
    if not existing.is_dir():
        raise OutputFolderError(f"{existing} is a file: give another folder than {folder}")
    foreign = folder.exists()
    if folder.is_dir():
        names = {file.name for file in folder.iterdir()}  # once: they may change meanwhile
        foreign = TRAINING_FILE not in names and not all(map(_comes_before_training, names))
    if foreign:
        raise OutputFolderError(f"{folder} is in use for something else: give another folder")


def _comes_before_training(name: str) -> bool:
    """Whether a file may stand in a folder where a training is about to begin, or being written."""
    being_written = tuple(f".{file}." for file in (TRAINING_FILE, *DATASET_FILES))
    return name in DATASET_FILES or name.startswith(being_written)


def claim_folder(folder: Path, training: dict[str, Any]) -> None:
    """
    Take a folder for a training: a new or empty one, or one where the same training was begun.

    Parameters
    ----------
    folder
        The folder; made if absent.
    training
        What tells trainings apart: generator, seed, SHA-256 of the data.

    Raises
    ------
    OutputFolderError
        If the folder holds something else, or another training.
    """
    file = folder / TRAINING_FILE
    if file.is_file():
        try:
            earlier = json.loads(file.read_text())
            differing = [k for k in training if earlier.get(k) != training[k]]
        except (ValueError, AttributeError):
            raise OutputFolderError(f"{file} is damaged: give another folder") from None
        if differing:
            what = ", ".join(f"{k} {earlier.get(k)}, not {training[k]}" for k in differing)
            raise OutputFolderError(
                f"{folder} is in use by a training with {what}: give another folder"
            )
        return
    refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(file, (json.dumps(training, indent=2) + "\n").encode())


def write_checkpoint(
    folder: Path,
    kind: str,
    config: dict[str, Any],
    card: dict[str, Any],
    weights: Mapping[str, torch.Tensor] | Mapping[str, np.ndarray],
) -> str:
    """
    Write a checkpoint.

    Parameters
    ----------
    folder
        Folder to write to; made if absent.
    kind
        Kind of the generator.
    config
        What is needed to build the networks.
    card
        The model card.
    weights
        Tensors of torch, or else arrays, by name.

    Returns
    -------
    str
        SHA-256 of weights, kind and configuration: what determines samples.
    """
    data = serialised(weights)
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = _identity(kind, config, data)
    header = {"format": FORMAT, "kind": kind, "sha256": sha256, "config": config}
    write_atomically(folder / WEIGHTS_FILE, data)
    write_atomically(folder / CARD_FILE, (json.dumps(card, indent=2) + "\n").encode())
    write_atomically(folder / CONFIG_FILE, (json.dumps(header, indent=2) + "\n").encode())
    return sha256


def serialised(weights: Mapping[str, Any]) -> bytes:
    """
    Write weights as safetensors, without importing torch for those of another library.

    Parameters
    ----------
    weights
        Tensors of torch, or else arrays, by name.

    Returns
    -------
    bytes
        What a file of weights holds.
    """
    purpose = "saving a generator"
    if all(isinstance(value, np.ndarray) for value in weights.values()):
        library = import_extra("safetensors.numpy", "gan", purpose)
        return library.save({k: np.asarray(v, order="C") for k, v in weights.items()})
    library = import_extra("safetensors.torch", "generate", purpose)
    return library.save({k: v.detach().cpu().contiguous() for k, v in weights.items()})


def _identity(kind: str, config: dict[str, Any], weights: bytes) -> str:
    described = json.dumps({"kind": kind, "config": config}, sort_keys=True)
    return hashlib.sha256(weights + described.encode()).hexdigest()


def read_header(folder: Path) -> dict[str, Any]:
    """
    Read which kind of generator a checkpoint folder holds.

    Returns
    -------
    dict
        ``kind``, ``sha256`` and ``config``.

    Raises
    ------
    CheckpointError
        If the folder is no checkpoint.
    """
    path = folder / CONFIG_FILE
    if not folder.is_dir():
        raise CheckpointError(
            f"no checkpoint at {folder}: give a shipped name or a folder that 'crystens train' made"
        )
    try:
        header = json.loads(path.read_text())
        kinds = {"kind": str, "sha256": str, "config": dict}
        if not all(isinstance(header[key], kind) for key, kind in kinds.items()):
            raise TypeError("kind, sha256 or config is of the wrong type")
    except FileNotFoundError as exc:
        raise CheckpointError(
            f"{folder} is no checkpoint: it has no {CONFIG_FILE}; give a folder that "
            "'crystens train' finished"
        ) from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise CheckpointError(
            f"{path} is damaged ({exc}): copy the checkpoint again or train anew"
        ) from exc
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} has checkpoint format {header.get('format')}, this version reads {FORMAT}: "
            "use the version of crystens_flows that wrote it"
        )
    return header


def read_checkpoint(
    folder: Path, kind: str, framework: Literal["torch", "numpy"] = "torch"
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]:
    """
    Read a checkpoint and verify it against the recorded SHA-256.

    Weights that are kept in half precision, as those that ship may be, are given in single.

    Parameters
    ----------
    folder
        The checkpoint folder.
    kind
        The kind of generator expected.
    framework
        Give the weights as tensors of torch or as arrays.

    Returns
    -------
    tuple
        Configuration, model card, weights by name and the SHA-256 of the checkpoint.

    Raises
    ------
    CheckpointError
        If it is missing, truncated, altered or of another kind.
    """
    header = read_header(folder)
    if header["kind"] != kind:
        raise CheckpointError(
            f"{folder} holds a generator of kind '{header['kind']}', not '{kind}': "
            "give a checkpoint of that kind"
        )
    extra = {"torch": "generate", "numpy": "gan"}[framework]
    safetensors = import_extra(f"safetensors.{framework}", extra, "loading a generator")
    path = folder / WEIGHTS_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError as exc:
        raise CheckpointError(f"{folder} has no {WEIGHTS_FILE}: copy the checkpoint again") from exc
    if _identity(kind, header["config"], data) != header["sha256"]:
        raise CheckpointError(
            f"{path} or {CONFIG_FILE} is truncated or altered (SHA-256 differs): "
            "copy the checkpoint again or train anew"
        )
    try:
        card = json.loads((folder / CARD_FILE).read_text())
    except (OSError, ValueError):
        card = {}
    weights = {name: _single(value) for name, value in safetensors.load(data).items()}
    return header["config"], card, weights, header["sha256"]


def _single(value: Any) -> Any:
    """Give a tensor or an array of half precision in single, any other as it is."""
    if not str(value.dtype).endswith("float16"):
        return value
    return value.astype(np.float32) if isinstance(value, np.ndarray) else value.float()

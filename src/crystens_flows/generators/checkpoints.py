"""Checkpoints on disk: a folder with configuration, model card and weights, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystens_flows.errors import CheckpointError, import_extra

if TYPE_CHECKING:
    import torch

FORMAT = 1
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


def write_checkpoint(
    folder: Path,
    kind: str,
    config: dict[str, Any],
    card: dict[str, Any],
    weights: dict[str, torch.Tensor],
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
        Tensors by name.

    Returns
    -------
    str
        SHA-256 of the weights file.
    """
    safetensors_torch = import_extra("safetensors.torch", "generate", "saving a generator")
    folder.mkdir(parents=True, exist_ok=True)
    data = safetensors_torch.save({k: v.detach().cpu().contiguous() for k, v in weights.items()})
    sha256 = hashlib.sha256(data).hexdigest()
    header = {"format": FORMAT, "kind": kind, "sha256": sha256, "config": config}
    write_atomically(folder / WEIGHTS_FILE, data)
    write_atomically(folder / CARD_FILE, (json.dumps(card, indent=2) + "\n").encode())
    write_atomically(folder / CONFIG_FILE, (json.dumps(header, indent=2) + "\n").encode())
    return sha256


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
        if not isinstance(header, dict) or not {"kind", "sha256", "config"} <= header.keys():
            raise KeyError("kind, sha256 and config")
    except FileNotFoundError as exc:
        raise CheckpointError(
            f"{folder} is no checkpoint: it has no {CONFIG_FILE}; give a folder that "
            "'crystens train' finished"
        ) from exc
    except (ValueError, KeyError) as exc:
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
    folder: Path, kind: str
) -> tuple[dict[str, Any], dict[str, Any], dict[str, torch.Tensor], str]:
    """
    Read a checkpoint and verify its weights against the recorded SHA-256.

    Parameters
    ----------
    folder
        The checkpoint folder.
    kind
        The kind of generator expected.

    Returns
    -------
    tuple
        Configuration, model card, weights by name and their SHA-256.

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
    safetensors_torch = import_extra("safetensors.torch", "generate", "loading a generator")
    path = folder / WEIGHTS_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError as exc:
        raise CheckpointError(f"{folder} has no {WEIGHTS_FILE}: copy the checkpoint again") from exc
    if hashlib.sha256(data).hexdigest() != header["sha256"]:
        raise CheckpointError(
            f"{path} is truncated or altered (its SHA-256 is not the one in {CONFIG_FILE}): "
            "copy the checkpoint again or train anew"
        )
    try:
        card = json.loads((folder / CARD_FILE).read_text())
    except (OSError, ValueError):
        card = {}
    return header["config"], card, safetensors_torch.load(data), header["sha256"]

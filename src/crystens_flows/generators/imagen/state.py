"""The state that a training continues from, as safetensors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crystens_flows.errors import CheckpointError, TrainingError, import_extra

PURPOSE = "training the diffusion model"
_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_state(
    file: Path,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
) -> None:
    """
    Write a state so that the file is either the old one or the new one, whatever happens.

    Parameters
    ----------
    file
        The file.
    network
        The network.
    average
        The moving average of the network.
    optimizer
        Adam.
    progress
        What else there is to know, as plain types.

    Raises
    ------
    TrainingError
        If it cannot be written, for example on a full disk; the old file is left as it was.
    """
    safetensors = import_extra("safetensors", "imagen", PURPOSE)
    safetensors_torch = import_extra("safetensors.torch", "imagen", PURPOSE)
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"{name}.{index}": moments[name] for name in _MOMENTS}
    tensors = {name: value.detach().contiguous() for name, value in tensors.items()}
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        safetensors_torch.save_file(tensors, temporary, metadata={"state": json.dumps(progress)})
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(file)
    except (OSError, safetensors.SafetensorError) as exc:
        kept = f"the state of step {read_progress(file)['step']}" if file.is_file() else "nothing"
        raise TrainingError(
            f"{file} cannot be written ({getattr(exc, 'strerror', None) or exc}); {kept} is kept: "
            "make room on the disk and start again with the same folder"
        ) from exc
    finally:
        temporary.unlink(missing_ok=True)


def read_progress(file: Path) -> dict[str, Any]:
    """
    Read what a state file says of itself, not its tensors.

    Raises
    ------
    CheckpointError
        If it is damaged.
    """
    safe_open = import_extra("safetensors", "imagen", PURPOSE).safe_open
    try:
        with safe_open(file, framework="pt") as opened:
            return json.loads(opened.metadata()["state"])
    except Exception as exc:
        raise _unusable(file, exc) from exc


def load_state(
    file: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """
    Read a state into a network, its average and its optimiser.

    Parameters
    ----------
    file
        The file that :func:`save_state` wrote.
    network, average, optimizer
        What to read into.

    Returns
    -------
    dict
        What else there was to know.

    Raises
    ------
    CheckpointError
        If it is damaged, or of a network of other sizes.
    """
    progress = read_progress(file)
    safetensors_torch = import_extra("safetensors.torch", "imagen", PURPOSE)
    try:
        tensors = safetensors_torch.load_file(file)
        for prefix, module in (("network.", network), ("average.", average)):
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
        groups = optimizer.state_dict()["param_groups"]
        step = torch.tensor(float(progress["step"]))
        moments = {
            index: {"step": step.clone(), **{name: tensors[f"{name}.{index}"] for name in _MOMENTS}}
            for index in groups[0]["params"]
            if f"exp_avg.{index}" in tensors
        }
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
    except Exception as exc:
        raise _unusable(file, exc) from exc
    return progress


def _unusable(file: Path, exc: Exception) -> CheckpointError:
    return CheckpointError(
        f"{file} cannot be continued from ({type(exc).__name__}): it is damaged or of a network of "
        "other sizes; delete it to train this network from the start"
    )

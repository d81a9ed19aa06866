"""Keras's weights as arrays by name, and the state of a training as safetensors."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crystens_flows.errors import CheckpointError, TrainingError, import_extra
from crystens_flows.generators.adversarial.adversary import Adversary
from crystens_flows.generators.adversarial.library import PURPOSE

_NOT_KEPT = "learning_rate"


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """Return the weights of a network by name, those that are not trained included."""
    return {variable.path: variable.numpy() for variable in model.weights}


def set_weights(variables: list[Any], arrays: Mapping[str, np.ndarray], prefix: str = "") -> None:
    """
    Give variables the values of the same names.

    Parameters
    ----------
    variables
        Of a network or an optimiser.
    arrays
        Values by name.
    prefix
        What stands before each name in `arrays`.

    Raises
    ------
    ValueError
        If one is missing, or of another shape.
    """
    for variable in variables:
        array = arrays.get(prefix + variable.path)
        if array is None:
            raise ValueError(f"{prefix}{variable.path} is missing")
        if array.shape != tuple(variable.shape):
            raise ValueError(
                f"{prefix}{variable.path} has shape {array.shape}, not {tuple(variable.shape)}"
            )
    for variable in variables:
        variable.assign(arrays[prefix + variable.path])


def _kept(adversary: Adversary) -> dict[str, list[Any]]:
    """Return all variables that a training continues from, by the prefix of their names."""
    kept = {f"{name}.": model.weights for name, model in adversary.models.items()}
    for name, optimizer in adversary.optimizers.items():
        kept[f"{name}.optimizer."] = [
            v for v in optimizer.variables if not v.path.endswith(_NOT_KEPT)
        ]
    return kept


def save_state(file: Path, adversary: Adversary, progress: dict[str, Any]) -> None:
    """
    Write the state of a training; the file is either the old one or the new one.

    Parameters
    ----------
    file
        The file.
    adversary
        The networks and their optimisers.
    progress
        What else there is to know, as plain types.

    Raises
    ------
    FloatingPointError
        If a value is not finite; the old file is left.
    TrainingError
        If it cannot be written, for example on a full disk; the old file is left.
    """
    safetensors = import_extra("safetensors", "gan", PURPOSE)
    safetensors_numpy = import_extra("safetensors.numpy", "gan", PURPOSE)
    arrays = {
        prefix + variable.path: np.asarray(variable.numpy(), order="C")
        for prefix, variables in _kept(adversary).items()
        for variable in variables
    }
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise FloatingPointError(name)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        metadata = {"progress": json.dumps(progress)}
        safetensors_numpy.save_file(arrays, temporary, metadata=metadata)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(file)
    except (OSError, safetensors.SafetensorError) as exc:
        raise TrainingError(
            f"{file} cannot be written ({getattr(exc, 'strerror', None) or exc}); {kept_at(file)}: "
            "make room on the disk and start again with the same folder"
        ) from exc
    finally:
        temporary.unlink(missing_ok=True)


def kept_at(file: Path) -> str:
    """Say which state is kept."""
    if not file.is_file():
        return "no state had been written"
    return f"the state of step {read_progress(file)['step']} is kept"


def read_progress(file: Path) -> dict[str, Any]:
    """
    Read what a state says of itself, not its arrays.

    Raises
    ------
    CheckpointError
        If it is damaged.
    """
    safe_open = import_extra("safetensors", "gan", PURPOSE).safe_open
    try:
        with safe_open(file, framework="numpy") as opened:
            return json.loads(opened.metadata()["progress"])
    except Exception as exc:
        raise _unusable(file, exc) from exc


def load_state(file: Path, adversary: Adversary) -> dict[str, Any]:
    """
    Read a state into networks and optimisers.

    Returns
    -------
    dict
        What else there was to know.

    Raises
    ------
    CheckpointError
        If it is damaged, or of networks of other sizes.
    """
    progress = read_progress(file)
    safetensors_numpy = import_extra("safetensors.numpy", "gan", PURPOSE)
    try:
        arrays = safetensors_numpy.load_file(file)
        for prefix, variables in _kept(adversary).items():
            set_weights(variables, arrays, prefix)
    except Exception as exc:
        raise _unusable(file, exc) from exc
    return progress


def _unusable(file: Path, exc: Exception) -> CheckpointError:
    reason = str(exc) if isinstance(exc, ValueError) else type(exc).__name__
    return CheckpointError(
        f"{file} cannot be continued from ({reason}): it is damaged or of networks of other sizes; "
        "delete it to train from the start"
    )

"""TensorFlow and Keras, imported where they are used and set up as the process is."""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from functools import lru_cache
from types import ModuleType

import numpy as np

from crystens_flows.errors import InputError, import_extra

PURPOSE = "the adversarial generators"


@lru_cache(maxsize=1)
def import_keras() -> tuple[ModuleType, ModuleType]:
    """
    Import TensorFlow and Keras on it.

    TensorFlow takes as many threads as ``OMP_NUM_THREADS`` says, as the other libraries here do,
    and of a GPU only the memory that it needs.

    Returns
    -------
    tuple
        The modules ``tensorflow`` and ``keras``.

    Raises
    ------
    MissingExtraError
        If TensorFlow is not installed.
    InputError
        If Keras is set to another backend.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if (backend := os.environ.setdefault("KERAS_BACKEND", "tensorflow")) != "tensorflow":
        raise _other_backend(backend)
    with suppress(ImportError):
        # PyTorch's compiler, loaded after TensorFlow, ends the process: both hold an LLVM
        importlib.import_module("triton")
    tensorflow = import_extra("tensorflow", "gan", PURPOSE)
    keras = import_extra("keras", "gan", PURPOSE)
    if keras.backend.backend() != "tensorflow":  # imported before, with a backend of its settings
        raise _other_backend(keras.backend.backend())
    with suppress(RuntimeError):  # it was used before in this process: it stays as it is
        _set_up(tensorflow)
    return tensorflow, keras


def _other_backend(name: str) -> InputError:
    return InputError(
        f"Keras is set to the backend '{name}', {PURPOSE} need TensorFlow: start again with the "
        "environment variable KERAS_BACKEND=tensorflow"
    )


def _set_up(tensorflow: ModuleType) -> None:
    threads = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if threads.isdigit() and "TF_NUM_INTRAOP_THREADS" not in os.environ:
        tensorflow.config.threading.set_intra_op_parallelism_threads(int(threads))
        tensorflow.config.threading.set_inter_op_parallelism_threads(int(threads))
    for gpu in tensorflow.config.list_physical_devices("GPU"):
        tensorflow.config.experimental.set_memory_growth(gpu, True)


def device_type() -> str:
    """Return where TensorFlow computes: "cuda", or "cpu"."""
    tensorflow, _ = import_keras()
    return "cuda" if tensorflow.config.list_physical_devices("GPU") else "cpu"


def to_images(tensors: np.ndarray) -> np.ndarray:
    """
    Turn CrysTens to the networks' order of axes: rows, columns, layers and one channel.

    Parameters
    ----------
    tensors
        CrysTens, shape (n, layers, 64, 64).

    Returns
    -------
    numpy.ndarray
        Shape (n, 64, 64, layers, 1), contiguous.
    """
    return np.ascontiguousarray(tensors.transpose(0, 2, 3, 1)[..., None])


def to_tensors(images: np.ndarray) -> np.ndarray:
    """Undo :func:`to_images`."""
    return np.ascontiguousarray(images[..., 0].transpose(0, 3, 1, 2))

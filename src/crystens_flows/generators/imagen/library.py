"""Importing imagen-pytorch where there is no network."""

from __future__ import annotations

import sys
import warnings
from types import ModuleType
from typing import Any

from crystens_flows.errors import CrystensError, MissingExtraError, import_extra

PURPOSE = "the diffusion model ('imagen')"


def import_imagen() -> ModuleType:
    """
    Import imagen-pytorch without asking a model hub for anything.

    As it is imported, the package looks up the width of a text encoder, the default of an argument
    that unconditional networks do not use. It is told that width here instead.

    Returns
    -------
    ModuleType
        The package ``imagen_pytorch``.

    Raises
    ------
    MissingExtraError
        If it, or something it needs, is not installed.
    CrystensError
        If what it needs is installed in versions that do not fit together.
    """
    if (imported := sys.modules.get("imagen_pytorch")) is not None:
        return imported
    config: Any = import_extra("transformers", "imagen", PURPOSE).T5Config

    def known(*_args: Any, **_options: Any) -> Any:
        return config(d_model=768)  # that of google/t5-v1_1-base, the default

    config.from_pretrained = known
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit.script is deprecated
            return import_extra("imagen_pytorch", "imagen", PURPOSE)
    except ModuleNotFoundError as exc:
        raise MissingExtraError(
            f"imagen-pytorch lacks the package {exc.name}: pip install 'crystens-flows[imagen]'"
        ) from exc
    except (ImportError, RuntimeError) as exc:
        reason = str(exc).splitlines()[0]
        raise CrystensError(
            f"imagen-pytorch cannot be imported ({reason}): install torch and torchvision of the "
            "same release from the same place"
        ) from exc
    finally:
        del config.from_pretrained  # the inherited one is there again

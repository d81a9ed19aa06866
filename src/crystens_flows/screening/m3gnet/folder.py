"""The folder of a model: what is in it, and how it is read."""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from crystens_flows.errors import CheckpointError, import_extra
from crystens_flows.screening.element_references import ElementReferences

SHIPPED_WEIGHTS = Path(__file__).parents[1] / "weights" / "m3gnet"

MATGL_FILES = ("model.json", "model.pt", "state.pt")
"""What matgl saves."""

TARGET_FILE = "target.json"
UNCERTAINTY_FILE = "uncertainty.npz"

HUB_OWNER = "materialyze"
"""Who publishes matgl's own models on the Hugging Face Hub."""


def import_matgl(module: str) -> ModuleType:
    """Import a module of matgl, which warns of what torch will drop some day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_extra(module, "screen", "formation energies by M3GNet")


@dataclass(frozen=True)
class Target:
    """
    What the network of a model of this package learned.

    Parameters
    ----------
    std
        The formation energy less the references is this many times the network's output, eV/atom.
    references
        Energy of each element of the training structures.
    n_train
        Number of training structures.
    data
        Where they are from.
    """

    std: float
    references: ElementReferences
    n_train: int
    data: str

    def write(self, folder: Path) -> None:
        """Write ``target.json``."""
        record = {
            "std": self.std,
            "references": self.references.to_dict(),
            "elements": np.flatnonzero(np.isfinite(self.references.energies))[1:].tolist(),
            "n_train": self.n_train,
            "data": self.data,
        }
        (folder / TARGET_FILE).write_text(json.dumps(record, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Target | None:
        """
        Read ``target.json``; None where there is none, as in models that others trained.

        Raises
        ------
        CheckpointError
            If it holds something else.
        """
        path = folder / TARGET_FILE
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text())
            return cls(
                std=float(record["std"]),
                references=ElementReferences.from_dict(record["references"]),
                n_train=int(record["n_train"]),
                data=str(record.get("data", "unnamed")),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise CheckpointError(
                f"{path} is damaged ({type(exc).__name__}: {exc}): copy it again or train anew"
            ) from exc


def model_folder(model: str | Path) -> Path:
    """
    Find the folder of a model, or fetch it.

    Parameters
    ----------
    model
        "default" for the model that ships, a folder, or the name of a model on the Hugging Face
        Hub: one of matgl's, or "owner/name". Fetching needs a network the first time.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    CheckpointError
        If there is no such folder and no such model can be fetched.
    MissingExtraError
        If matgl is not installed.
    """
    if model == "default":
        if not SHIPPED_WEIGHTS.is_dir():
            raise CheckpointError(
                f"there is no {SHIPPED_WEIGHTS}: reinstall crystens_flows, or give the folder of a "
                "model that 'crystens train-m3gnet' made"
            )
        return SHIPPED_WEIGHTS
    path = Path(model)
    if path.is_dir():
        return path
    name = str(model)
    if path.exists() or isinstance(model, Path) or path.is_absolute() or name.startswith("."):
        raise CheckpointError(f"{model} is no folder of a model: give one, or 'default'")
    return _fetch(name)


def _fetch(name: str) -> Path:
    hub = import_extra("huggingface_hub", "screen", "fetching a model of matgl")
    cache = import_matgl("matgl.config").MATGL_CACHE
    repository = name if "/" in name else f"{HUB_OWNER}/{name}"
    try:
        return Path(
            hub.snapshot_download(repository, allow_patterns=list(MATGL_FILES), cache_dir=cache)
        )
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as exc:
        reason = str(exc).strip().splitlines()[0]
        raise CheckpointError(
            f"there is no folder '{name}', and {repository} cannot be fetched from the Hugging "
            f"Face Hub ({reason}): give 'default' or the folder of a model"
        ) from exc


def read_network(folder: Path) -> Any:
    """
    Let matgl read a model of properties.

    Parameters
    ----------
    folder
        Its folder.

    Returns
    -------
    matgl.models.MatGLModel
        On the CPU.

    Raises
    ------
    CheckpointError
        If a file is missing or damaged, or it is no model of a property of crystals.
    MissingExtraError
        If matgl is not installed.
    """
    missing = [name for name in MATGL_FILES if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder} is no model of matgl: it has no {', '.join(missing)}; give a folder that "
            "'crystens train-m3gnet' finished or that matgl saved"
        )
    matgl = import_matgl("matgl")
    try:
        described = json.loads((folder / "model.json").read_text())
        # matgl imports whatever modules stand there, and makes objects of their classes
        _check_modules(folder, described)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = matgl.load_model(folder)
    except (
        *(ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError, EOFError),
        *(ImportError, pickle.PickleError),
    ) as exc:
        cause = str(exc.__cause__ or exc).splitlines() or [type(exc).__name__]
        raise CheckpointError(
            f"{folder} holds no model that matgl {matgl.__version__} can read ({cause[0]}): copy "
            "it again, or train anew"
        ) from exc
    if not callable(getattr(model, "predict_structure", None)):
        raise CheckpointError(
            f"{folder} holds a {type(model).__name__}, which predicts no property of a structure: "
            "give a model of the formation energy"
        )
    return model.to("cpu").eval()


def _check_modules(folder: Path, described: dict[str, Any]) -> None:
    """Raise ValueError if a model names a class that is not matgl's own."""
    import torch

    # imported, it also tells torch which types may be in matgl's files
    resolve = import_matgl("matgl.utils.io")._resolve_module
    arguments = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
    for each in (described, *arguments.values()):
        if isinstance(each, dict) and "@module" in each:
            module, name = str(each["@module"]), str(each.get("@class"))
            found: Any = None
            if module.startswith("matgl."):
                found = getattr(import_matgl(resolve(module)), name, None)
            if not str(getattr(found, "__module__", None)).startswith("matgl."):
                raise ValueError(f"its class is {module}.{name}")


def is_complete(folder: Path) -> bool:
    """Tell whether a training that began in a folder has ended."""
    return all((folder / name).is_file() for name in (TARGET_FILE, *MATGL_FILES))


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that predictions depend on."""
    names = ("state.pt", TARGET_FILE, UNCERTAINTY_FILE)
    paths = [folder / name for name in names if (folder / name).is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

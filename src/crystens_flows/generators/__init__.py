"""Generators of CrysTens behind one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystens_flows.errors import CheckpointError, InputError, import_extra
from crystens_flows.generators.base import Generator, Progress
from crystens_flows.generators.checkpoints import CONFIG_FILE, read_header, refuse_foreign
from crystens_flows.generators.pause import TrainingPaused, pause_after

if TYPE_CHECKING:
    from crystens_flows.generators.conditions import Conditions

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"

GENERATOR_CLASSES = {
    "wyckoff": "crystens_flows.generators.wyckoff.generator:WyckoffGenerator",
    "imagen": "crystens_flows.generators.imagen.generator:ImagenGenerator",
    "gan": "crystens_flows.generators.adversarial.generator:GanGenerator",
    "wgan": "crystens_flows.generators.adversarial.generator:WganGenerator",
    "substitution": "crystens_flows.generators.substitution.generator:SubstitutionGenerator",
}
"""Where the class of each kind of generator is, imported when it is needed."""

SHIPPED_GENERATORS = {
    file.parent.name: file.parent for file in sorted(SHIPPED_WEIGHTS.glob(f"*/{CONFIG_FILE}"))
}
"""Checkpoints that come with the package, by the name given to ``--generator``."""

SHIPPED_DATA = (
    "crystals shipped with the package: Materials Project by MP-20 and MPTS-52, CC BY 4.0"
)

TORCH_GENERATORS = {"wyckoff": "generate", "imagen": "imagen"}
"""
Kinds whose modules import torch, and the extra that brings it; those of TensorFlow import it when
they are used.
"""

TRAINABLE_GENERATORS = {
    "default": "wyckoff",
    "imagen": "imagen",
    "gan": "gan",
    "wgan": "wgan",
    "substitution": "substitution",
}
"""Kind of generator trained for each name given to ``crystens train --generator``."""


def generator_class(kind: str) -> type[Generator]:
    """
    Return the class of a kind of generator.

    Parameters
    ----------
    kind
        A key of `GENERATOR_CLASSES`.

    Returns
    -------
    type
        A subclass of :class:`Generator`.

    Raises
    ------
    CheckpointError
        If the kind is not known.
    """
    if kind not in GENERATOR_CLASSES:
        raise CheckpointError(
            f"unknown kind of generator '{kind}': known are {', '.join(sorted(GENERATOR_CLASSES))}"
        )
    if kind in TORCH_GENERATORS:
        import_extra("torch", TORCH_GENERATORS[kind], f"the generator '{kind}'")
    module, name = GENERATOR_CLASSES[kind].split(":")
    return getattr(import_module(module), name)


def resolve_generator(name_or_folder: str | Path) -> str:
    """
    Return a shipped name as it is, and the folder of a checkpoint as an absolute path.

    Parameters
    ----------
    name_or_folder
        A key of `SHIPPED_GENERATORS` or a folder, which may be one of another machine.

    Returns
    -------
    str
        What means the same from any working folder.
    """
    if str(name_or_folder) in SHIPPED_GENERATORS or not Path(name_or_folder).is_dir():
        return str(name_or_folder)
    return str(Path(name_or_folder).resolve())


def _checkpoint_folder(name_or_folder: str | Path) -> Path:
    folder = SHIPPED_GENERATORS.get(str(name_or_folder), Path(name_or_folder))
    if not folder.is_dir():
        raise CheckpointError(
            f"no generator '{name_or_folder}': give a shipped name "
            f"({', '.join(sorted(SHIPPED_GENERATORS))}) or the folder of a checkpoint"
        )
    return folder


def generator_sha256(name_or_folder: str | Path) -> str:
    """
    Return the SHA-256 that a checkpoint states, without loading it.

    Parameters
    ----------
    name_or_folder
        A key of `SHIPPED_GENERATORS` or the folder of a checkpoint.

    Raises
    ------
    CheckpointError
        If there is no such generator.
    """
    return read_header(_checkpoint_folder(name_or_folder))["sha256"]


def check_conditions(name_or_folder: str | Path, conditions: Conditions | None) -> None:
    """
    Refuse conditions that a generator does not take, without loading it.

    Parameters
    ----------
    name_or_folder
        A key of `SHIPPED_GENERATORS` or the folder of a checkpoint.
    conditions
        What its samples are to meet; None for nothing.

    Raises
    ------
    CheckpointError
        If there is no such generator.
    InputError
        If it does not take such conditions.
    """
    if conditions is not None:
        kind = read_header(_checkpoint_folder(name_or_folder))["kind"]
        generator_class(kind).check_sampling(0, 0, 0, conditions)


def load_generator(name_or_folder: str | Path) -> Generator:
    """
    Load a generator that is shipped, or one that was trained.

    Parameters
    ----------
    name_or_folder
        A key of `SHIPPED_GENERATORS` or the folder of a checkpoint.

    Returns
    -------
    Generator
        Ready to sample.

    Raises
    ------
    CheckpointError
        If there is no such generator, or its checkpoint is damaged or of an unknown kind.
    """
    folder = _checkpoint_folder(name_or_folder)
    kind = read_header(folder)["kind"]
    if kind not in GENERATOR_CLASSES:
        raise CheckpointError(
            f"{folder} holds a generator of unknown kind '{kind}': known are "
            f"{', '.join(sorted(GENERATOR_CLASSES))}"
        )
    return generator_class(kind).load(folder)


def train_generator(
    name: str,
    dataset: str | Path | None,
    folder: Path,
    *,
    seed: int = 0,
    steps: int | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    seconds: float | None = None,
) -> Generator:
    """
    Train a generator and save its checkpoint.

    Parameters
    ----------
    name
        A key of `TRAINABLE_GENERATORS`.
    dataset
        A data set file with splits ``train`` and ``validation``; the shipped crystals if None.
    folder
        Where training states and the checkpoint go; training that was interrupted continues.
    seed
        Seed of initialisation, order and noise.
    steps
        Number of training steps; the generator's default if None.
    settings
        Settings of the generator by name; its defaults for the others.
    progress
        Called with the steps done and the steps in all.
    seconds
        Time for this start, the preparation of the data included. The training pauses after the
        step at which it is used up, and goes on at the next start as if it had not paused.

    Returns
    -------
    Generator
        The trained generator.

    Raises
    ------
    TrainingPaused
        If the time is used up before the last step; the state is written.
    InputError
        If there is no such generator to train, it has no such setting, or the time is not
        positive.
    DatasetError
        If the data set cannot be read or lacks a split.
    OutputFolderError
        If the folder is in use for something else, or for another training.
    """
    from crystens_flows.datasets import Dataset, shipped

    if name not in TRAINABLE_GENERATORS:
        raise InputError(
            f"unknown generator '{name}': can be trained: {', '.join(sorted(TRAINABLE_GENERATORS))}"
        )
    progress = pause_after(seconds, progress)
    refuse_foreign(folder)
    data = SHIPPED_DATA if dataset is None else str(dataset)
    return generator_class(TRAINABLE_GENERATORS[name]).fit(
        shipped() if dataset is None else Dataset.load(Path(dataset)),
        folder,
        data=data,
        seed=seed,
        steps=steps,
        settings=settings,
        progress=progress,
    )


__all__ = [
    "GENERATOR_CLASSES",
    "SHIPPED_GENERATORS",
    "TRAINABLE_GENERATORS",
    "Generator",
    "TrainingPaused",
    "check_conditions",
    "generator_class",
    "generator_sha256",
    "load_generator",
    "resolve_generator",
    "train_generator",
]

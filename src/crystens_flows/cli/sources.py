"""Structures that a user names on the command line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from crystens_flows.cli.output import reasons, say
from crystens_flows.errors import DatasetError, OutputFolderError
from crystens_flows.generators.checkpoints import DATASET_FILES, refuse_foreign, write_atomically

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset, Rejection

DATASET_FILE, SOURCE_FILE = DATASET_FILES


def read_dataset(
    source: str, fractions: dict[str, float] | None = None, seed: int = 0
) -> tuple[Dataset, list[Rejection]]:
    """
    Read a data set file, or make a data set of structures.

    Parameters
    ----------
    source
        A data set file (``.npz``) or what :func:`crystens_flows.datasets.build_dataset` takes.
    fractions
        Shares of the splits of a data set that is made.
    seed
        Seed of the splits.

    Returns
    -------
    tuple
        The data set and what was rejected.

    Raises
    ------
    DatasetError
        If it cannot be read or holds no structure.
    """
    from crystens_flows.datasets import Dataset, build_dataset

    if source.endswith(".npz"):
        return Dataset.load(Path(source)), []
    return build_dataset(source, fractions, seed=seed)


def dataset_file(source: str, folder: Path, seed: int) -> Path:
    """
    Make the data set file to train on, or take it as it is.

    Structures are divided into 95 % for training and 5 % for validation, by material. A file that
    an earlier start with the same folder made is used again.

    Parameters
    ----------
    source
        A data set file (``.npz``) or structures.
    folder
        Where the file is made.
    seed
        Seed of the splits.

    Returns
    -------
    pathlib.Path
        The data set file.
    """
    if source.endswith(".npz"):
        return Path(source)
    file, described = folder / DATASET_FILE, folder / SOURCE_FILE
    made_from = {"source": str(Path(source).resolve()), "seed": seed}
    if file.is_file():
        if not described.is_file() or json.loads(described.read_text()) != made_from:
            raise OutputFolderError(
                f"{file} was made from other data or with another seed: give another folder"
            )
        say(f"using {file} of an earlier start")
        return file
    refuse_foreign(folder)
    dataset, rejected = read_dataset(source, {"train": 0.95, "validation": 0.05}, seed)
    if any(len(rows) == 0 for rows in dataset.split.values()):
        raise DatasetError(
            f"{source} has {len(dataset)} usable structures, too few to train on: give more"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(described, (json.dumps(made_from) + "\n").encode())
    dataset.save(file)
    say(f"read {len(dataset)} structures, rejected {len(rejected)}: {file}")
    for line in reasons(Counter(r.kind for r in rejected)):
        say(line)
    return file

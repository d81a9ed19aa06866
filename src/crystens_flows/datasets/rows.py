"""A user's own structures, one row for each input, nothing skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from crystens_flows.datasets.dataset import Dataset
from crystens_flows.datasets.parse import Entry, known_numbers, parse_structure
from crystens_flows.datasets.records import PROPERTIES, Rejection
from crystens_flows.datasets.sources import kind_of, open_uncounted

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True)
class StructureRow:
    """
    One structure of a user, or the reason why it cannot be read.

    Parameters
    ----------
    index
        Its place among all rows of all sources, from 0.
    entry
        Where it stands: the file, or the file and the row, line or frame.
    material_id
        Its id: what the source calls it, else the file's name or the number of the row.
    structure
        The structure in its own cell, of any number of sites, of elements without oxidation
        states or site properties, fractional coordinates in [0, 1). None where there is none.
    reason
        Why there is none, as "kind: particulars"; None where there is one.
    properties
        The values of a data set's properties that the source gives, in eV/atom, the band gap in
        eV; what is not known is not there.
    """

    index: int
    entry: str
    material_id: str
    structure: Structure | None
    reason: str | None
    properties: dict[str, float]


def read_rows(sources: Sequence[str | Path]) -> Iterator[StructureRow]:
    """
    Read structures one after the other, whatever they are.

    Parameters
    ----------
    sources
        Files and folders: what :data:`crystens_flows.datasets.sources.FORMATS` lists, and data
        set files.

    Returns
    -------
    iterator
        One row for each entry of the sources, in their order. A row is read when it is asked
        for, so the first of a large file are there at once.

    Raises
    ------
    DatasetError
        If a source does not exist or is of an unknown kind, at once; the iterator raises it where
        a file turns out to be damaged, so that it is not known which rows follow.
    MissingExtraError
        If ase is not installed and a source needs it.
    """
    opened = [_open(Path(source))[0] for source in sources]
    entries = enumerate(chain.from_iterable(opened))
    return (_row(index, entry) for index, entry in entries)


def count_rows(sources: Sequence[str | Path]) -> int | None:
    """
    Count the rows of sources without parsing structures.

    Parameters
    ----------
    sources
        As for :func:`read_rows`.

    Returns
    -------
    int or None
        How many rows :func:`read_rows` gives, None where only reading would tell: JSON, JSONL and
        XYZ. A CSV is gone through, which takes under a hundredth of the time that its CIFs take.

    Raises
    ------
    DatasetError
        If a source does not exist, is of an unknown kind, or is damaged.
    """
    counters = [_open(Path(source))[1] for source in sources]
    total = 0
    for counter in counters:
        count = counter()
        if count is None:
            return None
        total += count
    return total


def _open(path: Path) -> tuple[Iterator[Entry], Callable[[], int | None]]:
    if path.is_file() and kind_of(path) == ".npz":
        return _dataset_entries(path), lambda: len(Dataset.load(path))
    return open_uncounted(path)


def _dataset_entries(path: Path) -> Iterator[Entry]:
    dataset = Dataset.load(path)
    for row, material_id in enumerate(dataset.material_ids):
        properties = {name: float(getattr(dataset, name)[row]) for name in PROPERTIES}
        yield Entry(f"{path} row {row + 1}", material_id, "dataset", (dataset, row), properties)


def _row(index: int, entry: Entry) -> StructureRow:
    parsed = parse_structure(entry)
    structure, reason = (None, parsed.reason) if isinstance(parsed, Rejection) else (parsed, None)
    return StructureRow(
        index, entry.where, entry.material_id, structure, reason, known_numbers(entry.properties)
    )

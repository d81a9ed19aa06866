"""From a source to a data set, in parallel."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from crystens_flows.datasets.dataset import Dataset
from crystens_flows.datasets.materials_project import MaterialsProject
from crystens_flows.datasets.parse import Entry, parse_entry
from crystens_flows.datasets.records import MAX_SITES, Record, Rejection
from crystens_flows.datasets.sources import open_source
from crystens_flows.errors import DatasetError, InputError

_CHUNK = 32
"""How many entries travel to a worker at once; a source of fewer is read without workers."""


def read_structures(
    source: str | Path | MaterialsProject,
    workers: int | None = None,
    progress: bool = True,
) -> tuple[list[Record], list[Rejection]]:
    """
    Read structures, in parallel, and list what was rejected.

    Parameters
    ----------
    source
        A folder of CIFs (searched recursively), a CIF, a CSV with a column ``cif``, JSON or JSONL
        of pymatgen dicts (each also gzipped), an ASE database, or a query of the Materials
        Project.
    workers
        The number of processes; by default one for each processor, eight at most.
    progress
        Whether to show a progress bar on standard error, where that is a terminal.

    Returns
    -------
    tuple
        The records and the rejected entries, each in the order of the source; together they are
        all of its entries.

    Raises
    ------
    DatasetError
        If the source is missing, of unknown kind, or damaged.
    InputError
        If ``workers`` is not positive.
    """
    from tqdm import tqdm

    if workers is None:
        workers = min(8, len(os.sched_getaffinity(0)))
    if workers < 1:
        raise InputError(f"workers={workers}: give 1 or more")
    entries, total = (
        source.open() if isinstance(source, MaterialsProject) else open_source(Path(source))
    )
    records: list[Record] = []
    rejections: list[Rejection] = []
    outcomes = tqdm(
        _parse_all(entries, workers),
        desc="reading structures",
        total=total,
        unit=" entries",
        disable=None if progress else True,
    )
    for outcome in outcomes:
        if isinstance(outcome, Record):
            records.append(outcome)
        else:
            rejections.append(outcome)
    return records, rejections


def build_dataset(
    source: str | Path | MaterialsProject,
    fractions: Mapping[str, float] | None = None,
    by: Literal["material", "material_id", "formula"] = "material",
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> tuple[Dataset, list[Rejection]]:
    """
    Read structures and make a data set of them.

    Parameters
    ----------
    source, workers, progress
        As for :func:`read_structures`.
    fractions, by, seed
        The splits, as for :meth:`Dataset.with_split`; none by default.

    Returns
    -------
    tuple
        The data set and the rejected entries.

    Raises
    ------
    DatasetError
        If the source is missing, of unknown kind or damaged, or no entry was accepted.

    Examples
    --------
    >>> dataset, rejected = build_dataset("my_cifs/")  # doctest: +SKIP
    >>> dataset.save("my_crystals.npz")  # doctest: +SKIP
    """
    records, rejections = read_structures(source, workers=workers, progress=progress)
    if not records:
        raise DatasetError(f"{_name(source)} gives an empty data set: {_why_empty(rejections)}")
    dataset = Dataset.from_records(records)
    if fractions is not None:
        dataset = dataset.with_split(fractions, by=by, seed=seed)
    return dataset, rejections


def _parse_all(entries: Iterator[Entry], workers: int) -> Iterator[Record | Rejection]:
    """Parse entries in order, never holding more than a few chunks of them."""
    first = list(islice(entries, _CHUNK))
    if workers == 1 or len(first) < _CHUNK:
        yield from map(parse_entry, first)
        yield from map(parse_entry, entries)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("fork"))
    pending: deque[Future[list[Record | Rejection]]] = deque()
    try:
        chunk = first
        while chunk or pending:
            if chunk:
                pending.append(pool.submit(_parse_chunk, chunk))
                chunk = list(islice(entries, _CHUNK))
            if not chunk or len(pending) > 4 * workers:
                yield from pending.popleft().result()
    except BrokenProcessPool as exc:
        raise DatasetError(
            "a process that read structures was killed, perhaps for lack of memory: give fewer "
            "workers"
        ) from exc
    finally:
        pool.shutdown(cancel_futures=True)


def _parse_chunk(chunk: Iterable[Entry]) -> list[Record | Rejection]:
    return [parse_entry(entry) for entry in chunk]


def _name(source: str | Path | MaterialsProject) -> str:
    if isinstance(source, MaterialsProject):
        return "the query of the Materials Project"
    return str(source)


def _why_empty(rejections: list[Rejection]) -> str:
    if not rejections:
        return "it holds no entry"
    kinds = Counter(rejection.kind for rejection in rejections)
    counts = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common(5))
    first = rejections[0]
    return (
        f"all {len(rejections)} entries were rejected: {counts}; the first is {first.entry}: "
        f"{first.reason}; give ordered structures of 1 to {MAX_SITES} sites"
    )

"""
Make the file of crystals that ships with the package from public CSV files.

Run as ``python -m crystens_flows.datasets.make_shipped CSV [CSV ...] -o mp.npz`` with the
validation and test sets of MP-20 (binary and ternary compounds) before the validation set of
MPTS-52: where a material id stands in several, the first wins.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crystens_flows.datasets.build import read_structures
from crystens_flows.datasets.dataset import Dataset
from crystens_flows.datasets.records import Record, Rejection
from crystens_flows.datasets.splits import standard_split


def make_shipped(
    sources: Sequence[str | Path], workers: int | None = None, progress: bool = True
) -> tuple[Dataset, list[Rejection]]:
    """
    Join sources, drop materials that were there before, and split them.

    Parameters
    ----------
    sources
        The files, the one that wins first.
    workers, progress
        As for :func:`~crystens_flows.datasets.read_structures`.

    Returns
    -------
    tuple
        The data set with the standard splits of seed 0, and the rejected entries.
    """
    first: dict[str, Record] = {}
    rejected: list[Rejection] = []
    for source in sources:
        records, rejections = read_structures(source, workers=workers, progress=progress)
        rejected += rejections
        for record in records:
            first.setdefault(record.material_id, record)
    dataset = Dataset.from_records(list(first.values()))
    return replace(dataset, split=standard_split(dataset)), rejected


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("sources", nargs="+", help="CSV files with a 'cif' column")
    parser.add_argument("-o", "--output", required=True, help="the file to write")
    parser.add_argument("--workers", type=int, help="the number of processes")
    options = parser.parse_args()
    dataset, rejected = make_shipped(options.sources, workers=options.workers)
    for rejection in rejected:
        print(f"rejected {rejection.entry} ({rejection.material_id}): {rejection.reason}")  # noqa: T201
    path = dataset.save(options.output)
    print(f"{path}: {len(dataset)} structures, {len(rejected)} rejected, {path.stat().st_size} B")  # noqa: T201


if __name__ == "__main__":
    main()

"""Where the entries of a reference come from."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element

from crystens_flows.errors import DatasetError, InputError
from crystens_flows.screening.hull.compositions import (
    chemical_system,
    read_composition,
    read_energy,
)
from crystens_flows.screening.hull.reference import HullReference

if TYPE_CHECKING:
    from pymatgen.entries.computed_entries import ComputedEntry

    from crystens_flows.datasets import Dataset

SHIPPED_NAME = "Materials Project, release of 2024, entries on or near the hull"

INCOMPLETE = frozenset({"Yb"})
"""Elements of which that release has no compounds; those of the crystals that ship are some."""

MAX_ELEMENT = 103
"""All elements up to lawrencium stand at zero in the reference that ships."""

Row = tuple[str, str | None, Composition | str, float | str | None]

_COLUMNS = ("formula", "formation_energy_per_atom")


@lru_cache(maxsize=1)
def shipped() -> HullReference:
    """Load the reference that ships; see :meth:`HullReference.shipped`."""
    from crystens_flows.datasets import shipped as shipped_crystals

    data = files("crystens_flows.screening.hull") / "data" / "materials_project_2024.csv.gz"
    with as_file(data) as path:
        rows = list(_csv_rows(path))
    elements = {z for row in rows for z in read_composition(row[2])[0]}
    dataset = shipped_crystals()
    absent = ~np.isin(dataset.numbers, [0, *elements]).all(axis=1)
    absent &= np.isfinite(dataset.formation_energy_per_atom)
    rows += _dataset_rows(dataset, np.flatnonzero(absent))
    elements |= {int(z) for z in np.unique(dataset.numbers[absent]) if z}
    # an element that stands in no entry is competed with by nothing but itself
    others = sorted(set(range(1, MAX_ELEMENT + 1)) - elements)
    symbols = [Element.from_Z(z).symbol for z in others]
    rows += [(f"element {symbol}", None, symbol, 0.0) for symbol in symbols]
    return HullReference.from_rows(SHIPPED_NAME, rows)


def from_csv(path: Path) -> HullReference:
    """Read a CSV file; see :meth:`HullReference.from_csv`."""
    return HullReference.from_rows(str(path), _csv_rows(path))


def _csv_rows(path: Path) -> Iterable[Row]:
    import pandas as pd

    wanted = "give a CSV with the columns 'formula', 'formation_energy_per_atom' (eV/atom) and, " \
             "if there are ids, 'material_id'"  # fmt: skip
    if not path.is_file():
        raise DatasetError(f"{path} is no file: {wanted}")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except pd.errors.EmptyDataError as exc:
        raise DatasetError(f"{path} is empty: {wanted}") from exc
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as exc:
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise DatasetError(f"{path} cannot be read ({reason}): {wanted}") from exc
    for column in _COLUMNS:
        if column not in frame.columns:
            there = ", ".join(map(str, frame.columns))
            raise DatasetError(f"{path} has no column {column!r} (its columns: {there}): {wanted}")
    if frame.empty:
        raise DatasetError(f"{path} has no rows: {wanted}")
    n = len(frame)
    ids = frame["material_id"].tolist() if "material_id" in frame.columns else [None] * n
    rows = zip(ids, *(frame[column].tolist() for column in _COLUMNS), strict=True)
    return [(f"{path} row {i}", *row) for i, row in enumerate(rows, 1)]


def from_entries(entries: Sequence[ComputedEntry]) -> HullReference:
    """Take entries with total energies; see :meth:`HullReference.from_entries`."""
    parts = []
    lowest: dict[int, float] = {}
    for i, entry in enumerate(entries):
        where = f"entry {i}" + (f" ({entry.entry_id})" if getattr(entry, "entry_id", None) else "")
        numbers, fractions, reason = read_composition(entry.composition)
        energy, energy_reason = (None, None) if reason else read_energy(entry.energy_per_atom)
        if energy is None:
            raise InputError(f"{where}: {reason or energy_reason}")
        if len(numbers) == 1:
            lowest[numbers[0]] = min(energy, lowest.get(numbers[0], np.inf))
        parts.append((where, entry, numbers, fractions, energy))
    missing = {z for *_, numbers, _, _ in parts for z in numbers} - set(lowest)
    if missing:
        raise InputError(
            f"no entry for the elements {chemical_system(tuple(missing))}: formation energies are "
            "counted from them; add an entry for each"
        )

    def rows() -> Iterable[tuple[str, str | None, Composition, float]]:
        for where, entry, numbers, fractions, energy in parts:
            elements = sum(x * lowest[z] for z, x in zip(numbers, fractions, strict=True))
            entry_id = getattr(entry, "entry_id", None)
            yield (
                where,
                None if entry_id is None else str(entry_id),
                entry.composition,
                0.0 if energy == elements else energy - elements,
            )

    return HullReference.from_rows("pymatgen entries", rows())


def from_dataset(dataset: Dataset) -> HullReference:
    """Take the energies of a data set; see :meth:`HullReference.from_dataset`."""
    energies = dataset.formation_energy_per_atom.astype(float)
    known = np.flatnonzero(np.isfinite(energies))
    if len(known) == 0:
        raise DatasetError("the data set has no formation energies: give one that has")
    return HullReference.from_rows("data set", _dataset_rows(dataset, known))


def _dataset_rows(dataset: Dataset, rows: NDArray[np.int64]) -> list[Row]:
    energies = dataset.formation_energy_per_atom.astype(float)
    return [
        (f"row {i} ({dataset.material_ids[i]})", dataset.material_ids[i], formula, energies[i])
        for i, formula in zip(rows, dataset.subset(rows).reduced_formulas, strict=True)
    ]

"""The file of a data set: a compressed numpy archive without padding and without pickle."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystens_flows.datasets.dataset import Dataset
from crystens_flows.datasets.records import MAX_SITES, PROPERTIES
from crystens_flows.datasets.sources import DATASET_FILES, FORMATS
from crystens_flows.errors import DatasetError

FORMAT = "crystens_flows data set 1"
"""What the entry ``format`` of the file says."""

_REMEDY = f"give {DATASET_FILES}; or structures: {FORMATS}"


def save(dataset: Dataset, path: Path) -> Path:
    """
    Write a data set; see :meth:`Dataset.save`.

    Fractional coordinates and lattice parameters are stored by byte planes, which halves what
    the compression leaves of them.
    """
    occupied = _occupied(dataset.n_sites)
    arrays: dict[str, NDArray] = {
        "format": _text([FORMAT]),
        "material_ids": _text(dataset.material_ids),
        "n_sites": dataset.n_sites,
        "numbers": dataset.numbers[occupied],
        "frac_coords": _byte_planes(dataset.frac_coords[occupied]),
        "lattice": _byte_planes(dataset.lattice),
        "space_groups": dataset.space_groups,
        "split_names": _text(list(dataset.split)),
        **{name: getattr(dataset, name) for name in PROPERTIES},
        **{f"split_{i}": rows for i, rows in enumerate(dataset.split.values())},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with (
            os.fdopen(handle, "wb") as stream,
            zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        ):
            for name, array in arrays.items():
                # a fixed date: the same data set makes the same bytes
                entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(entry, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def load(path: Path) -> Dataset:
    """Read a data set; see :meth:`Dataset.load`."""
    if not path.is_file():
        raise DatasetError(f"{path} is no file: {_REMEDY}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "format" not in archive or _lines(archive["format"]) != [FORMAT]:
                raise DatasetError(f"{path} is no data set of this package: {_REMEDY}")
            arrays = {name: archive[name] for name in archive.files}
        return _restore(arrays)
    except DatasetError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise DatasetError(f"{path} is no data set, or is damaged ({exc}): {_REMEDY}") from exc
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as exc:
        raise DatasetError(f"{path} is truncated or damaged ({exc}): {_REMEDY}") from exc


def _restore(arrays: dict[str, NDArray]) -> Dataset:
    n_sites = arrays["n_sites"]
    n = len(n_sites)
    if n == 0 or n_sites.min() < 1 or n_sites.max() > MAX_SITES:
        raise ValueError("numbers of sites out of range")
    occupied = _occupied(n_sites)
    numbers = np.zeros((n, MAX_SITES), dtype=np.uint8)
    numbers[occupied] = arrays["numbers"]
    frac_coords = np.zeros((n, MAX_SITES, 3), dtype=np.float32)
    frac_coords[occupied] = _from_byte_planes(arrays["frac_coords"], 3)
    fields: dict[str, Any] = {
        "material_ids": _lines(arrays["material_ids"]),
        "lattice": _from_byte_planes(arrays["lattice"], 6),
        "space_groups": arrays["space_groups"].astype(np.int16),
        **{name: arrays[name].astype(np.float32) for name in PROPERTIES},
    }
    for name, values in fields.items():
        if len(values) != n:
            raise ValueError(f"{name} has {len(values)} rows, not {n}")
    split = {
        name: arrays[f"split_{i}"].astype(np.int64)
        for i, name in enumerate(_lines(arrays["split_names"]))
    }
    if any(len(rows) and not 0 <= rows.min() <= rows.max() < n for rows in split.values()):
        raise ValueError("a split names a row that is not there")
    return Dataset(numbers=numbers, frac_coords=frac_coords, n_sites=n_sites, split=split, **fields)


def _occupied(n_sites: NDArray) -> NDArray[np.bool_]:
    """Mark the sites that hold an atom, shape ``(n, 52)``."""
    return np.arange(MAX_SITES) < n_sites[:, None]


def _byte_planes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Take float32 numbers apart: the first bytes of all, then the second bytes, ..."""
    raw = np.ascontiguousarray(values, dtype="<f4").view(np.uint8)
    return np.ascontiguousarray(raw.reshape(-1, 4).T)


def _from_byte_planes(planes: NDArray[np.uint8], width: int) -> NDArray[np.float32]:
    raw = np.ascontiguousarray(planes.T).view("<f4")
    return raw.reshape(-1, width).astype(np.float32)


def _text(lines: list[str]) -> NDArray[np.uint8]:
    """Encode lines of text as bytes."""
    if any("\n" in line for line in lines):
        raise DatasetError("a material id or the name of a split holds a line break: remove it")
    return np.frombuffer("".join(f"{line}\n" for line in lines).encode(), dtype=np.uint8)


def _lines(encoded: NDArray[np.uint8]) -> list[str]:
    return encoded.tobytes().decode().split("\n")[:-1]

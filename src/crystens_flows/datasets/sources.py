"""The entries of a source, one at a time: CIFs, POSCARs, CSV, JSON, XYZ and ASE databases."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Literal

from crystens_flows.datasets.ase_atoms import read_frame, structure_of, xyz_frames
from crystens_flows.datasets.parse import ID_NAMES, PROPERTY_NAMES, Entry
from crystens_flows.datasets.records import RejectedError
from crystens_flows.errors import DatasetError, import_extra

FORMATS = (
    "a folder of CIFs, *.cif, *.csv with a 'cif' column or a 'structure' column of pymatgen JSON, "
    "*.json or *.jsonl of pymatgen dicts, *.xyz or *.extxyz with lattices, POSCAR, CONTCAR or "
    "*.vasp (each also as *.gz), or an ASE database *.db"
)
"""The sources that :func:`open_source` knows, for messages."""

DATASET_FILES = "a data set file *.npz, made by `crystens train` or Dataset.save"
"""What is no source but a data set already, for messages."""

_ENDINGS = (
    *(".cif", ".csv", ".json", ".jsonl", ".ndjson", ".xyz", ".extxyz", ".vasp", ".poscar"),
    *(".db", ".npz"),
)
_DAMAGED = (OSError, EOFError, zlib.error, UnicodeDecodeError)


def open_source(path: Path) -> tuple[Iterator[Entry], int | None]:
    """
    Open a file or folder of structures and count them.

    Parameters
    ----------
    path
        What :data:`FORMATS` lists.

    Returns
    -------
    tuple
        The entries, read as they are asked for, and how many there are, where that is known.

    Raises
    ------
    DatasetError
        If there is no such file or folder, or it is of another kind; the iterator raises it
        where the file turns out to be damaged.
    """
    entries, count = open_uncounted(path)
    return entries, count()


def open_uncounted(path: Path) -> tuple[Iterator[Entry], Callable[[], int | None]]:
    """
    Open a file or folder of structures; as :func:`open_source`, but count them only when asked.

    Parameters
    ----------
    path
        What :data:`FORMATS` lists.

    Returns
    -------
    tuple
        The entries, and a function that tells how many there are, or None where only reading
        them all would tell. For a CSV it goes through the file.

    Raises
    ------
    DatasetError
        As :func:`open_source`.
    """
    if path.is_dir():
        paths = _cifs_below(path)
        return _folder_entries(path, paths), lambda: len(paths)
    if not path.is_file():
        raise DatasetError(f"{path} does not exist: give {FORMATS}; or {DATASET_FILES}")
    match kind_of(path):
        case ".cif":
            return _file_entry(path, "cif_file"), lambda: 1
        case ".vasp" | ".poscar":
            return _file_entry(path, "poscar_file"), lambda: 1
        case ".csv":
            return _csv_entries(path), lambda: _count_csv(path)
        case ".json":
            return _json_entries(path), lambda: None
        case ".jsonl" | ".ndjson":
            return _jsonl_entries(path), lambda: None
        case ".xyz" | ".extxyz":
            import_extra("ase.io", "ase", "reading extended XYZ")
            return _xyz_entries(path), lambda: None
        case ".db":
            return _open_ase(path)
        case ".npz":
            raise DatasetError(
                f"{path} is a data set file, not structures: read it with Dataset.load, or give "
                f"{FORMATS}"
            )
        case suffix:
            raise DatasetError(
                f"{path} is of unknown kind {suffix!r}: give {FORMATS}; or {DATASET_FILES}"
            )


def kind_of(path: Path) -> str:
    """Find the ending that tells the kind of a file, e.g. ``".csv"`` for ``a.CSV.gz``."""
    name = path.name.lower().removesuffix(".gz")
    suffix = Path(name).suffix
    if name.startswith(("poscar", "contcar")) and suffix not in _ENDINGS:
        return ".vasp"
    return suffix


def _cifs_below(folder: Path) -> list[Path]:
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.name.lower().endswith((".cif", ".cif.gz")) and path.is_file()
    )
    if not paths:
        raise DatasetError(f"{folder} holds no *.cif or *.cif.gz: give {FORMATS}")
    return paths


def _folder_entries(folder: Path, paths: list[Path]) -> Iterator[Entry]:
    for path in paths:
        name = _stem(path.relative_to(folder).as_posix())
        yield Entry(str(path), name, "cif_file", str(path))


def _file_entry(path: Path, kind: Literal["cif_file", "poscar_file"]) -> Iterator[Entry]:
    yield Entry(str(path), _stem(path.name), kind, str(path))


_CSV_COLUMNS: dict[str, Literal["cif", "json"]] = {"cif": "cif", "structure": "json"}
"""The columns that may hold the structures, the one that is taken first, and in which form."""


def _csv_entries(path: Path) -> Iterator[Entry]:
    row = 0
    for frame in _csv_frames(path):
        column = next((name for name in _CSV_COLUMNS if name in frame.columns), None)
        if column is None:
            raise DatasetError(
                f"{path} has no column 'cif' (its columns: {', '.join(frame.columns)}): name the "
                "one with the CIF texts so, or one of pymatgen structures as JSON 'structure'"
            )
        for fields in frame.to_dict("records"):
            row += 1
            values = {str(key): value for key, value in fields.items()}
            text, where = values.pop(column), f"{path} row {row}"
            yield Entry(where, _id(values, f"row-{row}"), _CSV_COLUMNS[column], text, _only(values))


def _count_csv(path: Path) -> int:
    return sum(len(frame) for frame in _csv_frames(path, usecols=[0]))


def _csv_frames(path: Path, **options: Any) -> Iterator[Any]:
    import pandas as pd

    try:
        yield from pd.read_csv(
            path, dtype=str, keep_default_na=False, chunksize=500, encoding="utf-8", **options
        )
    except pd.errors.EmptyDataError as exc:
        raise DatasetError(f"{path} is empty: give a CSV with a 'cif' column") from exc
    except (*_DAMAGED, pd.errors.ParserError, ValueError) as exc:
        raise _damaged(path, exc) from exc


def _jsonl_entries(path: Path) -> Iterator[Entry]:
    with _open_text(path) as stream:
        try:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    where = f"{path} line {number}"
                    try:
                        item = json.loads(line)
                    except (ValueError, RecursionError) as exc:
                        yield Entry(where, f"row-{number}", "bad", f"unreadable: {exc}")
                    else:
                        yield _json_entry(item, where, f"row-{number}")
        except _DAMAGED as exc:
            raise _damaged(path, exc) from exc


def _json_entries(path: Path) -> Iterator[Entry]:
    with _open_text(path) as stream:
        try:
            first = stream.read(1)
            while first.isspace() or first == "\ufeff":
                first = stream.read(1)
            if first == "[":
                for number, item in enumerate(_array_items(stream), 1):
                    yield _json_entry(item, f"{path} item {number}", f"row-{number}")
                return
            content = json.loads(first + stream.read())
        except (*_DAMAGED, ValueError, RecursionError) as exc:
            raise _damaged(path, exc) from exc
    if not isinstance(content, dict):
        raise DatasetError(
            f"{path} holds neither a list nor a dict of pymatgen structures: give {FORMATS}"
        )
    if "sites" in content or "structure" in content:
        yield _json_entry(content, str(path), _stem(path.name))
    else:
        for key, item in content.items():
            yield _json_entry(item, f"{path} key {key}", key)


def _array_items(stream: IO[str], size: int = 1 << 16) -> Iterator[Any]:
    """Decode the items of a JSON array, after its bracket, without holding all of it."""
    decoder = json.JSONDecoder()
    buffer, separator = "", ""
    while True:
        buffer = buffer.lstrip()
        if separator and buffer[:1] == separator:
            buffer, separator = buffer[1:].lstrip(), ""
            if buffer[:1] == "]":
                raise ValueError("a comma before the end of the list")
        if buffer[:1] == "]" and not buffer[1:].strip() and not stream.read(1).strip():
            return
        try:
            if separator and buffer:
                raise ValueError(f"expected ',' or ']' and found {buffer[:1]!r}")
            item, end = decoder.raw_decode(buffer)
        except ValueError:
            more = stream.read(max(size, len(buffer)))
            if not more:
                raise
            buffer += more
            continue
        yield item
        buffer, separator = buffer[end:], ","


def _json_entry(item: Any, where: str, otherwise: str) -> Entry:
    """Take a pymatgen dict, or a dict with one under ``structure`` beside its properties."""
    if not isinstance(item, dict):
        return Entry(where, otherwise, "bad", "unreadable: no pymatgen dict")
    structure = item.get("structure", item)
    if not isinstance(structure, dict):
        return Entry(where, _id(item, otherwise), "bad", "unreadable: 'structure' is no dict")
    return Entry(where, _id(item, otherwise), "dict", structure, _only(item))


def _xyz_entries(path: Path) -> Iterator[Entry]:
    with _open_text(path) as stream:
        try:
            frames = enumerate(xyz_frames(stream), 1)
            first = list(islice(frames, 2))
            for number, (line, frame) in chain(first, frames):
                # a file of one frame is named as other files of one structure
                otherwise = f"row-{number}" if len(first) > 1 else _stem(path.name)
                yield _xyz_entry(frame, f"{path} frame {number} (line {line})", otherwise)
        except (*_DAMAGED, ValueError) as exc:
            raise _damaged(path, exc) from exc


def _xyz_entry(frame: str, where: str, otherwise: str) -> Entry:
    try:
        atoms = read_frame(frame)
    except RejectedError as exc:
        return Entry(where, otherwise, "bad", str(exc))
    return _atoms_entry(atoms, atoms.info, where, otherwise)


def _open_ase(path: Path) -> tuple[Iterator[Entry], Callable[[], int]]:
    ase_db = import_extra("ase.db", "ase", "reading an ASE database")
    import sqlite3

    try:
        # ase would add its tables to any other database
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as plain:
            tables = {name for (name,) in plain.execute("select name from sqlite_master")}
        if "systems" not in tables:
            raise DatasetError(f"{path} is no ASE database: give {FORMATS}")
        database = ase_db.connect(str(path), type="db")
        database.count()
    except (sqlite3.Error, OSError) as exc:
        raise _damaged(path, exc) from exc

    def entries() -> Iterator[Entry]:
        try:
            for row in database.select():
                values = dict(row.key_value_pairs)
                yield _atoms_entry(row, values, f"{path} id {row.id}", f"row-{row.id}")
        except (sqlite3.Error, OSError) as exc:
            raise _damaged(path, exc) from exc

    return entries(), database.count


def _atoms_entry(atoms: Any, values: Mapping[str, Any], where: str, otherwise: str) -> Entry:
    """Take ASE's Atoms, or a row of its database, with what stands beside them."""
    material_id = _id(values, otherwise)
    try:
        structure = structure_of(atoms)
    except RejectedError as exc:
        return Entry(where, material_id, "bad", str(exc))
    return Entry(where, material_id, "structure", structure, _only(values))


def _open_text(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _damaged(path: Path, exc: Exception) -> DatasetError:
    reason = " ".join(str(exc).split()) or type(exc).__name__
    return DatasetError(f"{path} cannot be read ({reason}): copy or make the file again")


def _only(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what no property is named."""
    return {name: values[name] for names in PROPERTY_NAMES.values() for name in names
            if name in values}  # fmt: skip


def _id(values: Mapping[str, Any], otherwise: str) -> str:
    """Find the id, on one line."""
    for name in ID_NAMES:
        value = values.get(name)
        if value is not None and str(value).strip():
            return " ".join(str(value).split())
    return " ".join(otherwise.split())


def _stem(name: str) -> str:
    """Leave out the ending of a file of one structure."""
    stem = name[: -len(".gz")] if name.lower().endswith(".gz") else name
    suffix = Path(stem).suffix
    return stem[: -len(suffix)] if suffix.lower() in _ENDINGS else stem

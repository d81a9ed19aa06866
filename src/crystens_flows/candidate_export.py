"""Candidates as files: structures, and tables."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from crystens_flows.errors import InputError, OutputFolderError
from crystens_flows.export_format import ExportFormat
from crystens_flows.msonable import structure_from_dict
from crystens_flows.schemas import CandidateDocument

if TYPE_CHECKING:
    from pymatgen.core import Structure

RECORD_FIELDS = (
    "candidate_id",
    "campaign",
    "index",
    "status",
    "rejected_by",
    "reason",
    "formula",
    "chemsys",
    "n_sites",
    "space_group",
    "formation_energy_per_atom",
    "energy_above_hull",
    "energy_per_atom",
    "energy_above_hull_dft",
    "smact_valid",
    "known_as",
)
"""The fields of one row of a table of candidates."""

EXPORT_FIELDS = (*RECORD_FIELDS, "structure", "relaxed_structure", "relaxation.energy")
"""What is read of a candidate to export it."""

_IN_FRAMES = (
    *("candidate_id", "status", "formation_energy_per_atom", "energy_above_hull"),
    "energy_above_hull_dft",
)
_FILE_NAME = re.compile(r"\w[\w.-]{0,99}")

Candidate = CandidateDocument | dict[str, Any]


def nested_value(doc: dict[str, Any], path: str) -> Any:
    """
    Return a value of a document by its dotted path.

    Parameters
    ----------
    doc
        The document.
    path
        For example ``"selection.rank"``.

    Returns
    -------
    Any
        The value; None where there is none.
    """
    value: Any = doc
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def export(
    candidates: Iterable[Candidate],
    folder: str | Path,
    format: ExportFormat | str,  # noqa: A002
) -> tuple[list[Path], list[str]]:
    """
    Write candidates to files, with the relaxed structure where there is one, else that decoded.

    The candidates are written as they come, one at a time.

    Parameters
    ----------
    candidates
        The candidates, validated or as stored; of those as stored :data:`EXPORT_FIELDS` are enough.
    folder
        Where to write; made where it does not exist and there is something to write.
    format
        An :class:`~crystens_flows.export_format.ExportFormat` or its name. ``"cif"``, ``"poscar"``
        and ``"json"`` (pymatgen's) make a file for each structure, ``<candidate_id>.cif`` and so
        on; ``"extxyz"`` makes ``candidates.extxyz`` with all structures, without loss of
        precision, and the total energy of those relaxed; ``"csv"`` makes ``candidates.csv``, a row
        for each candidate with the :data:`RECORD_FIELDS`.

    Returns
    -------
    tuple
        The files written, and the candidate_id of those that have no structure and are left out.

    Raises
    ------
    InputError
        If the format is not one of these, or an identifier is no name of a file.
    OutputFolderError
        If the folder cannot be written to.
    """
    known = [str(each) for each in ExportFormat]
    if format not in known:
        raise InputError(f"format {format!r} is not one of {', '.join(known)}")
    kind, folder = ExportFormat(format), Path(folder)
    try:
        if kind.is_one_file:
            return _one_file(candidates, folder, kind)
        return _a_file_each(candidates, folder, kind)
    except OSError as exc:
        raise OutputFolderError(
            f"cannot write to {folder}: {exc.strerror}: give another folder"
        ) from exc


def _a_file_each(
    candidates: Iterable[Candidate], folder: Path, kind: ExportFormat
) -> tuple[list[Path], list[str]]:
    written, without = [], []
    for candidate in candidates:
        identifier, structure = str(_value(candidate, "candidate_id")), final_structure(candidate)
        if structure is None:
            without.append(identifier)
            continue
        if not _FILE_NAME.fullmatch(identifier):
            raise InputError(
                f"candidate {identifier!r} cannot be the name of a file: export to one file, "
                "extxyz or csv"
            )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{identifier}{kind.suffix}"
        with _new_file(path) as stream:
            stream.write(structure.to(fmt=kind.value))  # type: ignore[arg-type]
        written.append(path)
    return written, without


def _one_file(
    candidates: Iterable[Candidate], folder: Path, kind: ExportFormat
) -> tuple[list[Path], list[str]]:
    path = folder / f"candidates{kind.suffix}"
    without: list[str] = []
    with ExitStack() as stack:
        stream: TextIO | None = None
        for candidate in candidates:
            if kind is ExportFormat.CSV:
                text = _csv_row(_value(candidate, name) for name in RECORD_FIELDS)
            elif (structure := final_structure(candidate)) is not None:
                text = extxyz_frame(candidate, structure)
            else:
                without.append(str(_value(candidate, "candidate_id")))
                continue
            if stream is None:
                folder.mkdir(parents=True, exist_ok=True)
                stream = stack.enter_context(_new_file(path))
                stream.write(_csv_row(RECORD_FIELDS) if kind is ExportFormat.CSV else "")
            stream.write(text)
    return ([] if stream is None else [path]), without


def _csv_row(values: Iterable[Any]) -> str:
    row = StringIO()
    csv.writer(row, lineterminator="\n").writerow(values)
    return row.getvalue()


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """
    Open a file that takes its place whole; where a link is, the link goes, not what it leads to.

    Nothing is left where an error ends it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(number, "w", newline="") as stream:  # noqa: PTH123 - it is open already
            yield stream
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def final_structure(candidate: Candidate) -> Structure | None:
    """
    Return the relaxed structure where there is one, else the one decoded.

    Parameters
    ----------
    candidate
        The candidate, validated or as stored.
    """
    found = _value(candidate, "relaxed_structure") or _value(candidate, "structure")
    return structure_from_dict(found) if isinstance(found, dict) else found


def extxyz_frame(candidate: Candidate, structure: Structure) -> str:
    """
    Return a frame of an extended XYZ file, as ASE and OVITO read it.

    Numbers are written with all their digits. ``energy`` is the total energy after relaxation, in
    eV, and stands where the structure is the relaxed one.

    Parameters
    ----------
    candidate
        The candidate, validated or as stored.
    structure
        Its structure.

    Returns
    -------
    str
        Lines, with their ends.
    """
    vectors = " ".join(repr(float(x)) for x in structure.lattice.matrix.ravel())
    values = {name: _value(candidate, name) for name in _IN_FRAMES}
    if _value(candidate, "relaxed_structure") is not None:
        values["energy"] = _value(candidate, "relaxation.energy")
    said = " ".join(
        f"{name}={value!r}" if isinstance(value, float) else f"{name}={json.dumps(str(value))}"
        for name, value in values.items()
        if value is not None
    )
    lines = [
        str(len(structure)),
        f'Lattice="{vectors}" Properties=species:S:1:pos:R:3 pbc="T T T" {said}',
    ]
    lines += [
        f"{site.specie.symbol} " + " ".join(repr(float(x)) for x in site.coords)
        for site in structure
    ]
    return "\n".join(lines) + "\n"


def _value(candidate: Candidate, path: str) -> Any:
    if isinstance(candidate, dict):
        return nested_value(candidate, path)
    value: Any = candidate
    for name in path.split("."):
        value = getattr(value, name, None)
    return value

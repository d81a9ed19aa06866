"""Structures of ASE's Atoms, and the frames of extended XYZ files, which ASE reads."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from crystens_flows.datasets.records import RejectedError
from crystens_flows.errors import import_extra

if TYPE_CHECKING:
    from pymatgen.core import Structure


def structure_of(atoms: Any) -> Structure:
    """
    Make a structure of ASE's Atoms, or of a row of one of its databases.

    Parameters
    ----------
    atoms
        What has ``cell``, ``pbc``, ``numbers`` and ``positions``.

    Returns
    -------
    Structure
        The same cell, without anything else that ASE keeps.

    Raises
    ------
    RejectedError
        If it is not periodic, holds an atom that is no element, or has no cell.
    """
    from pymatgen.core import Lattice, Structure

    if not all(atoms.pbc):
        raise RejectedError("not periodic in all three directions")
    if not all(1 <= number <= 118 for number in atoms.numbers):
        raise RejectedError("no element: an atom of number 0")
    try:
        return Structure(
            Lattice(atoms.cell), atoms.numbers.tolist(), atoms.positions, coords_are_cartesian=True
        )
    except ValueError as exc:
        raise RejectedError(f"unreadable: {exc}") from exc


def xyz_frames(stream: IO[str]) -> Iterator[tuple[int, str]]:
    """
    Part an XYZ file into frames, without reading what they hold.

    Parameters
    ----------
    stream
        The open file.

    Yields
    ------
    tuple
        The line a frame starts at, and its text. The last may have fewer lines than it says.

    Raises
    ------
    ValueError
        If there is no number of atoms where a frame should start: nothing after it can be found.
    """
    lines = enumerate(stream, 1)
    start, frame = 0, ""
    for number, line in lines:
        if not line.strip():
            continue
        if frame and line.lstrip().startswith("VEC"):
            frame += line  # ASE's other way to give the cell
            continue
        if frame:
            yield start, frame
        if not line.strip().isdecimal():
            raise ValueError(f"no number of atoms in line {number}")
        start = number
        frame = line + "".join(text for _, text in islice(lines, int(line) + 1))
    if frame:
        yield start, frame


def read_frame(frame: str) -> Any:
    """
    Read one frame of an extended XYZ file.

    Parameters
    ----------
    frame
        The text: the number of atoms, the line with the lattice, and a line for each atom.

    Returns
    -------
    ase.Atoms
        With what else the second line tells in ``info``.

    Raises
    ------
    RejectedError
        If it cannot be read.
    """
    ase_io = import_extra("ase.io", "ase", "reading extended XYZ")
    try:
        return ase_io.read(StringIO(frame), index=0, format="extxyz")
    except Exception as exc:
        # ASE raises errors of many kinds
        reason = str(exc).removeprefix("ase.io.extxyz: ") or type(exc).__name__
        raise RejectedError(f"unreadable: {reason}") from exc

"""From one entry of a source to a record, or to the reason why not."""

from __future__ import annotations

import gzip
import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from crystens_flows.datasets.records import (
    PROPERTIES,
    Record,
    RejectedError,
    Rejection,
    cell_matrix,
    make_record,
)
from crystens_flows.msonable import structure_from_dict

if TYPE_CHECKING:
    from pymatgen.core import Structure

PROPERTY_NAMES = {
    "formation_energy_per_atom": ("formation_energy_per_atom",),
    "energy_above_hull": ("energy_above_hull", "e_above_hull"),
    "band_gap": ("band_gap",),
}
"""Under which names each property stands in the sources."""
ID_NAMES = ("material_id", "entry_id")
"""Under which names the id stands in the sources."""

MAX_REASON = 200
MAX_UNPACKED = 10**8
"""Bytes of a file of one structure, unpacked; one of 52 sites has some thousand."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class Entry:
    """
    One structure of a source, not yet parsed.

    Parameters
    ----------
    where
        Where it stands: the file, or the file and the row or line.
    material_id
        Its id.
    kind
        What the content is: the path of a CIF or a POSCAR, the text of a CIF, a pymatgen dict,
        the JSON text of one, a pymatgen structure, or a data set and a row of it; ``"bad"`` for a
        text that says why there is none.
    content
        The structure in that form.
    properties
        Values under the source's own names; others than the known ones are left out.
    """

    where: str
    material_id: str
    kind: Literal["cif_file", "poscar_file", "cif", "dict", "json", "structure", "dataset", "bad"]
    content: Any
    properties: Mapping[str, Any] = field(default_factory=dict)


def parse_entry(entry: Entry) -> Record | Rejection:
    """
    Parse and check one entry.

    Parameters
    ----------
    entry
        The entry.

    Returns
    -------
    Record or Rejection
        The record, or why there is none; an entry never raises.
    """
    return _attempt(
        entry,
        lambda structure: make_record(structure, entry.material_id, _known(entry.properties)),
    )


def parse_structure(entry: Entry) -> Structure | Rejection:
    """
    Parse one entry to a structure of any number of sites.

    Parameters
    ----------
    entry
        The entry.

    Returns
    -------
    Structure or Rejection
        The structure in its own cell, turned over where that is left-handed, of elements without
        oxidation states or site properties, fractional coordinates in [0, 1); or why there is
        none: it has no sites, is disordered or not periodic, holds something other than elements,
        is not finite, or has no sensible cell. An entry never raises.
    """
    return _attempt(entry, _plain)


def known_numbers(properties: Mapping[str, Any]) -> dict[str, float]:
    """
    Pick the known properties that are numbers.

    Parameters
    ----------
    properties
        Values under the source's own names.

    Returns
    -------
    dict
        Finite values under the names of this package; what is empty, NaN or no number is left
        out.
    """
    known: dict[str, float] = {}
    for name in PROPERTIES:
        try:
            value = _number(properties, name)
        except RejectedError:
            continue
        if value is not None and not math.isnan(value):
            known[name] = value
    return known


def _attempt(entry: Entry, make: Callable[[Structure], Made]) -> Made | Rejection:
    """Make something of the structure of an entry, or find the reason why not."""
    with warnings.catch_warnings():
        # pymatgen warns about roundings it mends; what it cannot mend becomes the reason
        warnings.simplefilter("ignore")
        try:
            return make(_structure(entry))
        except RejectedError as exc:
            reason = str(exc)
        except Exception as exc:  # noqa: BLE001  parsers raise anything on a damaged entry
            reason = f"unreadable: {type(exc).__name__}: {exc}"
    return Rejection(entry.where, entry.material_id, " ".join(reason.split())[:MAX_REASON])


def _structure(entry: Entry) -> Structure:
    match entry.kind:
        case "bad":
            raise RejectedError(entry.content)
        case "structure":
            return entry.content
        case "dataset":
            dataset, row = entry.content
            return dataset.structure(row)
        case "dict":
            return _structure_from_dict(entry.content)
        case "json":
            return _structure_from_json(entry.content)
        case "cif":
            return _structure_from_cif(entry.content)
        case "cif_file":
            return _structure_from_cif(_text(entry.content))
        case "poscar_file":
            return _structure_from_poscar(_text(entry.content))


def _text(path: str) -> str:
    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.GzipFile(fileobj=BytesIO(raw)).read(MAX_UNPACKED + 1)
        if len(raw) > MAX_UNPACKED:
            raise ValueError(f"it unpacks to more than {MAX_UNPACKED} bytes")
    return raw.decode()


def _plain(structure: Structure) -> Structure:
    """Check a structure, and leave out all but its elements, coordinates and cell."""
    from pymatgen.core import Lattice, Structure

    if len(structure) == 0:
        raise RejectedError("no sites")
    if not all(structure.lattice.pbc):
        raise RejectedError("not periodic in all three directions")
    if not structure.is_ordered:
        raise RejectedError("disordered: a site is shared or partly occupied")
    for site in structure:
        # a DummySpecies has the number 0 or one above 118
        if not 1 <= site.specie.Z <= 118:
            raise RejectedError(f"no element: {site.specie}")
    matrix = structure.lattice.matrix
    if not np.isfinite(matrix).all():
        raise RejectedError("not finite: a lattice parameter is NaN or infinite")
    if not np.isfinite(structure.frac_coords).all():
        raise RejectedError("not finite: a coordinate is NaN or infinite")
    cell_matrix(np.array(structure.lattice.parameters))  # or it says what is wrong with the cell
    # with a left-handed cell VASP stops, and CHGNet's own calculator gives wrong stresses
    hand = np.sign(np.linalg.det(matrix))
    wrapped = np.mod(hand * structure.frac_coords, 1.0)
    wrapped[wrapped >= 1.0] = 0.0  # what was just under zero
    return Structure(Lattice(hand * matrix), [site.specie.Z for site in structure], wrapped)


def _structure_from_dict(content: dict[str, Any]) -> Structure:
    for key in ("lattice", "sites"):
        if key not in content:
            raise RejectedError(f"unreadable: no {key!r}, so no pymatgen structure")
    if content["sites"] == []:
        raise RejectedError("no sites")
    return structure_from_dict(content)


def _structure_from_json(text: str) -> Structure:
    if not text.strip():
        raise RejectedError("unreadable: no JSON text")
    try:
        content = json.loads(text)
    except ValueError as exc:
        raise RejectedError(f"unreadable: no JSON of a pymatgen structure: {exc}") from exc
    if not isinstance(content, dict):
        raise RejectedError("unreadable: no pymatgen dict")
    return _structure_from_dict(content)


def _structure_from_poscar(text: str) -> Structure:
    from pymatgen.io.vasp import Poscar

    if not text.strip():
        raise RejectedError("unreadable: no POSCAR text")
    try:
        poscar = Poscar.from_str(_with_positive_scale(text), read_velocities=False)
    except IndexError as exc:
        raise RejectedError("unreadable: the POSCAR ends early") from exc
    if not poscar.true_names:
        raise RejectedError("no element names: a POSCAR in the format of VASP 4")
    return poscar.structure


def _with_positive_scale(text: str) -> str:
    """Write a scale that is a volume (negative) as a factor, lest pymatgen misplace the atoms."""
    lines = text.splitlines()
    scale = float(lines[1].partition("#")[0])
    if scale < 0:
        vectors = np.array([[float(word) for word in line.split()[:3]] for line in lines[2:5]])
        lines[1] = repr(float((-scale / abs(np.linalg.det(vectors))) ** (1 / 3)))
    return "\n".join(lines)


def _structure_from_cif(text: str) -> Structure:
    from pymatgen.io.cif import CifParser

    if not text.strip():
        raise RejectedError("unreadable: no CIF text")
    try:
        parser = CifParser.from_str(text)
        structures = parser.parse_structures(primitive=False, on_error="ignore")
    except ZeroDivisionError as exc:
        raise RejectedError("unreadable: a loop of the CIF has no values") from exc
    except ValueError:
        try:
            # the same again, for the cause
            structures = parser.parse_structures(primitive=False, on_error="raise")
        except KeyError as exc:
            raise RejectedError(f"unreadable: the CIF has no {exc.args[0]}") from exc
        except ValueError as exc:
            raise RejectedError(_cause(str(exc))) from exc
    if len(structures) != 1:
        raise RejectedError(f"several structures: the CIF holds {len(structures)}")
    if "implicit_hydrogens" in structures[0].site_properties:
        raise RejectedError("hydrogen atoms without positions")
    return structures[0]


def _cause(message: str) -> str:
    """Say in the words of this package what pymatgen's CIF parser found."""
    if "exceeded tolerance" in message:
        return "overlapping atoms: the occupancies on one site sum to more than one"
    if "float NaN" in message or "float infinity" in message:
        return "not finite: a number of the CIF is NaN or infinite"
    if "below threshold" in message:
        return "too flat a cell: under 0.01 A"
    return "unreadable: " + message.split("in CIF.")[-1].strip()


def _known(properties: Mapping[str, Any]) -> dict[str, float]:
    """Pick the known properties, as numbers; empty ones are unknown."""
    values = {name: _number(properties, name) for name in PROPERTIES}
    return {name: value for name, value in values.items() if value is not None}


def _number(properties: Mapping[str, Any], name: str) -> float | None:
    """Find a property under one of its names; None where it is missing or empty."""
    value = next((properties[n] for n in PROPERTY_NAMES[name] if n in properties), None)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise RejectedError(f"no number: {name} is {value!r}") from None
    if math.isinf(number):
        raise RejectedError(f"not finite: {name} is {value!r}")
    return number

"""From one entry of a source to a record, or to the reason why not."""

from __future__ import annotations

import gzip
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crystens_flows.datasets.records import (
    PROPERTIES,
    Record,
    RejectedError,
    Rejection,
    make_record,
)

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
        What the content is: the path of a CIF, the text of one, a pymatgen dict, or a pymatgen
        structure; ``"bad"`` for a text that says why there is none.
    content
        The structure in that form.
    properties
        Values under the source's own names; others than the known ones are left out.
    """

    where: str
    material_id: str
    kind: Literal["cif_file", "cif", "dict", "structure", "bad"]
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
    with warnings.catch_warnings():
        # pymatgen warns about roundings it mends; what it cannot mend becomes the reason
        warnings.simplefilter("ignore")
        try:
            return make_record(_structure(entry), entry.material_id, _known(entry.properties))
        except RejectedError as exc:
            reason = str(exc)
        except Exception as exc:  # noqa: BLE001  parsers raise anything on a damaged entry
            reason = f"unreadable: {type(exc).__name__}: {exc}"
    return Rejection(entry.where, entry.material_id, " ".join(reason.split())[:MAX_REASON])


def _structure(entry: Entry) -> Structure:
    from pymatgen.core import Structure

    if entry.kind == "bad":
        raise RejectedError(entry.content)
    if entry.kind == "structure":
        return entry.content
    if entry.kind == "dict":
        for key in ("lattice", "sites"):
            if key not in entry.content:
                raise RejectedError(f"unreadable: no {key!r}, so no pymatgen structure")
        return Structure.from_dict(entry.content)
    text = entry.content
    if entry.kind == "cif_file":
        raw = Path(entry.content).read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    return _structure_from_cif(text)


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
    known: dict[str, float] = {}
    for name in PROPERTIES:
        value = next((properties[n] for n in PROPERTY_NAMES[name] if n in properties), None)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        try:
            known[name] = float(value)
        except (TypeError, ValueError):
            raise RejectedError(f"no number: {name} is {value!r}") from None
        if math.isinf(known[name]):
            raise RejectedError(f"not finite: {name} is {value!r}")
    return known

"""Entries and elements of the Materials Project, from files and through its API."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymatgen.core import Composition

from crystens_flows.errors import CrystensError, DatasetError, import_extra
from crystens_flows.msonable import ENTRY_CLASSES, decoded
from crystens_flows.relaxation.vasp_documents import get

if TYPE_CHECKING:
    from pymatgen.entries.computed_entries import ComputedEntry

MATERIALS_PROJECT = "mp"

THERMO_TYPE = "GGA_GGA+U"
"""Of the Materials Project's entries: those without r2SCAN."""


class NotComparableError(CrystensError):
    """Raised for a calculation whose energy must not be held against the Materials Project's."""


@dataclass(frozen=True)
class Elements:
    """
    Energies of elements that formation energies are counted from.

    Parameters
    ----------
    name
        Where they come from.
    energies
        By symbol, eV/atom.
    potcars
        Label and date of the POTCAR that each was computed with, where it is known.
    """

    name: str
    energies: Mapping[str, float]
    potcars: Mapping[str, str] = field(default_factory=dict)


@lru_cache(maxsize=1)
def shipped_elements() -> Elements:
    """
    Load the energies of the elements that ship with the package.

    Returns
    -------
    Elements
        Of 89 elements in the Materials Project, GGA; the file names its source.
    """
    data = files("crystens_flows.relaxation") / "mp_elements.json"
    found = json.loads(data.read_text())
    return Elements(
        found["name"],
        {symbol: each["energy_per_atom"] for symbol, each in found["elements"].items()},
        {symbol: each["potcar"] for symbol, each in found["elements"].items()},
    )


def corrected(entries: Iterable[Any], *, strict: bool = False) -> list[Any]:
    """
    Apply the Materials Project's corrections of 2020.

    Parameters
    ----------
    entries
        Entries of pymatgen; they stay as they are.
    strict
        Whether to raise pymatgen's CompatibilityError for one that is not comparable; by default
        it is left out.

    Returns
    -------
    list
        Corrected copies.
    """
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of oxidation states that cannot be guessed
        return MaterialsProject2020Compatibility().process_entries(
            list(entries), clean=True, inplace=False, on_error="raise" if strict else "ignore"
        )


def elements_of(entries: Iterable[ComputedEntry], name: str) -> Elements:
    """
    Find the lowest entry of each element.

    Parameters
    ----------
    entries
        Entries, with their corrections.
    name
        Where they come from.

    Returns
    -------
    Elements
        For the elements that have an entry.
    """
    energies: dict[str, float] = {}
    potcars: dict[str, str] = {}
    for entry in entries:
        if len(entry.composition.element_composition) > 1:
            continue
        symbol = entry.composition.elements[0].symbol
        if symbol in energies and entry.energy_per_atom >= energies[symbol]:
            continue
        energies[symbol] = entry.energy_per_atom
        potcars.pop(symbol, None)
        spec = entry.parameters.get("potcar_spec") or [{}]
        if title := get(spec, 0, "titel"):
            potcars[symbol] = str(title).split(maxsplit=1)[1].strip()
    return Elements("Materials Project" if name == MATERIALS_PROJECT else name, energies, potcars)


def read_entries(spec: str, composition: Composition) -> list[ComputedEntry]:
    """
    Read the known entries of a chemical system and its subsystems.

    Parameters
    ----------
    spec
        As ``entries`` of :func:`judge`.
    composition
        Its elements make the system.

    Returns
    -------
    list of ComputedEntry
        Those that the Materials Project's corrections of 2020 accept, with these.

    Raises
    ------
    DatasetError
        If they cannot be had.
    NotComparableError
        If none is comparable.
    """
    system = {element.symbol for element in composition.elements}
    known = _download(system) if spec == MATERIALS_PROJECT else _read_file(Path(spec))
    inside = [e for e in known if {each.symbol for each in e.composition.elements} <= system]
    accepted = corrected(inside)
    if not accepted:
        raise NotComparableError(
            f"{spec}: none of the {len(inside)} entries in {'-'.join(sorted(system))} is "
            "comparable with the Materials Project's GGA and GGA+U"
        )
    return accepted


def _read_file(file: Path) -> list[Any]:
    from monty.io import zopen
    from pymatgen.entries.computed_entries import ComputedEntry

    wanted = "give a JSON file with a list of pymatgen's ComputedEntries"
    try:
        with zopen(file, "rb") as stream:
            found = decoded(stream.read(), ENTRY_CLASSES)
    except Exception as exc:  # a broken file raises of all kinds
        raise DatasetError(
            f"{file} cannot be read ({' '.join(str(exc).split())[:150]}): {wanted}"
        ) from exc
    if not isinstance(found, list) or not all(isinstance(each, ComputedEntry) for each in found):
        raise DatasetError(f"{file} holds no list of entries: {wanted}")
    return found


def _download(system: set[str]) -> list[Any]:
    from crystens_flows.datasets.materials_project import find_api_key, no_answer

    offline = "without a network, give hull_entries, a file of entries"
    key = find_api_key(None, offline)
    client = import_extra("mp_api.client", "mp", "reading the Materials Project")
    try:
        with client.MPRester(key, mute_progress_bars=True) as rester:
            found = rester.get_entries_in_chemsys(
                sorted(system), additional_criteria={"thermo_types": [THERMO_TYPE]}
            )
    except Exception as exc:  # noqa: BLE001 - its client raises anything
        raise no_answer(exc, key, offline) from None
    # the order of an answer is nobody's promise
    return sorted(found, key=lambda entry: str(entry.entry_id))

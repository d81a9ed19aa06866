"""A reference downloaded from the Materials Project."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import combinations

from pymatgen.core import Element

from crystens_flows.datasets.materials_project import find_api_key, no_answer
from crystens_flows.errors import DatasetError, InputError, import_extra
from crystens_flows.screening.hull.compositions import chemical_system
from crystens_flows.screening.hull.reference import HullReference

THERMO_TYPE = "GGA_GGA+U"
"""Energies of GGA and GGA+U with the Materials Project's corrections, without r2SCAN."""

MAX_ELEMENTS = 10
"""A chemical system of more is not asked for: all its subsystems would be downloaded too."""

_SYSTEMS_PER_QUERY = 200
_FIELDS = ["material_id", "formula_pretty", "formation_energy_per_atom"]
OFFLINE = (
    "without a network, use the reference that ships with the package (in Python: "
    "HullReference.shipped())"
)


def from_materials_project(
    chemical_systems: Iterable[str], api_key: str | None = None
) -> HullReference:
    """Download entries; see :meth:`HullReference.from_materials_project`."""
    if isinstance(chemical_systems, str):
        chemical_systems = [chemical_systems]
    asked = tuple(dict.fromkeys(_read_system(system) for system in chemical_systems))
    if not asked:
        raise InputError("no chemical systems: give some, e.g. ['Li-Fe-O']")
    rows = download(subsystems(asked), api_key)
    names = ", ".join(chemical_system(tuple(system)) for system in asked)
    if not rows:
        raise DatasetError(f"the Materials Project has no entries in {names}")
    return HullReference.from_rows(f"Materials Project ({THERMO_TYPE}), {names}", rows, asked)


def subsystems(systems: Iterable[frozenset[int]]) -> set[frozenset[int]]:
    """
    Find all chemical systems that have a part in the hulls of some.

    Parameters
    ----------
    systems
        Chemical systems, as sets of atomic numbers.

    Returns
    -------
    set of frozenset
        These, and all that some of their elements make.
    """
    return {
        frozenset(part)
        for system in systems
        for size in range(1, len(system) + 1)
        for part in combinations(system, size)
    }


def download(
    systems: Collection[frozenset[int]], api_key: str | None = None
) -> list[tuple[str, str, str, float]]:
    """
    Download the entries of some chemical systems, those of their subsystems not among them.

    Parameters
    ----------
    systems
        Chemical systems, as sets of atomic numbers.
    api_key
        As for :meth:`HullReference.from_materials_project`.

    Returns
    -------
    list of tuple
        For each entry where it stands, its id, its formula and its formation energy in eV/atom.
        Entries without an energy are left out.

    Raises
    ------
    DatasetError
        If there is no API key, or the Materials Project does not answer.
    MissingExtraError
        If mp-api is not installed.
    """
    key = find_api_key(api_key, OFFLINE)
    client = import_extra("mp_api.client", "mp", "reading the Materials Project")
    names = sorted(chemical_system(tuple(sorted(system))) for system in systems)
    found: dict[str, tuple[str, float]] = {}
    try:
        with client.MPRester(key, mute_progress_bars=True) as rester:
            for start in range(0, len(names), _SYSTEMS_PER_QUERY):
                docs = rester.materials.thermo.search(
                    chemsys=names[start : start + _SYSTEMS_PER_QUERY],
                    thermo_types=[THERMO_TYPE],
                    all_fields=False,
                    fields=_FIELDS,
                )
                for doc in docs:
                    if doc.formation_energy_per_atom is not None:
                        entry = str(doc.formula_pretty), float(doc.formation_energy_per_atom)
                        found[str(doc.material_id)] = entry
    except Exception as exc:  # noqa: BLE001 - its client raises anything
        raise no_answer(exc, key, OFFLINE) from None
    # the order of an answer is nobody's promise
    return [(f"Materials Project {name}", name, *found[name]) for name in sorted(found)]


def _read_system(text: str) -> frozenset[int]:
    symbols = [part.strip() for part in text.split("-")]
    for symbol in symbols:
        if not Element.is_valid_symbol(symbol):
            raise InputError(
                f"no chemical system: {text!r} holds {symbol!r}, which is no element; give the "
                "symbols joined by hyphens, e.g. 'Li-Fe-O'"
            )
    if len(symbols) > MAX_ELEMENTS:
        raise InputError(
            f"chemical system of too many elements: {text!r}, at most {MAX_ELEMENTS}, since all "
            "its subsystems are downloaded too"
        )
    return frozenset(Element(symbol).Z for symbol in symbols)

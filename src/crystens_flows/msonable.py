"""
Reading MSONable documents that others made, with classes from a list alone.

monty's decoder imports whatever module a document names, and pymatgen decodes the properties of
sites with it: a structure in a file can so run code. What is read from files and stores is
therefore checked before it is decoded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crystens_flows.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

STRUCTURE_CLASSES = frozenset(
    (
        ("pymatgen.core.structure", "Structure"),
        ("pymatgen.core.lattice", "Lattice"),
        ("pymatgen.core.sites", "PeriodicSite"),
        ("pymatgen.core.composition", "Composition"),
        ("pymatgen.core.periodic_table", "Element"),
        ("pymatgen.core.periodic_table", "Species"),
        ("pymatgen.core.periodic_table", "DummySpecies"),
        ("pymatgen.electronic_structure.core", "Magmom"),
        ("numpy", "array"),
    )
)
"""Module and class of what structures consist of."""

ENTRY_CLASSES = (
    STRUCTURE_CLASSES
    | {
        (module, name)
        for module in ("pymatgen.core.entries", "pymatgen.entries.computed_entries")
        for name in (
            *("ComputedEntry", "ComputedStructureEntry", "ConstantEnergyAdjustment"),
            *("ManualEnergyAdjustment", "CompositionEnergyAdjustment"),
            *("TemperatureEnergyAdjustment", "GibbsComputedStructureEntry", "EnergyAdjustment"),
        )
    }
    | {
        ("emmet.core.vasp.calc_types.enums", "RunType"),
        ("emmet.core.types.enums", "ThermoType"),
        ("emmet.core.thermo", "ThermoType"),
    }
)
"""Module and class of what computed entries consist of."""


def check_classes(content: Any, allowed: frozenset[tuple[str, str]] = STRUCTURE_CLASSES) -> None:
    """
    Raise if a document, decoded, would import anything but some classes.

    Parameters
    ----------
    content
        The document, as plain dictionaries and lists.
    allowed
        Module and name of the classes.

    Raises
    ------
    InputError
        If it names another class, or a function.
    """
    todo = [content]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if "@callable" in value or (
                "@module" in value
                and "@class" in value
                and not _is_in(allowed, value["@module"], value["@class"])
            ):
                named = value.get("@callable", value.get("@class"))
                raise InputError(
                    f"{str(value.get('@module'))[:80]}.{str(named)[:80]} is no class that is read "
                    "from documents of others"
                )
            todo += value.values()
        elif isinstance(value, list | tuple):
            todo += value


def _is_in(allowed: frozenset[tuple[str, str]], module: Any, name: Any) -> bool:
    return isinstance(module, str) and isinstance(name, str) and (module, name) in allowed


def structure_from_dict(content: dict[str, Any]) -> Structure:
    """
    Return the structure of a document that anybody may have made.

    Parameters
    ----------
    content
        As pymatgen's ``Structure.as_dict`` makes it.

    Raises
    ------
    InputError
        If it names a class that is no part of a structure.
    """
    from pymatgen.core import Structure

    check_classes(content)
    return Structure.from_dict(content)


def decoded(text: str | bytes, allowed: frozenset[tuple[str, str]]) -> Any:
    """
    Return the objects of a JSON document that anybody may have made.

    Parameters
    ----------
    text
        The JSON text.
    allowed
        Module and name of the classes it may hold.

    Raises
    ------
    InputError
        If it names another class, or a function.
    ValueError
        If it is no JSON text.
    """
    from monty.json import MontyDecoder

    content = json.loads(text)
    check_classes(content, allowed)
    return MontyDecoder().process_decoded(content)

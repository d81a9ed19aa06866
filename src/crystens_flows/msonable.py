"""
Reading MSONable documents that others made, with classes from a list alone.

monty's decoder imports whatever module a document names, and pymatgen decodes the properties of
sites with it: a structure in a file can so run code. What is read from files and stores is
therefore checked before it is decoded.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from crystens_flows.errors import InputError

if TYPE_CHECKING:
    from jobflow import Flow
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


FLOW_PACKAGES = frozenset(
    (
        *("ase", "atomate2", "crystens_flows", "custodian", "emmet", "jobflow", "maggma", "monty"),
        *("numpy", "pymatgen", "datetime", "decimal", "pathlib", "uuid"),
    )
)
"""What flows that are kept in files may always name; beside it, what has been imported before."""


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
    for value in _dictionaries(content):
        if "@callable" in value or (
            "@module" in value
            and "@class" in value
            and not _is_in(allowed, value["@module"], value["@class"])
        ):
            raise InputError(
                f"{_named(value)} is no class that is read from documents of others: "
                "docs/security.md says which are"
            )


def _dictionaries(content: Any) -> Iterator[dict[Any, Any]]:
    """Yield all dictionaries of a document."""
    todo = [content]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            yield value
            todo += value.values()
        elif isinstance(value, list | tuple):
            todo += value


def _named(value: dict[Any, Any]) -> str:
    name = value.get("@callable", value.get("@class"))
    return f"{str(value.get('@module'))[:80]}.{str(name)[:80]}"


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


def flow_from_dict(content: dict[str, Any]) -> Flow:
    """
    Return the flow that a file holds.

    A flow names the functions that its jobs run, and is a program: what it may name are
    :data:`FLOW_PACKAGES` and what this process has imported, as it has what its flows are made of,
    but nothing else of Python itself. This does not make flows of others safe: jobs of VASP, for
    example, run the command that they name.

    Parameters
    ----------
    content
        As ``Flow.as_dict`` makes it.

    Raises
    ------
    InputError
        If it names a class or function of another package.
    """
    from monty.json import MontyDecoder

    for value in _dictionaries(content):
        if "@module" in value and ("@class" in value or "@callable" in value):
            if not _is_of_flows(value["@module"]):
                raise InputError(
                    f"{_named(value)} is of no package that flows are made of: import it first, if "
                    "the flow is yours"
                )
            if "@callable" in value and not _is_function_of_flows(value):
                raise InputError(
                    f"{_named(value)} is no function that flows are made of: define it in a module "
                    "that is imported"
                )
    return MontyDecoder().process_decoded(content)


def _is_of_flows(module: Any) -> bool:
    package = str(module).partition(".")[0]
    return package in FLOW_PACKAGES or (
        package in sys.modules and package not in {*sys.stdlib_module_names, "builtins"}
    )


def _is_function_of_flows(value: dict[Any, Any]) -> bool:
    """Tell whether a function is defined where flows come from, and not only imported there."""
    names = str(value["@callable"]).split(".")
    if any(name.startswith("__") for name in names):
        return False
    if value.get("@bound") is not None:
        return True  # a method of an object, whose class is looked at as well
    try:
        found = importlib.import_module(value["@module"])
        for name in names:
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return False
    return _is_of_flows(getattr(found, "__module__", None))

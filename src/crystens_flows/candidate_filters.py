"""What candidates may be asked for by, as MongoDB filters."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, TypedDict

from pymatgen.core import Composition, Element

from crystens_flows.candidate_criteria import check_criteria, check_members, check_text
from crystens_flows.candidate_status import CandidateStatus
from crystens_flows.errors import InputError

Range = tuple[float | None, float | None]

RANGES = {
    "formation_energy_per_atom": "formation_energy_per_atom",
    "energy_above_hull": "energy_above_hull",
    "energy_per_atom": "energy_per_atom",
    "energy_above_hull_dft": "energy_above_hull_dft",
    "n_sites": "n_sites",
    "rank": "selection.rank",
}
"""The field that each filter by a range is about."""


class Filters(TypedDict, total=False):
    """
    What candidates may be asked for by; those given must all hold.

    A candidate whose value is not known is found by no filter on that value.

    Attributes
    ----------
    formula
        Any formula of the composition, however it is spelt: ``"Na2Cl2"``, ``"ClNa"`` and
        ``"Na₂Cl₂"`` find NaCl.
    chemsys
        Exactly these elements, in any order: ``"Na-Cl"``.
    elements
        At least these elements.
    without_elements
        None of these elements.
    status
        One status or several.
    campaign
        Name of the campaign.
    engine
        What relaxed it, with or without a version: ``"VASP"`` or ``"VASP 6.4.2"``.
    space_group
        Number of the space group that the tensor states, or several.
    formation_energy_per_atom
        Lowest and highest predicted formation energy, eV/atom; None for no bound.
    energy_above_hull
        Lowest and highest predicted energy above hull, eV/atom; None for no bound.
    energy_per_atom
        Lowest and highest energy after relaxation, eV/atom; None for no bound.
    energy_above_hull_dft
        Lowest and highest energy above hull after relaxation with DFT, eV/atom; None for no bound.
    n_sites
        Lowest and highest number of sites; None for no bound.
    rank
        Best and last rank in the selection, from 1; None for no bound.
    criteria
        Any further MongoDB filter on fields of the document, with the
        :data:`~crystens_flows.candidate_criteria.OPERATORS` alone.
    """

    formula: str | None
    chemsys: str | None
    elements: Sequence[str] | None
    without_elements: Sequence[str] | None
    status: str | Sequence[str] | None
    campaign: str | None
    engine: str | None
    space_group: int | Sequence[int] | None
    formation_energy_per_atom: Range | None
    energy_above_hull: Range | None
    energy_per_atom: Range | None
    energy_above_hull_dft: Range | None
    n_sites: Range | None
    rank: Range | None
    criteria: dict[str, Any] | None


def filter_criteria(**filters: Any) -> dict[str, Any]:
    """
    Return the MongoDB filter for these.

    Every value is checked to be a plain one of its kind, so that none can act as an operator.

    Parameters
    ----------
    **filters
        See :class:`Filters`; those that are None do not count.

    Returns
    -------
    dict
        The filter.

    Raises
    ------
    InputError
        If there is no such filter, or a value is not one of its kind.
    """
    parts: list[dict[str, Any]] = []
    for name, value in filters.items():
        if name not in Filters.__annotations__:
            raise InputError(f"no filter {name!r}; known: {', '.join(Filters.__annotations__)}")
        if value is None:
            continue
        if name in RANGES:
            parts.append({RANGES[name]: _range(name, value)})
        elif name == "criteria":
            parts += [check_criteria(value)] if value else []
        else:
            parts.append(_CONDITIONS[name](value))
    if len(parts) < 2:
        return parts[0] if parts else {}
    names = [name for part in parts for name in part]
    if len(names) == len(set(names)) and not any(name.startswith("$") for name in names):
        return {name: condition for part in parts for name, condition in part.items()}
    return {"$and": parts}


def _formula(value: Any) -> dict[str, Any]:
    return {"formula": reduced_formula(value)}


def _chemsys(value: Any) -> dict[str, Any]:
    return {"chemsys": "-".join(symbols(check_text(value, "chemsys").split("-")))}


def _elements(value: Any) -> dict[str, Any]:
    found = symbols(value)
    return {"elements": {"$all": found}} if found else {}


def _without_elements(value: Any) -> dict[str, Any]:
    found = symbols(value)
    # of what has no structure it is not known
    return {"elements": {"$nin": found}, "chemsys": {"$ne": None}} if found else {}


def _status(value: Any) -> dict[str, Any]:
    names = [value] if isinstance(value, str) else check_members(value, "status")
    known = [str(each) for each in CandidateStatus]
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise InputError(f"status {name!r} is not one of {', '.join(known)}")
    return {"status": {"$in": [str(name) for name in names]}}


def _campaign(value: Any) -> dict[str, Any]:
    return {"campaign": check_text(value, "campaign")}


def _engine(value: Any) -> dict[str, Any]:
    name = check_text(value, "engine").strip()
    # its name, or what begins with it and a space: "!" is what follows the space
    return {
        "$or": [
            {"relaxation.engine": name},
            {"relaxation.engine": {"$gte": f"{name} ", "$lt": f"{name}!"}},
        ]
    }


def _space_group(value: Any) -> dict[str, Any]:
    numbers = [value] if isinstance(value, int) else check_members(value, "space_group")
    for number in numbers:
        if type(number) is not int or not 1 <= number <= 230:
            raise InputError(f"space_group {number!r} is not a number from 1 to 230")
    return {"space_group": {"$in": numbers}}


_CONDITIONS = {
    "formula": _formula,
    "chemsys": _chemsys,
    "elements": _elements,
    "without_elements": _without_elements,
    "status": _status,
    "campaign": _campaign,
    "engine": _engine,
    "space_group": _space_group,
}


def _range(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InputError(f"{name} must be two numbers, lowest and highest, not {value!r}")
    condition: dict[str, Any] = {"$ne": None}
    for operator, bound in zip(("$gte", "$lte"), value, strict=True):
        if bound is None:
            continue
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            raise InputError(f"{name}: {bound!r} is no number")
        if math.isnan(bound) or (isinstance(bound, int) and abs(bound) >= 2**63):
            raise InputError(
                f"{name}: {bound} cannot be compared with: give a number, whole ones below 2**63"
            )
        condition[operator] = float(bound) if isinstance(bound, float) else int(bound)
    return condition


def reduced_formula(formula: str) -> str:
    """
    Return the reduced formula that candidates are stored under.

    Parameters
    ----------
    formula
        A formula in any spelling: any order, any multiple, with brackets, with digits below the
        line as in LaTeX or Unicode.

    Returns
    -------
    str
        For example ``"NaCl"``.

    Raises
    ------
    InputError
        If it is no formula.
    """
    given = check_text(formula, "formula")
    plain = re.sub(r"[\s$_{}]", "", unicodedata.normalize("NFKC", given))
    try:
        composition = Composition(plain, strict=True)
        if not composition or not math.isfinite(composition.num_atoms):
            raise ValueError("no amounts")
        if any(amount % 1 for amount in composition.values()):
            composition = Composition(composition.get_integer_formula_and_factor()[0])
        return str(composition.reduced_formula)
    except (ValueError, KeyError, TypeError, OverflowError, ZeroDivisionError) as exc:
        raise InputError(f"formula {given!r} cannot be read: {exc}; write e.g. NaCl") from exc


def symbols(elements: Sequence[str]) -> list[str]:
    """
    Return symbols of elements in alphabetical order.

    Parameters
    ----------
    elements
        The symbols, in a list or with dashes between them.

    Raises
    ------
    InputError
        If one is none.
    """
    if isinstance(elements, str):
        elements = elements.split("-")
    found = set()
    for element in check_members(elements, "elements"):
        symbol = check_text(element, "element").strip()
        if not Element.is_valid_symbol(symbol):
            raise InputError(f"{symbol!r} is not the symbol of an element")
        found.add(symbol)
    return sorted(found)

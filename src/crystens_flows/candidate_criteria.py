"""What may stand in a query on candidates: fields that exist, plain values, comparisons."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Any

from crystens_flows.errors import InputError
from crystens_flows.schemas import CandidateDocument

OPERATORS = frozenset(
    (
        *("$and", "$or", "$nor", "$not", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte"),
        *("$in", "$nin", "$all", "$size", "$exists", "$elemMatch"),
    )
)
"""What criteria may hold: comparisons, and nothing that runs code or reads elsewhere."""

MAX_LENGTH = 500
"""Of a name or formula, characters."""

MAX_LEVELS = 20
"""Of criteria within criteria."""

_PATH_PART = re.compile(r"[A-Za-z0-9_@()+-]+")
_LARGEST = 2**63  # what BSON has no integer for
_NOT_SORTED = frozenset(
    name
    for name, field in CandidateDocument.model_fields.items()
    if re.search(r"list|dict|Structure|Record|RelaxDocument|Provenance", str(field.annotation))
)


def check_text(value: Any, what: str) -> str:
    """
    Return a plain string.

    Parameters
    ----------
    value
        What a user gave.
    what
        What it is to be, for the error.

    Raises
    ------
    InputError
        If it is no text, too long, or has control characters.
    """
    if not isinstance(value, str):
        raise InputError(f"{what} must be text, not {type(value).__name__}")
    value = str.__str__(value)
    if len(value) > MAX_LENGTH:
        raise InputError(f"{what} is longer than {MAX_LENGTH} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise InputError(f"{what} {value!r} holds control characters")
    return value


def check_members(value: Any, what: str) -> list[Any]:
    """
    Return a list.

    Parameters
    ----------
    value
        What a user gave.
    what
        What it is to be, for the error.

    Raises
    ------
    InputError
        If it is no list, tuple or set.
    """
    if not isinstance(value, list | tuple | set | frozenset):
        raise InputError(f"{what} must be a list, not {type(value).__name__}")
    return list(value)


def check_field(name: Any) -> str:
    """
    Return the name of a field.

    Parameters
    ----------
    name
        The field, or a path that begins with it: ``"selection.rank"``.

    Raises
    ------
    InputError
        If candidates have no such field.
    """
    first, *rest = check_text(name, "field").split(".")
    if first not in CandidateDocument.model_fields or not all(
        _PATH_PART.fullmatch(part) for part in rest
    ):
        raise InputError(
            f"candidates have no field {name!r}; known: {', '.join(CandidateDocument.model_fields)}"
        )
    return str.__str__(name)


def check_sort(name: Any) -> str:
    """
    Return the name of a field that candidates can be sorted by.

    Parameters
    ----------
    name
        The field, or a path to what is in it.

    Raises
    ------
    InputError
        If candidates have no such field, or it is not one value.
    """
    if check_field(name) in _NOT_SORTED:
        raise InputError(
            f"candidates cannot be sorted by {name!r}, which is more than one value: take "
            "a number or a text, e.g. energy_above_hull"
        )
    return str(name)


def check_criteria(criteria: Any) -> dict[str, Any]:
    """
    Return a MongoDB filter that compares fields of candidates with plain values.

    Parameters
    ----------
    criteria
        The filter.

    Returns
    -------
    dict
        The same, of plain dictionaries, lists, text, numbers and times alone.

    Raises
    ------
    InputError
        If it names what is no field, holds an operator not in :data:`OPERATORS`, a value of
        another kind, or more levels than :data:`MAX_LEVELS`.
    """
    return _checked(criteria, 0)


def _checked(criteria: Any, level: int) -> dict[str, Any]:
    if not isinstance(criteria, dict):
        raise InputError(f"criteria must be a dictionary, not {type(criteria).__name__}")
    found: dict[str, Any] = {}
    for name, condition in criteria.items():
        if name in ("$and", "$or", "$nor"):
            parts = check_members(condition, name)
            found[str(name)] = [_checked(part, _deeper(level)) for part in parts]
        else:
            found[check_field(name)] = _condition(condition, _deeper(level))
    return found


def _deeper(level: int) -> int:
    if level >= MAX_LEVELS:
        raise InputError(f"criteria have more than {MAX_LEVELS} levels")
    return level + 1


def _condition(condition: Any, level: int) -> Any:
    if isinstance(condition, dict):
        found = {}
        for name, value in condition.items():
            plain = check_text(name, "operator or name")
            if plain.startswith("$") and plain not in OPERATORS:
                raise InputError(f"{plain!r} is no operator that criteria may hold")
            found[plain] = _condition(value, _deeper(level))
        return found
    if isinstance(condition, list | tuple):
        return [_condition(value, _deeper(level)) for value in condition]
    # subclasses of text may be more than text, as the code of pymongo is
    if isinstance(condition, str):
        return str.__str__(condition)
    if not isinstance(condition, int | float | datetime | None) or (
        isinstance(condition, int) and abs(condition) >= _LARGEST
    ):
        raise InputError(f"criteria cannot hold {condition!r}")
    return condition

"""What an address of the explorer asks for, read and written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from crystens_flows.candidate_filters import RANGES, filter_criteria
from crystens_flows.errors import InputError
from crystens_flows.explore.index import FIELDS

PAGE_SIZES = (25, 50, 100, 200)

SHOWN = (
    *("formula", "space_group", "n_sites", "status", "formation_energy_per_atom"),
    *("energy_above_hull", "energy_per_atom", "selection.rank"),
)
"""The columns shown where no others are asked for."""

_TEXTS = ("formula", "chemsys", "elements", "without_elements", "campaign", "engine")
_LARGEST_PAGE = 10**6


@dataclass
class Asked:
    """
    What is asked for.

    Parameters
    ----------
    filters
        See :class:`~crystens_flows.candidate_filters.Filters`.
    given
        What stands in the fields of the form, by name.
    errors
        What is wrong in a field, by its name; its filter is left out.
    sort, descending, page, size, columns
        Of the table.
    """

    filters: dict[str, Any] = field(default_factory=dict)
    given: dict[str, str | list[str]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    sort: str | None = None
    descending: bool = False
    page: int = 1
    size: int = PAGE_SIZES[1]
    columns: tuple[str, ...] = SHOWN

    def address(self, **changed: Any) -> str:
        """
        Write the part of the address after the question mark.

        Parameters
        ----------
        **changed
            What is to be other than here: ``sort``, ``descending``, ``page``.

        Returns
        -------
        str
            What :func:`read` reads again.
        """
        now = {"sort": self.sort, "descending": self.descending, "page": self.page, **changed}
        pairs: list[tuple[str, Any]] = []
        for name, value in self.given.items():
            pairs += [(name, each) for each in ([value] if isinstance(value, str) else value)]
        if now["sort"] is not None:
            pairs.append(("sort", now["sort"]))
        if now["descending"]:
            pairs.append(("descending", "1"))
        if now["page"] != 1:
            pairs.append(("page", now["page"]))
        if self.size != PAGE_SIZES[1]:
            pairs.append(("size", self.size))
        if self.columns != SHOWN:
            pairs += [("column", name) for name in self.columns]
        return urlencode(pairs)


def read(arguments: MultiDict[str, str]) -> Asked:
    """
    Read the arguments of an address.

    Parameters
    ----------
    arguments
        The arguments; those that are not known do not count.

    Returns
    -------
    Asked
        What cannot be read is named in its `errors` and left out, not refused.
    """
    asked = Asked()
    for name in _TEXTS:
        text = arguments.get(name, "").strip()
        if text:
            asked.given[name] = text
            value: Any = text
            if name in ("elements", "without_elements"):
                value = [each for each in text.replace(",", " ").replace("-", " ").split() if each]
            _take(asked, name, value)
    statuses = [each for each in arguments.getlist("status") if each]
    if statuses:
        asked.given["status"] = statuses
        _take(asked, "status", statuses)
    group = arguments.get("space_group", "").strip()
    if group:
        asked.given["space_group"] = group
        _take(asked, "space_group", [int(group) if _is_whole(group) else group])
    for name in RANGES:
        bounds = [_bound(asked, arguments, f"{end}_{name}") for end in ("min", "max")]
        if bounds != [None, None]:
            _take(asked, name, tuple(bounds))
    sort = arguments.get("sort", "")
    asked.sort = sort if sort in FIELDS else None
    asked.descending = arguments.get("descending", "") == "1"
    asked.page = min(max(_whole(arguments.get("page", ""), 1), 1), _LARGEST_PAGE)
    size = _whole(arguments.get("size", ""), asked.size)
    asked.size = size if size in PAGE_SIZES else asked.size
    columns = [name for name in FIELDS if name in arguments.getlist("column")]
    asked.columns = tuple(columns) or SHOWN
    return asked


def identifiers(values: Iterable[str]) -> list[str]:
    """
    Return identifiers of candidates, each once, in their order.

    Parameters
    ----------
    values
        As they stand in an address.

    Returns
    -------
    list of str
        Those that are not empty.
    """
    return list(dict.fromkeys(value.strip() for value in values if value.strip()))


def _take(asked: Asked, name: str, value: Any) -> None:
    """Take a filter whose value is one, and say of another what is wrong."""
    try:
        filter_criteria(**{name: value})
    except InputError as exc:
        asked.errors[name] = str(exc)
    else:
        asked.filters[name] = value


def _bound(asked: Asked, arguments: MultiDict[str, str], name: str) -> float | None:
    text = arguments.get(name, "").strip()
    if not text:
        return None
    asked.given[name] = text
    try:
        value = float(text.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        asked.errors[name] = f"{text!r} is no number"
        return None
    return value


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _whole(text: str, default: int) -> int:
    return int(text) if _is_whole(text) else default

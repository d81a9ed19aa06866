"""Pieces of HTML that are safe whatever the values are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

_NUMBERS = re.compile(r"\d+(?:\.\d+)?")
_SCREW_AXIS = re.compile(r"_(\d)")
_INVERSION_AXIS = re.compile(r"-(\d)")
_FULL_MONOCLINIC = re.compile(r"([A-Z])1(.+)1")


def text(value: Any) -> str:
    """
    Write a value as text.

    Parameters
    ----------
    value
        Anything; floating-point numbers get three decimals, None a dash.

    Returns
    -------
    str
        HTML.
    """
    if value is None:
        return "&ndash;"
    if isinstance(value, float):
        return f"{value:.3f}".replace("-", "&minus;")
    return escape(str(value))


def formula(value: Any) -> str:
    """
    Write a chemical formula with its numbers as subscripts.

    Parameters
    ----------
    value
        The formula, e.g. ``"CaTiO3"``.

    Returns
    -------
    str
        HTML.
    """
    return _NUMBERS.sub(lambda found: f"<sub>{found[0]}</sub>", text(value))


def space_group(number: Any) -> str:
    """
    Write the symbol and the number of a space group.

    Parameters
    ----------
    number
        Its number, 1 to 230; anything else is written as it is.

    Returns
    -------
    str
        HTML: the short symbol, screw axes as subscripts, inversion axes with a line above.
    """
    from pymatgen.symmetry.groups import sg_symbol_from_int_number

    if not isinstance(number, int) or not 1 <= number <= 230:
        return text(number)
    symbol = escape(sg_symbol_from_int_number(number))
    if short := _FULL_MONOCLINIC.fullmatch(symbol):
        symbol = short[1] + short[2]
    symbol = _SCREW_AXIS.sub(r"<sub>\1</sub>", symbol)
    # the sign is there for those who do not see the line above the number, or copy it
    symbol = _INVERSION_AXIS.sub(
        r'<span class="unseen">-</span><span class="over">\1</span>', symbol
    )
    return f"<i>{symbol}</i> ({number})"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], label: str) -> str:
    """
    Write a table that scrolls by itself where the page is narrow.

    Parameters
    ----------
    header
        Names of the columns.
    rows
        The values; a column of numbers alone is aligned to the right.
    label
        What the table shows, for those who do not see it.

    Returns
    -------
    str
        HTML.
    """
    rows = list(rows)
    numeric = [
        bool(rows) and all(isinstance(row[k], int | float | None) for row in rows)
        for k in range(len(header))
    ]
    head = "".join(
        f'<th scope="col"{_class(number)}>{escape(name)}</th>'
        for name, number in zip(header, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row, numeric))}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """
    Write names and what they stand for.

    Parameters
    ----------
    pairs
        A name as text and a value as HTML each; without value, the pair is left out.

    Returns
    -------
    str
        HTML.
    """
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in pairs if value
    )
    return f"<dl>{rows}</dl>"


def data(identifier: str, value: Any) -> str:
    """
    Write data for a script of the page; no text in it can end the element.

    Parameters
    ----------
    identifier
        What the script finds it by.
    value
        What JSON can say.

    Returns
    -------
    str
        HTML.
    """
    content = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        content = content.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{escape(identifier)}">{content}</script>'


def asset(name: str) -> str:
    """
    Return a file that ships with the report.

    Parameters
    ----------
    name
        Its path in the folder of the report.

    Returns
    -------
    str
        Its text.
    """
    return files("crystens_flows.report").joinpath(name).read_text(encoding="utf-8")


def _class(number: bool) -> str:
    return ' class="number"' if number else ""


def _cell(value: Any, number: bool) -> str:
    return f"<td{_class(number)}>{text(value)}</td>"

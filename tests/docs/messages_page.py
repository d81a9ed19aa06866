"""The tables of docs/messages.md."""

from __future__ import annotations

import re
from pathlib import Path

from source_messages import normal

PAGE = Path(__file__).parents[2] / "docs" / "messages.md"

_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


def tables(page: str) -> dict[str, list[list[str]]]:
    """Return the rows of all tables of a page, by what stands above their first column."""
    found: dict[str, list[list[str]]] = {}
    head = None
    for line in page.splitlines():
        if not line.startswith("|"):
            head = None
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if head is None:
            head = cells[0].strip("| ")
        elif not set(line) <= set("|- "):
            found.setdefault(head, []).append(cells)
    return found


def messages(cell: str) -> list[str]:
    """Return the words of the messages that a cell names, with ``<>`` for values."""
    return [normal(match[2].strip()) for match in _CODE.finditer(cell)]

"""A printed table of groups of rows, narrow enough for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

PAGE = 100
"""Characters that a table may take where the terminal is narrower, or none."""


def print_grouped(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> None:
    """
    Print a table with a heading above each group of rows, values to the right.

    Parameters
    ----------
    rows
        With ``group``, ``metric`` and a value for each column; those of a group in a row.
    columns
        The columns of values; a long name goes over several lines, values never do.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    labels = max(len(text) for row in rows for text in (row["group"], row["metric"]))
    table.add_column("", no_wrap=True, min_width=labels)
    values = [max(len(row[column]) for row in rows) for column in columns]
    for column, widest in zip(columns, values, strict=True):
        table.add_column(Text(column), justify="right", overflow="fold", min_width=widest)
    for group, members in groupby(rows, key=lambda row: row["group"]):
        table.add_row()
        table.add_row(Text(group, style="bold"))
        for row in members:
            table.add_row(row["metric"], *(row[column] for column in columns))
    console = Console(highlight=False, markup=False)
    # names need not fold up to the usual width of a page; labels and values never do
    narrowest = labels + sum(width + 2 for width in values)
    widest = Console(width=10_000).measure(table).maximum
    console.width = max(console.width, narrowest, min(widest, PAGE))
    console.print(table)
    sys.stdout.flush()

"""What commands print: records on standard output, progress and summaries on standard error."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from crystens_flows.cli.options import OutputFormat

MESSAGES = Console(stderr=True, highlight=False)


def print_records(
    records: Sequence[dict[str, Any]], columns: Sequence[str], output: OutputFormat
) -> None:
    """
    Print records as a table, one JSON list or CSV.

    Parameters
    ----------
    records
        Flat dictionaries.
    columns
        Keys in the order of the columns; JSON has all keys.
    output
        The format.
    """
    if output is OutputFormat.JSON:
        sys.stdout.write(json.dumps(list(records), indent=1, default=str, allow_nan=False) + "\n")
    elif output is OutputFormat.CSV:
        writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    else:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            numeric = all(isinstance(r.get(column), int | float | None) for r in records)
            table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
        for record in records:
            table.add_row(*(_cell(record.get(column)) for column in columns))
        console = Console(highlight=False, markup=False)
        # Never narrower than the table: identifiers are there to be copied.
        console.width = max(console.width, Console(width=10_000).measure(table).maximum)
        console.print(table)
    sys.stdout.flush()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.2e}"
    return str(value)


@contextmanager
def progress_bar(description: str) -> Iterator[Any]:
    """
    Show a progress bar on standard error where that is a terminal.

    Parameters
    ----------
    description
        What goes on.

    Yields
    ------
    callable
        To be called with what is done, what there is in all and, if wanted, a new description.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # Bound to the stream of now: jobs that run meanwhile have theirs redirected to a log.
    console = Console(file=sys.stderr, highlight=False)
    with Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(description, total=None)

        def report(done: int, total: int, what: str | None = None) -> None:
            progress.update(task, completed=done, total=total, description=what or description)

        yield report


@contextmanager
def stages(description: str) -> Iterator[Callable[[str], None]]:
    """
    Show what a long command is at on standard error: where that is a log, a line for each stage.

    Parameters
    ----------
    description
        What goes on before the first stage.

    Yields
    ------
    callable
        To be called with what begins.
    """
    with progress_bar(description) as bar:

        def show(what: str) -> None:
            bar(0, None, what)
            if not MESSAGES.is_terminal:
                say(what)

        yield show


def say(message: str) -> None:
    """Print a line for a person, on standard error."""
    MESSAGES.print(message, markup=False, soft_wrap=True)


def reasons(counts: dict[str, int], most: int = 8) -> Iterator[str]:
    """Give the most frequent reasons, a line each."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for reason, count in ordered[:most]:
        yield f"    {count:6d}  {reason}"
    if len(ordered) > most:
        yield f"    {sum(count for _, count in ordered[most:]):6d}  other reasons"

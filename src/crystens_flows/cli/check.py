"""The command that says what is there and what is missing before anything is run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from crystens_flows.cli.options import Config, Format, OutputFormat
from crystens_flows.cli.output import print_records, say
from crystens_flows.cli.relax import Sources, engine_name
from crystens_flows.errors import InputError

COLUMNS = ["what", "status", "found", "remedy"]
HEADER = {"remedy": "how to set it"}


def _engine(value: str | None) -> str | None:
    return None if value is None else engine_name(value)


def _elements(value: str | None) -> str | None:
    from crystens_flows.preflight.engines import elements_of

    try:
        elements_of(value or "")
    except InputError as exc:
        raise typer.BadParameter(str(exc)) from None
    return value


def check(
    structures: Sources = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            help="What shall relax, as for 'crystens relax'; all engines if not given.",
            callback=_engine,
            show_default=False,
        ),
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(
            "--elements",
            help="Elements it shall run with, e.g. Na,Cl, beside those of the structures.",
            callback=_elements,
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder that a run would be in.")
    ] = Path(),
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            help="Store folder, store file (YAML) or mongodb:// URI; else the configured one.",
            show_default=False,
        ),
    ] = None,
    output_format: Format = OutputFormat.TABLE,
    config: Config = None,
) -> None:
    """
    Say what is there and what is missing to relax, and how to set it.

    Packages, the VASP command, a POTCAR for each element, GPAW's setups, the weights of potentials,
    the store, jobflow-remote, FireWorks and the disk. The exit code is 1 if something is missing
    that the engine, or any run, needs.
    """
    from crystens_flows.preflight import check_engine, check_packages, everything_around
    from crystens_flows.preflight.engines import elements_of

    symbols = set(elements_of(elements or ""))
    for source in structures or []:
        symbols |= _elements_in(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch and e3nn warn of each other
        checks = [
            *check_packages(),
            *check_engine(engine, sorted(symbols)),
            *everything_around(output, store),
        ]
    records = [each.record() for each in checks]
    if output_format is OutputFormat.TABLE:
        records = [{HEADER.get(key, key): row[key] or "" for key in COLUMNS} for row in records]
        print_records(records, [HEADER.get(name, name) for name in COLUMNS], output_format)
    else:
        print_records(records, [*COLUMNS, "needed"], output_format)
    failed = [each.what for each in checks if each.fails]
    if failed:
        say(f"missing: {', '.join(failed)}")
        raise typer.Exit(1)
    say(f"all that {f'engine {engine}' if engine else 'any run'} needs is there")


def _elements_in(source: str) -> set[str]:
    from crystens_flows.datasets.rows import read_rows

    found: set[str] = set()
    for row in read_rows([source]):
        if row.structure is None:
            say(f"left out: {row.entry}: {row.reason}")
        else:
            found |= {element.symbol for element in row.structure.elements}
    return found

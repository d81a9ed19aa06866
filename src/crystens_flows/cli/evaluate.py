"""The command that holds generators against real crystals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from crystens_flows.cli.grouped import print_grouped
from crystens_flows.cli.options import Config, Format, OutputFormat, Seed
from crystens_flows.cli.output import print_records, say, stages


def _named(values: list[str] | None) -> dict[str, str]:
    """Read NAME=PATH, or PATH with the name of the file."""
    named: dict[str, str] = {}
    for value in values or []:
        name, _, path = value.rpartition("=")
        name = name or Path(path).name
        if name in named:
            raise typer.BadParameter(f"two sources are called '{name}': give NAME=PATH")
        named[name] = path
    return named


def evaluate(
    generator: Annotated[
        list[str] | None,
        typer.Option(
            "--generator",
            help="A shipped generator or the folder of a checkpoint; several times for several.",
            show_default=False,
        ),
    ] = None,
    structures: Annotated[
        list[str] | None,
        typer.Option(
            "--structures",
            help="Structures of any generator, PATH or NAME=PATH: a folder of CIFs, a CSV, ...",
            show_default=False,
        ),
    ] = None,
    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            help="Real crystals: 'shipped', a data set file (.npz) or structures.",
        ),
    ] = "shipped",
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="Samples of each.")] = 1000,
    detailed: Annotated[
        int,
        typer.Option(
            "--detailed",
            min=1,
            help="So many of them get fingerprints, and energies by potentials.",
        ),
    ] = 1000,
    relax: Annotated[
        int,
        typer.Option("--relax", min=0, help="Structures of each to relax with CHGNet."),
    ] = 100,
    formulas: Annotated[
        int,
        typer.Option(
            "--formulas",
            min=0,
            help="Crystals of each hold-out to ask for by formula.",
        ),
    ] = 100,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline/--no-baseline",
            help="Whether substitution of ions stands beside the generators.",
        ),
    ] = True,
    seed: Seed = 0,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for table, figures and page.")
    ] = Path("crystens-evaluation"),
    output_format: Format = OutputFormat.TABLE,
    config: Config = None,
) -> None:
    """Hold generators, or structures of others, against real crystals: metrics and figures."""
    from crystens_flows.cli.folders import FolderWriter
    from crystens_flows.evaluation.evaluation import EvaluationOptions
    from crystens_flows.evaluation.page import table_rows
    from crystens_flows.evaluation.run import PAGE_FILE, evaluate_into

    options = EvaluationOptions(
        n_samples=number,
        seed=seed,
        n_detailed=detailed,
        n_relax=relax,
        n_formulas=formulas,
        baseline=baseline,
    )
    with FolderWriter(output) as writer, stages("evaluating") as show:
        evaluation = evaluate_into(
            writer.temporary,
            generator or ([] if structures else ["default"]),
            _named(structures),
            reference,
            options,
            processes=os.cpu_count() or 1,
            progress=show,
        )
    rows = table_rows(evaluation)
    if output_format is OutputFormat.TABLE:
        print_grouped(rows, [source.name for source in evaluation.sources])
    else:
        print_records(rows, list(rows[0]), output_format)
    say(f"page: {output / PAGE_FILE}")

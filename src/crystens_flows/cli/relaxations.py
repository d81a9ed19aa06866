"""The command that shows what relaxations of candidates found and changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystens_flows.cli.candidates import Campaign
from crystens_flows.cli.options import Config, Format, OutputFormat, StoreSpec
from crystens_flows.cli.output import print_records, say
from crystens_flows.errors import InputError


def _plot_file(path: Path | None) -> Path | None:
    if path is not None:
        from crystens_flows.report.figure13 import check_format

        try:
            check_format(path)
        except InputError as exc:
            raise typer.BadParameter(str(exc)) from None
    return path


def relaxations(
    campaign: Campaign = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            help="Draw E0, E4, P1 and P4 to this file: .svg, .png or .pdf.",
            callback=_plot_file,
            show_default=False,
        ),
    ] = None,
    output_format: Format = OutputFormat.TABLE,
    store: StoreSpec = None,
    config: Config = None,
) -> None:
    """
    Show what four successive relaxations found and changed: the paper's figure 13.

    Energies before the first and after each, pressures after each, volume, space group and how far
    sites moved; the reason where relaxations are missing.
    """
    from crystens_flows.report.figure13 import save_figure
    from crystens_flows.report.relaxations import COLUMNS as RELAXATION_COLUMNS
    from crystens_flows.report.relaxations import STAND_IN, UNITS, candidate_records, with_dft
    from crystens_flows.stores import open_stores

    candidates = open_stores(store, create=False).candidates
    records = candidate_records(candidates, campaign=campaign)
    if plot is not None:
        save_figure(records, plot)
    columns = with_dft(RELAXATION_COLUMNS, records)
    if output_format is OutputFormat.CSV and records:
        columns = list(dict.fromkeys(name for record in records for name in record))
    print_records(records, columns, output_format)
    say(f"{len(records)} candidates have relaxations\n{UNITS}")
    if any(record["stand_in"] for record in records):
        say(f"energies and pressures marked (stand-in) were {STAND_IN}")
    if plot is not None:
        say(f"figure: {plot}")

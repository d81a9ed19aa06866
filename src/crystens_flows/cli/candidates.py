"""Commands on the candidates of a store: build, query, show, export, upgrade."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from crystens_flows.cli.candidate_options import (
    Campaign,
    Chemsys,
    Descending,
    Elements,
    Engine,
    Formula,
    Limit,
    MaxEnergyAboveHull,
    MaxEnergyAboveHullDft,
    MaxFormationEnergy,
    MaxRank,
    MaxSites,
    MinEnergyAboveHull,
    MinFormationEnergy,
    MinSites,
    Saved,
    Skip,
    Sort,
    SpaceGroup,
    Status,
    Without,
    filters_of,
    given_options,
)
from crystens_flows.cli.options import Config, Format, OutputFormat, StoreSpec
from crystens_flows.cli.output import print_records, progress_bar, say
from crystens_flows.errors import InputError
from crystens_flows.export_format import ExportFormat

COLUMNS = [
    "candidate_id",
    "formula",
    "n_sites",
    "space_group",
    "status",
    "formation_energy_per_atom",
    "energy_above_hull",
    "energy_per_atom",
    "reason",
]

app = typer.Typer(
    help="Query, show and export candidates (made by 'crystens build' or 'discover').",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def _candidates(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def build(
    store: StoreSpec = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on building as jobs finish, until interrupted.")
    ] = False,
    interval: Annotated[
        float,
        typer.Option(
            "--interval", min=0.1, max=86_400, help="Seconds between two builds with --watch."
        ),
    ] = 30.0,
    accept_stand_in: Annotated[
        bool,
        typer.Option(
            "--accept-stand-in", help="Let relaxations by a stand-in for VASP count: a rehearsal."
        ),
    ] = False,
    config: Config = None,
) -> None:
    """
    Make candidates from the outputs of jobs that are new in the store.

    Run it after a flow ran with run_locally, jf or FireWorks; 'crystens discover' runs it itself.
    """
    from crystens_flows.builders import CandidateBuilder
    from crystens_flows.stores import ensure_indexes, open_stores

    stores = open_stores(store, create=watch)
    ensure_indexes(stores)
    builder = CandidateBuilder(stores.job_store, stores.candidates, accept_stand_in)
    while True:
        with progress_bar("building candidates"):
            updated = builder.run_incrementally()
        say(f"updated {updated} candidates, {stores.candidates.count()} in all")
        if not watch:
            return
        time.sleep(interval)


@app.command()
def query(
    context: typer.Context,
    formula: Formula = None,
    chemsys: Chemsys = None,
    elements: Elements = None,
    without: Without = None,
    space_group: SpaceGroup = None,
    min_sites: MinSites = None,
    max_sites: MaxSites = None,
    status: Status = None,
    campaign: Campaign = None,
    engine: Engine = None,
    min_formation_energy: MinFormationEnergy = None,
    max_formation_energy: MaxFormationEnergy = None,
    min_energy_above_hull: MinEnergyAboveHull = None,
    max_energy_above_hull: MaxEnergyAboveHull = None,
    max_energy_above_hull_dft: MaxEnergyAboveHullDft = None,
    max_rank: MaxRank = None,
    sort: Sort = None,
    descending: Descending = False,
    limit: Limit = 20,
    skip: Skip = 0,
    output_format: Format = OutputFormat.TABLE,
    save: Annotated[
        str | None,
        typer.Option("--save", help="Keep these options under a name, for --saved."),
    ] = None,
    saved: Saved = None,
    store: StoreSpec = None,
    config: Config = None,
) -> None:
    """List candidates."""
    from crystens_flows.saved_queries import query_file, save_query
    from crystens_flows.stores import open_stores

    if save is not None:
        query_file(save)  # a wrong name is told before anything is read
    candidates = open_stores(store, create=False).candidates
    filters = filters_of(context.params)
    found = candidates.query(
        **filters, sort=sort, descending=descending, limit=limit, skip=skip, properties=COLUMNS
    )
    records = [{column: document.get(column) for column in COLUMNS} for document in found]
    print_records(records, COLUMNS, output_format)
    say(f"{candidates.count(**filters)} candidates match")
    if save is not None:
        say(f"saved as {save_query(save, given_options(context))}")


@app.command()
def saved(output_format: Format = OutputFormat.TABLE) -> None:
    """List the saved queries."""
    from crystens_flows.saved_queries import saved_queries

    rows = [{"name": name, "options": options} for name, options in saved_queries().items()]
    print_records(rows, ["name", "options"], output_format)


@app.command()
def upgrade(store: StoreSpec = None, config: Config = None) -> None:
    """
    Rewrite candidates that an earlier version stored as this version stores them.

    It can be interrupted and run again, also while jobs run and candidates are built.
    """
    from crystens_flows.stores import open_stores

    summary = open_stores(store, create=False).candidates.upgrade()
    for identifier, reason in summary.refused.items():
        say(f"{identifier}: {reason}")
    say(f"upgraded {summary.n_upgraded} candidates; {len(summary.refused)} cannot be")


@app.command()
def show(
    candidate_id: Annotated[str, typer.Argument(help="Identifier, e.g. c-0123456789abcdef0123.")],
    output_format: Format = OutputFormat.TABLE,
    store: StoreSpec = None,
    config: Config = None,
) -> None:
    """Show all that is known of one candidate, and say why it was chosen or not."""
    from crystens_flows.document_fields import spread
    from crystens_flows.explanation import explain
    from crystens_flows.stores import open_stores

    found = open_stores(store, create=False).candidates.get(candidate_id)
    document = found.model_dump(mode="json")
    if output_format is OutputFormat.JSON:
        print_records([document], [], output_format)
    else:
        rows = [{"field": key, "value": value} for key, value in spread(document)]
        if output_format is OutputFormat.TABLE:
            for sentence in explain(found):
                typer.echo(sentence)
            typer.echo()
        print_records(rows, ["field", "value"], output_format)


@app.command()
def export(
    context: typer.Context,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the files.")],
    structure_format: Annotated[
        ExportFormat,
        typer.Option("--format", help="A file each, or one with all: extxyz, or csv for a table."),
    ] = ExportFormat.CIF,
    formula: Formula = None,
    chemsys: Chemsys = None,
    elements: Elements = None,
    without: Without = None,
    space_group: SpaceGroup = None,
    min_sites: MinSites = None,
    max_sites: MaxSites = None,
    status: Status = None,
    campaign: Campaign = None,
    engine: Engine = None,
    min_formation_energy: MinFormationEnergy = None,
    max_formation_energy: MaxFormationEnergy = None,
    min_energy_above_hull: MinEnergyAboveHull = None,
    max_energy_above_hull: MaxEnergyAboveHull = None,
    max_energy_above_hull_dft: MaxEnergyAboveHullDft = None,
    max_rank: MaxRank = None,
    sort: Sort = None,
    descending: Descending = False,
    limit: Limit = 1000,
    saved: Saved = None,
    store: StoreSpec = None,
    config: Config = None,
) -> None:
    """Write candidates, with the relaxed structure where there is one."""
    from crystens_flows.candidate_export import EXPORT_FIELDS
    from crystens_flows.candidates import export as export_candidates
    from crystens_flows.cli.folders import FolderWriter
    from crystens_flows.stores import open_stores

    with FolderWriter(output) as writer:
        candidates = open_stores(store, create=False).candidates
        found = candidates.query(
            **filters_of(context.params),
            sort=sort,
            descending=descending,
            limit=limit,
            properties=EXPORT_FIELDS,
        )
        counted = _Counted(found)
        files, left_out = export_candidates(counted, writer.temporary, structure_format.value)
        if not files:
            raise InputError("no candidate with a structure matches: loosen the filters")
    what = "candidates" if structure_format is ExportFormat.CSV else "structures"
    none = f"; {len(left_out)} candidates have none" if what == "structures" else ""
    say(f"wrote {counted.n - len(left_out)} {what} to {output}{none}")


class _Counted:
    """Count what passes through."""

    def __init__(self, members: Iterable[dict[str, Any]]) -> None:
        self.members = members
        self.n = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for member in self.members:
            self.n += 1
            yield member

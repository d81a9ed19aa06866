"""Commands on the candidates of a store: build, query, show, export."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from crystens_flows.candidate_status import CandidateStatus
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


def _check(parameter: typer.CallbackParam, value: str | None) -> str | None:
    """Check a value that can be wrong for what it is compared with."""
    if value is None:
        return None
    from crystens_flows.candidate_criteria import check_field
    from crystens_flows.candidate_filters import filter_criteria

    try:
        if parameter.name == "sort":
            check_field(value)
        elif parameter.name == "elements":
            filter_criteria(elements=_symbols(value))
        elif parameter.name == "formula":
            filter_criteria(formula=value)
        else:
            filter_criteria(chemsys=value)
    except InputError as exc:
        raise typer.BadParameter(str(exc)) from None
    return value


Formula = Annotated[
    str | None, typer.Option("--formula", help="Formula, e.g. NaCl.", callback=_check)
]
Chemsys = Annotated[
    str | None,
    typer.Option(
        "--chemsys", help="Chemical system, e.g. Na-Cl: just these elements.", callback=_check
    ),
]
Elements = Annotated[
    str | None,
    typer.Option("--elements", help="Elements that must be there, e.g. Na,O.", callback=_check),
]
Status = Annotated[CandidateStatus | None, typer.Option("--status", help="How far it has come.")]
Campaign = Annotated[str | None, typer.Option("--campaign", help="Name of the campaign.")]
MaxFormationEnergy = Annotated[
    float | None,
    typer.Option("--max-formation-energy", help="Highest predicted formation energy, eV/atom."),
]
MaxEnergyAboveHull = Annotated[
    float | None,
    typer.Option("--max-energy-above-hull", help="Highest predicted energy above hull, eV/atom."),
]
Sort = Annotated[
    str | None, typer.Option("--sort", help="Field to sort by, lowest first.", callback=_check)
]
Descending = Annotated[bool, typer.Option("--descending", help="Highest first.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Most candidates.")]
Skip = Annotated[int, typer.Option("--skip", min=0, help="Candidates to pass over first.")]


def build(
    store: StoreSpec = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on building as jobs finish, until interrupted.")
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, help="Seconds between two builds with --watch.")
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
    formula: Formula = None,
    chemsys: Chemsys = None,
    elements: Elements = None,
    status: Status = None,
    campaign: Campaign = None,
    max_formation_energy: MaxFormationEnergy = None,
    max_energy_above_hull: MaxEnergyAboveHull = None,
    sort: Sort = None,
    descending: Descending = False,
    limit: Limit = 20,
    skip: Skip = 0,
    output_format: Format = OutputFormat.TABLE,
    store: StoreSpec = None,
    config: Config = None,
) -> None:
    """List candidates."""
    from crystens_flows.stores import open_stores

    candidates = open_stores(store, create=False).candidates
    filters = _filters(
        formula, chemsys, elements, status, campaign, max_formation_energy, max_energy_above_hull
    )
    found = candidates.query(
        **filters, sort=sort, descending=descending, limit=limit, skip=skip, properties=COLUMNS
    )
    records = [{column: document.get(column) for column in COLUMNS} for document in found]
    print_records(records, COLUMNS, output_format)
    say(f"{candidates.count(**filters)} candidates match")


@app.command()
def show(
    candidate_id: Annotated[str, typer.Argument(help="Identifier, e.g. c-0123456789abcdef0123.")],
    output_format: Format = OutputFormat.TABLE,
    store: StoreSpec = None,
    config: Config = None,
) -> None:
    """Show all that is known of one candidate, and say why it was chosen or not."""
    from crystens_flows.explanation import explain
    from crystens_flows.stores import open_stores

    found = open_stores(store, create=False).candidates.get(candidate_id)
    document = found.model_dump(mode="json")
    if output_format is OutputFormat.JSON:
        print_records([document], [], output_format)
    else:
        rows = [{"field": key, "value": value} for key, value in _flat(document)]
        if output_format is OutputFormat.TABLE:
            for sentence in explain(found):
                typer.echo(sentence)
            typer.echo()
        print_records(rows, ["field", "value"], output_format)


@app.command()
def export(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the files.")],
    structure_format: Annotated[
        ExportFormat, typer.Option("--format", help="Format of the structures.")
    ] = ExportFormat.CIF,
    formula: Formula = None,
    chemsys: Chemsys = None,
    elements: Elements = None,
    status: Status = None,
    campaign: Campaign = None,
    max_formation_energy: MaxFormationEnergy = None,
    max_energy_above_hull: MaxEnergyAboveHull = None,
    sort: Sort = None,
    descending: Descending = False,
    limit: Limit = 1000,
    store: StoreSpec = None,
    config: Config = None,
) -> None:
    """Write the structures of candidates, the relaxed one where there is one, a file each."""
    from crystens_flows.candidates import export as export_structures
    from crystens_flows.cli.folders import FolderWriter
    from crystens_flows.stores import open_stores

    filters = _filters(
        formula, chemsys, elements, status, campaign, max_formation_energy, max_energy_above_hull
    )
    with FolderWriter(output) as writer:
        candidates = open_stores(store, create=False).candidates
        found = candidates.documents(**filters, sort=sort, descending=descending, limit=limit)
        files, without = export_structures(found, writer.temporary, structure_format.value)
        if not files:
            raise InputError("no candidate with a structure matches: loosen the filters")
    say(f"wrote {len(files)} structures to {output}; {len(without)} candidates have none")


def _filters(
    formula: str | None,
    chemsys: str | None,
    elements: str | None,
    status: CandidateStatus | None,
    campaign: str | None,
    max_formation_energy: float | None,
    max_energy_above_hull: float | None,
) -> dict[str, Any]:
    return {
        "formula": formula,
        "chemsys": chemsys,
        "elements": _symbols(elements) if elements else None,
        "status": status,
        "campaign": campaign,
        "formation_energy_per_atom": (
            None if max_formation_energy is None else (None, max_formation_energy)
        ),
        "energy_above_hull": (
            None if max_energy_above_hull is None else (None, max_energy_above_hull)
        ),
    }


def _symbols(elements: str) -> list[str]:
    return [symbol.strip() for symbol in elements.split(",")]


def _flat(document: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Spread a document over dotted names; a structure becomes its sites in short."""
    rows: list[tuple[str, Any]] = []
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value.get("@class") == "Structure":
            from crystens_flows.msonable import structure_from_dict

            rows.append((name, str(structure_from_dict(value))))
        elif isinstance(value, dict) and value:
            rows += _flat(value, f"{name}.")
        else:
            rows.append((name, value))
    return rows

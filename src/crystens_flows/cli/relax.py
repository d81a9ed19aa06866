"""The command that relaxes structures of any origin four times each."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystens_flows.cli.options import Config, Format, OutputFormat
from crystens_flows.cli.output import print_records, progress_bar, say
from crystens_flows.errors import InputError

if TYPE_CHECKING:
    from crystens_flows.relax_results import RelaxInput, RelaxRun
    from crystens_flows.relax_run import RelaxOptions

COLUMNS = [
    *("index", "id", "formula", "E0", "E4", "P1", "P4", "volume_change", "space_group", "rmsd"),
    *("converged", "status"),
]
UNITS = (
    "E0 before and E4 after four relaxations, eV a cell; P1 and P4 after the first and the fourth, "
    "kbar; volume_change in %; rmsd of the sites in A"
)
ENGINES = ("vasp", "vasp-mp", "gpaw", "chgnet", "7net-l3i5")
NEWLY = (
    "engine",
    "steps",
    "fmax",
    "hull_entries",
    "campaign",
    "store",
    "number",
    "dry_run",
    "config",
)
"""What is not to be given with --resume: the folder has it."""


def engine_name(value: str) -> str:
    """Take the name of an engine; a usage error lists those known."""
    from crystens_flows.jobs.engines import find_engine

    try:
        find_engine(value)
    except InputError as exc:
        raise typer.BadParameter(str(exc)) from None
    return value


EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help=f"What relaxes: {', '.join(ENGINES)}, or the path of an ASE calculator "
        "(package.module.Class).",
        callback=engine_name,
    ),
]
Sources = Annotated[
    list[str] | None,
    typer.Argument(
        help="CIF files or folders, CSV files with a cif column, JSON, JSONL, extended XYZ or "
        "POSCAR files, ASE databases, or data set files.",
        show_default=False,
    ),
]


def relax(
    context: typer.Context,
    structures: Sources = None,
    engine: EngineName = "chgnet",
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")] = Path(
        "crystens-relaxed"
    ),
    number: Annotated[
        int | None, typer.Option("-n", "--number", min=1, help="Only the first so many.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=1,
            help="Ionic steps of each relaxation at most; not of vasp-mp.",
            show_default="the engine's",
        ),
    ] = None,
    fmax: Annotated[
        float | None,
        typer.Option(
            "--fmax",
            min=1e-6,
            help="Force at which each relaxation ends, eV/A; not of VASP.",
            show_default="the engine's",
        ),
    ] = None,
    hull_entries: Annotated[
        str | None,
        typer.Option(
            "--hull-entries",
            help="What vasp-mp holds energies against: a JSON file of pymatgen's ComputedEntries, "
            "or 'mp' to ask the Materials Project, with an API key.",
            show_default=False,
        ),
    ] = None,
    campaign: Annotated[
        str, typer.Option("--campaign", help="Name of the campaign, kept with each candidate.")
    ] = "default",
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            help="Store folder, store file (YAML) or mongodb:// URI; else the configured one; "
            "else embedded, in the folder of the run.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in the folder; failed steps are tried again."
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what the engine would be given, and run nothing: for VASP the INCAR, "
            "KPOINTS, POSCAR and POTCAR labels of each step.",
        ),
    ] = False,
    output_format: Format = OutputFormat.TABLE,
    config: Config = None,
) -> None:
    """
    Relax structures four times each, with VASP, GPAW, a potential or any ASE calculator.

    The folder gets relaxed/*.cif, relaxations.csv and .json, summary.json, figure13.svg and the
    store, where each structure is a candidate. Started again with the same folder, or with
    --resume, a run that was interrupted goes on: what finished is not done again, what failed is.
    """
    from crystens_flows.relax_results import write_results
    from crystens_flows.relax_run import RelaxOptions
    from crystens_flows.report.relaxations import with_dft
    from crystens_flows.settings import get_settings

    if resume:
        _refuse_with_resume(context, structures)
        run = _resumed(output)
    else:
        if not structures:
            raise typer.BadParameter("give structures, or --resume and the folder of a run")
        given = _read(structures, number)
        options = RelaxOptions(
            engine=engine,
            steps=steps,
            fmax=fmax,
            hull_entries=hull_entries,
            campaign=campaign,
            store=store or get_settings().STORE,
        )
        if dry_run:
            _print_dry_run(given, options, output_format)
            return
        run = _run(options, given, output)
    summary = write_results(run, output)
    records = run.records
    if output_format is OutputFormat.TABLE:
        records = [
            {**record, "status": f"{record['status']} (stand-in)"} if record["stand_in"] else record
            for record in records
        ]
    print_records(records, with_dft(COLUMNS, records), output_format)
    _say_summary(run, summary, output)
    if run.count("relaxed") == 0:
        raise typer.Exit(1)


def _refuse_with_resume(context: typer.Context, structures: list[str] | None) -> None:
    if structures:
        raise typer.BadParameter("--resume takes no structures: the folder has those of its run")
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in NEWLY and getattr(source, "name", None) == "COMMANDLINE":
            option = max(parameter.opts, key=len)
            raise typer.BadParameter(f"{option} cannot be changed with --resume: the run has it")


def _read(sources: list[str], number: int | None) -> list[RelaxInput]:
    from crystens_flows.datasets.rows import read_rows
    from crystens_flows.relax_results import RelaxInput

    given: list[RelaxInput] = []
    with progress_bar("reading") as progress:
        for row in islice(read_rows(sources), number):
            given.append(RelaxInput.from_row(row))
            progress(len(given), number or len(given))
    if not given:
        raise InputError(f"{', '.join(sources)}: no structure to relax")
    return given


def _run(options: RelaxOptions, given: list[RelaxInput], output: Path) -> RelaxRun:
    from crystens_flows.preflight import check_engine, require
    from crystens_flows.relax_run import run_relax

    options.maker()  # a wrong option is said before what is missing
    elements = {
        element.symbol for each in given if each.structure for element in each.structure.elements
    }
    checks = check_engine(options.engine, elements, quick=True)
    require(checks, options.engine)
    for each in checks:
        if each.fails:  # structures of some elements; they are reported, and the others relaxed
            say(f"{each.what}: {each.found}: {each.remedy}")
    with progress_bar("starting") as progress:
        return run_relax(options, given, output, progress)


def _resumed(output: Path) -> RelaxRun:
    from crystens_flows.relax_run import kept_run

    options, given = kept_run(output)
    return _run(options, given, output)


def _say_summary(run: RelaxRun, summary: dict[str, Any], output: Path) -> None:
    say(UNITS)
    if summary["stand_in"]:
        from crystens_flows.report.relaxations import STAND_IN

        say(
            f"energies and pressures were {STAND_IN}; the store has the candidates as rejected: "
            "'crystens build --accept-stand-in' lets them count, in rehearsals"
        )
    say(
        f"{summary['n_structures']} structures: relaxed {summary['n_relaxed']}, "
        f"failed {summary['n_failed']}, unreadable {summary['n_unreadable']}"
    )
    for each in summary["not_relaxed"]:
        reason = str(each["reason"]).removeprefix(f"{each['status']}: ")
        folder = each["failed_in"]
        where = f" (in {folder})" if folder and str(Path(folder).absolute()) not in reason else ""
        say(f"  {each['status']}: {each['entry']}: {reason}{where}")
    say(
        f"relaxed structures: {output}/relaxed, table: {output}/relaxations.csv, "
        f"figure: {output}/figure13.svg\nstore: {run.store}"
    )
    if summary["n_failed"]:
        say(f"try what failed again: crystens relax --resume -o {output}")


def _print_dry_run(
    given: list[RelaxInput], options: RelaxOptions, output_format: OutputFormat
) -> None:
    import json

    from crystens_flows.dry_run import dry_run_records, dry_run_text

    if output_format is OutputFormat.CSV:
        raise typer.BadParameter("--dry-run prints text or JSON, no CSV")
    maker = options.maker()
    records = dry_run_records(maker, [(each.entry, each.structure) for each in given])
    if output_format is OutputFormat.JSON:
        typer.echo(json.dumps(records, indent=1))
    else:
        typer.echo(dry_run_text(records, options.engine), nl=False)
    wrong = [each.reason or record["reason"] for each, record in zip(given, records, strict=True)]
    for each, reason in zip(given, wrong, strict=True):
        if reason:
            say(f"left out: {each.entry}: {reason}")
    if all(wrong):
        raise typer.Exit(1)

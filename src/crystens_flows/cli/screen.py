"""The command that screens structures of any origin."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystens_flows.cli.folders import FolderWriter
from crystens_flows.cli.options import Config, Format, OutputFormat
from crystens_flows.cli.output import print_records, progress_bar, reasons, say
from crystens_flows.cli.screening_options import (
    Hull,
    Known,
    MaxEnergyAboveHull,
    Models,
    PerSystem,
    Pool,
    RankBy,
    RankedQuantity,
    RejectKnown,
    RequireChargeBalance,
    Select,
    screening_options,
)
from crystens_flows.errors import InputError

if TYPE_CHECKING:
    from crystens_flows.datasets.rows import StructureRow
    from crystens_flows.screening.pipeline import ScreenedStructure, ScreeningOptions
    from crystens_flows.screening.tuning import TuningResult

_MIXTURES = ("decomposition", "oxidation_states", "elements_replaced")
"""By element or formula: one column of JSON, not a column for each element."""

COLUMNS = [
    *("index", "id", "formula", "n_sites", "energy_above_hull", "formation_energy_per_atom"),
    *("smact_valid", "known_as", "status"),
]
BEST = 10


def screen(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="CIF files or folders, CSV files with a cif column, JSON, JSONL, extended XYZ or "
            "POSCAR files, ASE databases, or data set files."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path(
        "crystens-screened"
    ),
    number: Annotated[
        int | None, typer.Option("-n", "--number", min=1, help="Only the first so many.")
    ] = None,
    max_energy_above_hull: MaxEnergyAboveHull = 0.1,
    rank_by: RankBy = RankedQuantity.ENERGY_ABOVE_HULL,
    pool: Pool = 35,
    select: Select = 6,
    per_system: PerSystem = 1,
    models: Models = None,
    hull: Hull = "shipped",
    known: Known = "shipped",
    reject_known: RejectKnown = False,
    require_charge_balance: RequireChargeBalance = False,
    relax_steps: Annotated[
        int,
        typer.Option(
            "--relax-steps",
            min=0,
            help="Relax with a potential so many steps at most, before its energy is taken and "
            "after tuning.",
        ),
    ] = 0,
    tune: Annotated[
        bool, typer.Option("--tune", help="Tune what is selected: symmetry, impossible elements.")
    ] = False,
    output_format: Format = OutputFormat.TABLE,
    config: Config = None,
) -> None:
    """
    Screen structures from anywhere: every model on every structure, hull, selection.

    The folder gets records.json (one record for each structure, in order), records.csv, the
    selected structures as CIF, the options, and the models with their versions.
    """
    from crystens_flows.datasets.rows import count_rows, read_rows
    from crystens_flows.screening.pipeline import nested_record, screen_structures

    options = screening_options(
        pool=pool,
        select=select,
        rank_by=rank_by,
        max_energy_above_hull=max_energy_above_hull,
        per_system=per_system,
        models=models,
        hull=hull,
        known=known,
        reject_known=reject_known,
        require_charge_balance=require_charge_balance,
        relax_steps=relax_steps,
    )
    with FolderWriter(output) as writer:
        rows: list[StructureRow] = []
        with progress_bar("reading") as progress:
            total = count_rows(sources)
            for row in islice(read_rows(sources), number):
                rows.append(row)
                progress(len(rows), min(total or len(rows), number or total or len(rows)))
        if not rows:
            raise InputError(f"{', '.join(sources)}: no structure to screen")
        # torch and e3nn warn of each other
        with progress_bar("screening") as progress, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            screened = screen_structures(
                [f"{row.index:06d}" for row in rows],
                [row.structure for row in rows],
                options,
                progress,
                unreadable=[row.reason for row in rows],
            )
        tuned = _tune(screened, relax_steps) if tune else {}
        names = [each.name for each in options.screens()]
        records = []
        for row, each in zip(rows, screened, strict=True):
            record = nested_record(each, names) | {"id": row.material_id, "tuning": None}
            if each.candidate_id in tuned:
                result = tuned[each.candidate_id]
                record["tuning"] = {"changed": result.changed, "reason": result.summary}
                record["tuning"] |= result.to_dict()
            records.append({"index": row.index, "entry": row.entry, **record})
        _write(writer, records, screened, tuned, options)
    _print(records, output_format)
    _summary(records, screened, output)


def _tune(screened: list[ScreenedStructure], relax_steps: int) -> dict[str, TuningResult]:
    from crystens_flows.screening.tuning import tune_with

    chosen = {
        each.candidate_id: each.structure
        for each in screened
        if each.status == "selected" and each.structure is not None
    }
    results = tune_with(list(chosen.values()), relax_steps=relax_steps)
    return dict(zip(chosen, results, strict=True))


def _write(
    writer: FolderWriter,
    records: list[dict[str, Any]],
    screened: list[ScreenedStructure],
    tuned: dict[str, TuningResult],
    options: ScreeningOptions,
) -> None:
    import yaml

    writer.path("records.json").write_text(json.dumps(records, indent=1, allow_nan=False) + "\n")
    writer.save_rows("records.csv", _table(records))
    writer.path("options.yaml").write_text(
        yaml.safe_dump(options.model_dump(mode="json"), sort_keys=False)
    )
    models = {each.name: each.model() for each in options.screens()}
    writer.path("models.json").write_text(json.dumps(models, indent=1) + "\n")
    folder = writer.path("selected")
    for record, each in zip(records, screened, strict=True):
        if each.status != "selected" or each.structure is None:
            continue
        folder.mkdir(exist_ok=True)
        name = f"{record['rank']:03d}-{record['index']}-{record['formula']}"
        each.structure.to(str(folder / f"{name}.cif"), fmt="cif")
        if each.candidate_id in tuned and tuned[each.candidate_id].changed:
            structure = tuned[each.candidate_id].structure
            structure.to(str(folder / f"{name}-tuned.cif"), fmt="cif")


def _table(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Spread records over the columns that any of them has."""
    rows = [_flat(record) for record in records]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in columns} for row in rows]


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Spread a record over dotted columns; lists and mixtures as JSON."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict) and key not in _MIXTURES:
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | dict):
            flat[f"{prefix}{key}"] = json.dumps(value)
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _print(records: list[dict[str, Any]], output_format: OutputFormat) -> None:
    if output_format is OutputFormat.JSON:
        print_records(records, [], output_format)
    elif output_format is OutputFormat.CSV:
        flat = _table(records)
        print_records(flat, list(flat[0]), output_format)
    else:
        judged = [r for r in records if (r["selection"] or {}).get("value") is not None]
        best = sorted(judged, key=lambda r: (r["selection"]["value"], r["index"]))
        print_records(best[:BEST], COLUMNS, output_format)


def _summary(
    records: list[dict[str, Any]], screened: list[ScreenedStructure], output: Path
) -> None:
    left = len(records)
    say(f"{left} structures")
    fallen = Counter(each.rejected_by for each in screened if each.rejected_by is not None)
    stages = ["read", *dict.fromkeys(name for each in screened for name in each.records), "select"]
    for stage in stages:
        left -= fallen[stage]
        say(f"  {stage:<9} {fallen[stage]:6d} fell, {left:6d} left")
        why = Counter(
            str(each.reason).split(":")[0] for each in screened if each.rejected_by == stage
        )
        for line in reasons(why):
            say(f"  {line}")
    chosen = sum(record["status"] == "selected" for record in records)
    say(f"selected {chosen}: {output / 'selected'}; all records: {output / 'records.json'}")

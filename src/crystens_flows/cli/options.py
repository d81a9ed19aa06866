"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml


class OutputFormat(StrEnum):
    """How records are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take the values of a YAML file as defaults of the options of the same names."""
    if path is None or context.resilient_parsing:
        return path
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError:
        raise typer.BadParameter(f"there is no file {path}: give a YAML file of options") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        reason = str(exc).splitlines()[0]
        raise typer.BadParameter(f"{path} cannot be read as YAML: {reason}") from None
    if not isinstance(values, dict):
        raise typer.BadParameter(f"{path} must hold 'option: value' lines")
    context.default_map = {**(context.default_map or {}), **_named(context, path, values)}
    return path


def _named(context: typer.Context, path: Path, values: dict[Any, Any]) -> dict[str, Any]:
    """Match the keys of a configuration file with the options of a command."""
    known = {
        option.removeprefix("--"): parameter.name
        for parameter in context.command.params
        for option in parameter.opts
        if option.startswith("--") and option not in ("--config", "--help")
    }
    found = {}
    for key, value in values.items():
        name = known.get(str(key).replace("_", "-"))
        if name is None:
            raise typer.BadParameter(
                f"{path} names an unknown option '{key}': known are {', '.join(sorted(known))}"
            )
        found[name] = value
    return found


def _generator(name: str) -> str:
    """Take the name of a shipped generator or an existing folder."""
    from crystens_flows.generators import SHIPPED_GENERATORS

    if name not in SHIPPED_GENERATORS and not Path(name).is_dir():
        raise typer.BadParameter(
            f"there is no generator '{name}': give a shipped name "
            f"({', '.join(sorted(SHIPPED_GENERATORS))}) or the folder of a checkpoint"
        )
    return name


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="YAML file of the same options (long names, without dashes).",
        callback=read_config,
        is_eager=True,
        show_default=False,
    ),
]
Number = Annotated[int, typer.Option("-n", "--number", min=1, help="How many samples.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all that is random.")]
GeneratorName = Annotated[
    str,
    typer.Option(
        "--generator",
        help="A shipped generator or the folder of a checkpoint.",
        callback=_generator,
    ),
]
Format = Annotated[OutputFormat, typer.Option("--format", help="How records are printed.")]
StoreSpec = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Store folder, store file (YAML) or mongodb:// URI; else the configured one; else "
        "the folder where 'discover' writes by default.",
        show_default=False,
    ),
]

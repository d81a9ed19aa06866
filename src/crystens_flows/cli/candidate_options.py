"""Options by which candidates are asked for, shared by the commands that do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crystens_flows.candidate_status import CandidateStatus
from crystens_flows.cli.options import read_config
from crystens_flows.errors import InputError


def _check(parameter: typer.CallbackParam, value: Any) -> Any:
    """Check a value that can be wrong for what it is compared with."""
    if value is None:
        return None
    from crystens_flows.candidate_criteria import check_sort
    from crystens_flows.candidate_filters import filter_criteria

    try:
        if parameter.name == "sort":
            check_sort(value)
        elif parameter.name in ("elements", "without"):
            filter_criteria(elements=_symbols(value))
        else:
            filter_criteria(**{str(parameter.name): value})
    except InputError as exc:
        raise typer.BadParameter(str(exc)) from None
    return value


def _saved(context: typer.Context, name: str | None) -> str | None:
    """Take the options of a saved query as defaults, as those of a configuration file."""
    if name is None or context.resilient_parsing:
        return name
    from crystens_flows.saved_queries import query_file

    try:
        file = query_file(name)
    except InputError as exc:
        raise typer.BadParameter(str(exc)) from None
    if not file.is_file():
        raise typer.BadParameter(
            f"there is no saved query '{name}': `crystens candidates saved` lists those there are"
        )
    read_config(context, file)
    return name


Formula = Annotated[
    str | None,
    typer.Option("--formula", help="Formula in any spelling, e.g. NaCl.", callback=_check),
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
Without = Annotated[
    str | None,
    typer.Option("--without", help="Elements that must not be there, e.g. U,Pb.", callback=_check),
]
SpaceGroup = Annotated[
    int | None,
    typer.Option("--space-group", help="Number of the space group stated.", min=1, max=230),
]
MinSites = Annotated[int | None, typer.Option("--min-sites", help="Fewest sites.")]
MaxSites = Annotated[int | None, typer.Option("--max-sites", help="Most sites.")]
Status = Annotated[CandidateStatus | None, typer.Option("--status", help="How far it has come.")]
Campaign = Annotated[
    str | None, typer.Option("--campaign", help="Name of the campaign.", callback=_check)
]
Engine = Annotated[
    str | None,
    typer.Option("--engine", help="What relaxed it, e.g. VASP or CHGNet.", callback=_check),
]
MinFormationEnergy = Annotated[
    float | None,
    typer.Option("--min-formation-energy", help="Lowest predicted formation energy, eV/atom."),
]
MaxFormationEnergy = Annotated[
    float | None,
    typer.Option("--max-formation-energy", help="Highest predicted formation energy, eV/atom."),
]
MinEnergyAboveHull = Annotated[
    float | None,
    typer.Option("--min-energy-above-hull", help="Lowest predicted energy above hull, eV/atom."),
]
MaxEnergyAboveHull = Annotated[
    float | None,
    typer.Option("--max-energy-above-hull", help="Highest predicted energy above hull, eV/atom."),
]
MaxEnergyAboveHullDft = Annotated[
    float | None,
    typer.Option("--max-energy-above-hull-dft", help="Highest energy above hull by DFT, eV/atom."),
]
MaxRank = Annotated[
    int | None, typer.Option("--max-rank", help="Last rank in the selection, from 1.")
]
Sort = Annotated[
    str | None, typer.Option("--sort", help="Field to sort by, lowest first.", callback=_check)
]
Descending = Annotated[bool, typer.Option("--descending", help="Highest first.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Most candidates.")]
Skip = Annotated[int, typer.Option("--skip", min=0, help="Candidates to pass over first.")]
Saved = Annotated[
    str | None,
    typer.Option(
        "--saved",
        help="Name of a saved query whose options are the defaults.",
        callback=_saved,
        is_eager=True,
        show_default=False,
    ),
]

_SAVED_OPTIONS = (
    *("formula", "chemsys", "elements", "without", "space_group", "min_sites", "max_sites"),
    *("status", "campaign", "engine", "min_formation_energy", "max_formation_energy"),
    *("min_energy_above_hull", "max_energy_above_hull", "max_energy_above_hull_dft"),
    *("max_rank", "sort", "descending", "limit"),
)


def given_options(context: typer.Context) -> dict[str, Any]:
    """
    Return the options that were given, in a file or on the line, by their long names.

    Parameters
    ----------
    context
        Of a command with all of these options.
    """
    found = {}
    for name in _SAVED_OPTIONS:
        source = context.get_parameter_source(name)
        value = context.params[name]
        if value is not None and source is not None and source.name != "DEFAULT":
            found[name.replace("_", "-")] = str(value) if isinstance(value, str) else value
    return found


def filters_of(options: dict[str, Any]) -> dict[str, Any]:
    """
    Return the filters that options ask for.

    Parameters
    ----------
    options
        Parameters of a command, by name.
    """
    filters = {
        name: options[name]
        for name in ("formula", "chemsys", "space_group", "status", "campaign", "engine")
    }
    filters["elements"] = _symbols(options["elements"])
    filters["without_elements"] = _symbols(options["without"])
    for name, option in (
        ("formation_energy_per_atom", "formation_energy"),
        ("energy_above_hull", "energy_above_hull"),
        ("energy_above_hull_dft", "energy_above_hull_dft"),
        ("n_sites", "sites"),
        ("rank", "rank"),
    ):
        bounds = (options.get(f"min_{option}"), options.get(f"max_{option}"))
        filters[name] = None if bounds == (None, None) else bounds
    return filters


def _symbols(elements: str | None) -> list[str] | None:
    return None if elements is None else [symbol.strip() for symbol in elements.split(",")]

"""Options on screening and selection that several commands share."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from crystens_flows.screening.pipeline import ScreeningOptions

MODELS = ("cgcnn", "m3gnet", "chgnet", "sevennet")


class RankedQuantity(StrEnum):
    """What candidates are ranked by, lowest first."""

    ENERGY_ABOVE_HULL = "energy_above_hull"
    FORMATION_ENERGY_PER_ATOM = "formation_energy_per_atom"


def _models(value: str | None) -> str | None:
    names = [name.strip() for name in value.split(",")] if value else []
    if unknown := [name for name in names if name not in MODELS]:
        raise typer.BadParameter(f"'{unknown[0]}' is no model: known are {', '.join(MODELS)}")
    if len(set(names)) < len(names):
        raise typer.BadParameter("a model is named twice: name each once")
    return value


def _hull(value: str) -> str:
    if value not in ("shipped", "mp") and not Path(value).is_file():
        raise typer.BadParameter(
            f"there is no file {value}: give a CSV file of formulas and formation energies, "
            "'shipped' or 'mp'"
        )
    return value


def _known(value: str) -> str:
    if value not in ("shipped", "none") and not Path(value).exists():
        raise typer.BadParameter(
            f"there is no file or folder {value}: give known crystals, 'shipped' or 'none'"
        )
    return value


Pool = Annotated[int, typer.Option("--pool", min=0, help="So many, best ranked, are the pool.")]
Select = Annotated[int, typer.Option("--select", min=0, help="Of the pool so many are selected.")]
RankBy = Annotated[
    RankedQuantity, typer.Option("--rank-by", help="What candidates are ranked by, lowest first.")
]
MaxEnergyAboveHull = Annotated[
    float | None,
    typer.Option("--max-energy-above-hull", help="Reject what is predicted to be higher, eV/atom."),
]
PerSystem = Annotated[
    int,
    typer.Option(
        "--per-system", min=0, help="Most selected of one chemical system; 0 for any number."
    ),
]
Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        help=f"Energy models, of {', '.join(MODELS)}, with commas; all that are installed by "
        "default.",
        callback=_models,
        show_default=False,
    ),
]
Hull = Annotated[
    str,
    typer.Option(
        "--hull",
        help="Known compounds: 'shipped', 'mp' (Materials Project, with an API key) or a CSV file "
        "with formula and formation_energy_per_atom.",
        callback=_hull,
    ),
]
Known = Annotated[
    str,
    typer.Option(
        "--known",
        help="Known crystals: 'shipped', 'none', or a data set or structures.",
        callback=_known,
    ),
]
RejectKnown = Annotated[
    bool, typer.Option("--reject-known", help="Reject known crystals, rather than mark them.")
]
RequireChargeBalance = Annotated[
    bool,
    typer.Option("--require-charge-balance", help="Reject what SMACT calls impossible."),
]


def screening_options(
    *,
    pool: int,
    select: int,
    rank_by: RankedQuantity,
    max_energy_above_hull: float | None,
    per_system: int,
    models: str | None,
    hull: str,
    known: str,
    reject_known: bool,
    require_charge_balance: bool,
    relax_steps: int = 0,
) -> ScreeningOptions:
    """Make the options of the screening from those of a command."""
    from crystens_flows.screening.pipeline import ScreeningOptions, default_models
    from crystens_flows.screening.selection import SelectionRules

    if max_energy_above_hull is not None and not math.isfinite(max_energy_above_hull):
        raise typer.BadParameter(
            f"--max-energy-above-hull {max_energy_above_hull} is no finite number: give a "
            "number of eV/atom"
        )
    if select > pool:
        raise typer.BadParameter(
            f"--select {select} is more than --pool {pool}: choose fewer, or a larger pool"
        )
    return ScreeningOptions.model_validate(
        {
            "models": [name.strip() for name in models.split(",")] if models else default_models(),
            "hull": hull,
            "known": None if known == "none" else known,
            "reject_known": reject_known,
            "require_charge_balance": require_charge_balance,
            "relax_steps": relax_steps,
            "selection": SelectionRules(
                rank_by=rank_by.value,
                max_energy_above_hull=max_energy_above_hull,
                max_per_chemical_system=per_system or None,
                n_pool=pool,
                n_select=select,
            ),
        }
    )

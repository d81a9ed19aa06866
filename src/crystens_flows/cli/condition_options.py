"""Options on what crystals are asked for, which several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from crystens_flows.generators.conditions import Conditions

Formula = Annotated[
    str | None,
    typer.Option(
        "--formula", help="All have this reduced formula, e.g. SrTiO3.", show_default=False
    ),
]
ChemicalSystem = Annotated[
    str | None,
    typer.Option(
        "--chemical-system",
        help="All have exactly these elements, e.g. Li-Fe-O.",
        show_default=False,
    ),
]
Sites = Annotated[
    int | None,
    typer.Option("--n-sites", help="Sites of the primitive cell.", show_default=False),
]
SpaceGroup = Annotated[
    int | None, typer.Option("--space-group", help="Space group number.", show_default=False)
]
FormationEnergy = Annotated[
    float | None,
    typer.Option(
        "--formation-energy",
        help="Formation energy that they should be near, eV/atom.",
        show_default=False,
    ),
]
BandGap = Annotated[
    float | None,
    typer.Option("--band-gap", help="Band gap that they should be near, eV.", show_default=False),
]
Guidance = Annotated[
    float,
    typer.Option(
        "--guidance",
        help="How strongly energy and gap are followed: 0 not at all, 1 as in the data.",
    ),
]


def conditions_of(
    *,
    formula: str | None,
    chemical_system: str | None,
    n_sites: int | None,
    space_group: int | None,
    formation_energy: float | None,
    band_gap: float | None,
    guidance: float,
) -> Conditions | None:
    """Make the conditions from the options of a command; None where nothing is asked for."""
    from crystens_flows.generators.conditions import Conditions

    conditions = Conditions(
        formula=formula,
        chemical_system=chemical_system,
        n_sites=n_sites,
        space_group=space_group,
        formation_energy_per_atom=formation_energy,
        band_gap=band_gap,
        guidance=guidance,
    )
    return conditions if conditions.asked else None

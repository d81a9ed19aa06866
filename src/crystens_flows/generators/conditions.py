"""What may be asked of a generated crystal."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crystens_flows.errors import InputError
from crystens_flows.generators.elements import MAX_ELEMENTS, MAX_Z, electronegativity_order
from crystens_flows.generators.wyckoff.occupation import can_hold
from crystens_flows.representation import MAX_SITES

AIMS = ("formation_energy_per_atom", "band_gap")
"""What is followed, and holds in part."""


class Conditions(BaseModel):
    """
    Conditions on generated crystals, each alone or together.

    Formula, chemical system and number of sites hold exactly, and the space group, or one that
    contains it; energy and gap are aimed at.

    Raises
    ------
    InputError
        If no crystal can meet them, with the reason.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    formula: str | None = Field(
        None, description="All crystals have this reduced formula, e.g. SrTiO3."
    )
    chemical_system: str | None = Field(
        None, description="All crystals have exactly these elements, e.g. Li-Fe-O."
    )
    n_sites: int | None = Field(None, description="Number of sites of the primitive cell.")
    space_group: int | None = Field(None, description="Space group number.")
    formation_energy_per_atom: float | None = Field(
        None, description="Formation energy in eV/atom that crystals should be near."
    )
    band_gap: float | None = Field(None, description="Band gap in eV that crystals should be near.")
    guidance: float = Field(
        2.0,
        description="How strongly energy and gap are followed: 0 not at all, 1 as often as in the "
        "training data, more beyond.",
    )

    @model_validator(mode="after")
    def _possible(self) -> Conditions:
        if self.formula is not None and self.chemical_system is not None:
            raise InputError("give a formula or a chemical system, not both")
        if self.n_sites is not None and not 1 <= self.n_sites <= MAX_SITES:
            raise InputError(f"a cell has 1 to {MAX_SITES} sites, not {self.n_sites}")
        if self.space_group is not None and not 1 <= self.space_group <= 230:
            raise InputError(f"space groups go from 1 to 230, not {self.space_group}")
        for name in AIMS:
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name} is {value}: give a finite number of eV")
        if self.band_gap is not None and self.band_gap < 0:
            raise InputError(f"a band gap is not negative: {self.band_gap} eV")
        if not 0 <= self.guidance <= 20:
            raise InputError(f"guidance is a number from 0 to 20, not {self.guidance}")
        sites, group = self.n_sites, self.space_group
        if sites is not None and group is not None and not can_hold(group, (sites,)):
            raise InputError(
                f"space group {group} cannot hold {sites} sites in a primitive cell: its Wyckoff "
                "positions have other multiplicities; ask for another number or group"
            )
        if self.formula is not None and not self.compositions:
            raise InputError(self._why_no_composition())
        elements = len(self.elements)
        if self.n_sites is not None and self.n_sites < elements:
            raise InputError(f"{self.n_sites} sites cannot hold {elements} elements: ask for more")
        return self

    @classmethod
    def of(cls, given: Conditions | Mapping[str, Any] | None) -> Conditions | None:
        """
        Take conditions as they are, or from a dictionary.

        Raises
        ------
        InputError
            If a name is unknown, a value of the wrong type, or no crystal can meet them.
        """
        if given is None or isinstance(given, Conditions):
            return given
        values = {name: given[name] for name in given if not name.startswith("@")}
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            first = exc.errors()[0]
            raise InputError(
                f"condition '{'.'.join(map(str, first['loc']))}': {first['msg']}; known are "
                f"{', '.join(cls.model_fields)}"
            ) from None

    def as_dict(self) -> dict[str, Any]:
        """Return the conditions as MSONable, as jobs are stored."""
        names = {"@module": type(self).__module__, "@class": type(self).__name__}
        return {**names, **self.model_dump()}

    def as_asked(self) -> dict[str, Any] | None:
        """Return what is asked for by name, with the guidance where it counts; None for nothing."""
        found = {name: getattr(self, name) for name in self.asked}
        if found.keys() & set(AIMS):
            found["guidance"] = self.guidance
        return found or None

    @property
    def aims(self) -> bool:
        """Whether an energy or a gap is followed."""
        return self.guidance > 0 and any(name in AIMS for name in self.asked)

    @property
    def asked(self) -> list[str]:
        """Names of the conditions that are set."""
        names = set(type(self).model_fields) - {"guidance"}
        return sorted(name for name in names if getattr(self, name) is not None)

    @cached_property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers asked for, in order of electronegativity; empty if none are."""
        from pymatgen.core import Element

        if self.formula is not None:
            return tuple(self._unit)
        if self.chemical_system is None:
            return ()
        try:
            numbers = {Element(symbol.strip()).Z for symbol in self.chemical_system.split("-")}
        except ValueError as exc:
            raise InputError(
                f"'{self.chemical_system}' is no chemical system: write e.g. Li-Fe-O"
            ) from exc
        return _checked(numbers, self.chemical_system)

    @cached_property
    def _unit(self) -> dict[int, int]:
        """Atoms of one reduced formula unit, in order of electronegativity."""
        from pymatgen.core import Composition, Element

        formula = self.formula
        wrong = f"'{formula}' is no formula with whole numbers: write e.g. NaF or SrTiO3"
        try:
            amounts = Composition(formula, strict=True).get_el_amt_dict()
            written: dict[int, float] = defaultdict(float)
            for symbol, amount in amounts.items():
                written[Element(symbol).Z] += amount
        except (ValueError, KeyError) as exc:
            raise InputError(wrong) from exc
        if not written or not all(float(amount).is_integer() for amount in written.values()):
            raise InputError(wrong)
        units = math.gcd(*(int(amount) for amount in written.values()))
        unit = {z: int(amount) // units for z, amount in written.items()}
        if sum(unit.values()) > MAX_SITES:
            raise InputError(
                f"{formula} has {sum(unit.values())} sites: the generator makes at most {MAX_SITES}"
            )
        return {z: unit[z] for z in _checked(set(unit), str(formula))}

    @cached_property
    def compositions(self) -> list[dict[int, int]]:
        """Cells that have the formula: atoms by element, in order of electronegativity."""
        size = sum(self._unit.values())
        return [
            cell
            for units in range(1, MAX_SITES // size + 1)
            if self.n_sites in (None, units * size)
            for cell in [{z: n * units for z, n in self._unit.items()}]
            if self.space_group is None or can_hold(self.space_group, tuple(cell.values()))
        ]

    def _why_no_composition(self) -> str:
        size = sum(self._unit.values())
        if self.n_sites is not None and self.n_sites % size:
            return (
                f"{self.n_sites} sites are no multiple of the {size} of {self.formula}: ask for "
                f"{size}, {2 * size}, ..."
            )
        number = "" if self.n_sites is None else f" with {self.n_sites} sites"
        return (
            f"space group {self.space_group} cannot hold {self.formula}{number} in a primitive "
            f"cell of at most {MAX_SITES} sites: its Wyckoff positions have other multiplicities; "
            "ask for another group"
        )


def _checked(numbers: set[int], what: str) -> tuple[int, ...]:
    if max(numbers) > MAX_Z:
        raise InputError(f"the generator knows elements up to Z = {MAX_Z}, {what} has others")
    if len(numbers) > MAX_ELEMENTS:
        raise InputError(
            f"{what} has {len(numbers)} elements: the generator makes at most {MAX_ELEMENTS}"
        )
    order = electronegativity_order()
    return tuple(sorted(numbers, key=lambda z: order[z]))

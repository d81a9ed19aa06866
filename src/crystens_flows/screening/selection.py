"""Which candidates are relaxed: filters, duplicates, a ranking, and no crowd of one family."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.schemas import SelectRecord
from crystens_flows.screening.duplicates import find_duplicates
from crystens_flows.screening.selection_pool import (
    CHOSEN,
    outside_the_pool,
    place_pool,
    reason_of_place,
)

QUANTITIES = {
    "formation_energy_per_atom": "formation energy",
    "energy_above_hull": "energy above hull",
    "uncertainty": "uncertainty",
}
"""What candidates can be filtered and ranked by, all in eV/atom, and how it is called."""


class SelectionRules(BaseModel):
    """
    Who is filtered out, how the others are ranked and how many are taken.

    The default ranks by energy above hull. The paper's rule, the lowest formation energies, is
    :meth:`paper`.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    max_formation_energy_per_atom: float | None = Field(None, description="Filter, eV/atom.")
    max_energy_above_hull: float | None = Field(None, description="Filter, eV/atom.")
    max_uncertainty: float | None = Field(None, description="Filter, eV/atom.")
    require_charge_balance: bool = Field(
        False, description="Filter out compositions whose charges cannot balance, by SMACT."
    )
    require_novel: bool = Field(False, description="Filter out crystals that are known.")
    rank_by: Literal["energy_above_hull", "formation_energy_per_atom", "weighted"] = Field(
        "energy_above_hull", description="Lowest first."
    )
    weights: dict[str, float] = Field(
        default_factory=dict,
        description="For rank_by 'weighted': the sum of weight times quantity is ranked.",
    )
    max_per_chemical_system: int | None = Field(
        1,
        ge=1,
        description="So many of one chemical system are selected while the pool has others; None "
        "for any number.",
    )
    n_pool: int = Field(35, ge=0, description="So many of the first in the ranking are the pool.")
    n_select: int = Field(6, ge=0, description="So many of the pool are selected.")

    @classmethod
    def paper(cls, n_pool: int = 35, n_select: int = 6) -> Self:
        """Return the paper's rule: the lowest formation energies, whatever the system."""
        return cls(
            rank_by="formation_energy_per_atom",
            max_per_chemical_system=None,
            n_pool=n_pool,
            n_select=n_select,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the rules as monty writes objects, for flows that are stored."""
        kind = type(self)
        return {"@module": kind.__module__, "@class": kind.__name__, **self.model_dump()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Take the rules as :meth:`as_dict` gives them."""
        return cls.model_validate({k: v for k, v in content.items() if not k.startswith("@")})

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.n_select > self.n_pool:
            raise ValueError(
                f"n_select = {self.n_select} and n_pool = {self.n_pool}: give n_select <= n_pool"
            )
        if (self.rank_by == "weighted") != bool(self.weights):
            raise ValueError("weights go with rank_by 'weighted', and it needs them")
        if unknown := self.weights.keys() - QUANTITIES.keys():
            raise ValueError(
                f"weights name unknown quantities: {', '.join(sorted(unknown))}; known are "
                f"{', '.join(QUANTITIES)}"
            )
        return self


@dataclass(frozen=True)
class Rankable:
    """
    What the selection knows of a candidate.

    Parameters
    ----------
    candidate_id
        Its identifier.
    structure
        Its structure.
    quantities
        Those of :data:`QUANTITIES` that are known, eV/atom.
    smact_valid
        Whether charges can balance; None where SMACT cannot say.
    known_as
        Identifier of the known crystal it equals; None for a new one.
    """

    candidate_id: str
    structure: Structure
    quantities: Mapping[str, float | None]
    smact_valid: bool | None = None
    known_as: str | None = None


def select(candidates: Sequence[Rankable], rules: SelectionRules) -> list[SelectRecord]:
    """
    Filter, leave duplicates out, rank, and select.

    Candidates are ordered by what is ranked, equal ones by identifier; those without it are out.
    The filters of the rules then take out candidates one after another, then the duplicates go (of
    equal crystals the one that was given first stays). The first of the rest are the pool; of the
    pool those are selected that come first, but while there are others no more than
    `max_per_chemical_system` of a system.

    Parameters
    ----------
    candidates
        The candidates, in the order of their index.
    rules
        The rules.

    Returns
    -------
    list of SelectRecord
        One for each candidate, in the order given: the decision, its reason in words, and the rank
        at that moment (none where there is nothing to rank by).

    Raises
    ------
    InputError
        If an identifier is given twice or a quantity is not finite.
    """
    check_input(candidates)
    values = [ranked_value(each, rules) for each in candidates]
    records = [
        SelectRecord(candidate_id=each.candidate_id, decision="ranked", value=value)
        for each, value in zip(candidates, values, strict=True)
    ]
    order = sorted(
        (i for i, value in enumerate(values) if value is not None),
        key=lambda i: (values[i] or 0.0, candidates[i].candidate_id),
    )
    for i, value in enumerate(values):
        if value is None:
            records[i].decision = "filtered"
            records[i].reason = nothing_to_rank_by(candidates[i], rules)
    for failing in filters(rules):
        order = _take_out(order, records, [failing(each) for each in candidates])
    order = _take_out_duplicates(order, records, candidates)
    _decide(order, records, candidates, rules)
    return records


def check_input(candidates: Sequence[Rankable]) -> None:
    """Raise if an identifier is given twice or a quantity is not finite."""
    repeated = [name for name, n in Counter(c.candidate_id for c in candidates).items() if n > 1]
    if repeated:
        raise InputError(f"{repeated[0]} is given more than once: give each candidate once")
    for each in candidates:
        for name, value in each.quantities.items():
            if value is not None and not np.isfinite(value):
                raise InputError(
                    f"{QUANTITIES.get(name, name)} of {each.candidate_id} is not finite: give None"
                )


def _weights(rules: SelectionRules) -> Mapping[str, float]:
    return rules.weights if rules.rank_by == "weighted" else {rules.rank_by: 1.0}


def ranked_value(candidate: Rankable, rules: SelectionRules) -> float | None:
    """Return what is ranked, eV/atom; None where it is unknown."""
    total = 0.0
    for name, weight in _weights(rules).items():
        value = candidate.quantities.get(name)
        if value is None:
            return None
        total += weight * value
    return total


def nothing_to_rank_by(candidate: Rankable, rules: SelectionRules) -> str:
    """Say which quantities are unknown."""
    names = [name for name in _weights(rules) if candidate.quantities.get(name) is None]
    return f"nothing to rank by: {' and '.join(QUANTITIES[name] for name in names)} unknown"


def _named(rules: SelectionRules) -> str:
    return QUANTITIES.get(rules.rank_by, "weighted sum")


def filters(rules: SelectionRules) -> list[Callable[[Rankable], str | None]]:
    """Return, for each filter that is set, what gives the reason why a candidate falls, or None."""
    found: list[Callable[[Rankable], str | None]] = []
    for name, called in QUANTITIES.items():
        limit = getattr(rules, f"max_{name}")
        if limit is not None:

            def too_high(
                each: Rankable, name: str = name, called: str = called, limit: float = limit
            ) -> str | None:
                value = each.quantities.get(name)
                if value is None:
                    return f"{called} unknown"
                if value > limit:
                    return f"{called} too high: {value:.3f} eV/atom, at most {limit:g}"
                return None

            found.append(too_high)
    if rules.require_charge_balance:
        found.append(
            lambda each: "charges cannot balance" if each.smact_valid is False else None,
        )
    if rules.require_novel:
        found.append(
            lambda each: f"known crystal: {each.known_as}" if each.known_as is not None else None,
        )
    return found


def _take_out(
    order: list[int], records: list[SelectRecord], reasons: Sequence[str | None]
) -> list[int]:
    """Note the reason and the rank of those that fall; return the order of those that stay."""
    for rank, i in enumerate(order, start=1):
        if reasons[i] is not None:
            records[i].decision = "filtered"
            records[i].reason = reasons[i]
            records[i].rank = rank
            records[i].n_ranked = len(order)
    return [i for i in order if reasons[i] is None]


def _take_out_duplicates(
    order: list[int], records: list[SelectRecord], candidates: Sequence[Rankable]
) -> list[int]:
    left = sorted(order)
    duplicate_of = dict(
        zip(left, find_duplicates([candidates[i].structure for i in left]), strict=True)
    )
    for rank, i in enumerate(order, start=1):
        if (first := duplicate_of[i]) is not None:
            kept = candidates[left[first]].candidate_id
            records[i].decision = "duplicate"
            records[i].duplicate_of = kept
            records[i].reason = duplicate_reason(kept)
            records[i].rank = rank
            records[i].n_ranked = len(order)
    return [i for i in order if duplicate_of[i] is None]


def duplicate_reason(kept: str) -> str:
    """Say of which candidate another is a duplicate."""
    return f"duplicate: of {kept}"


def _decide(
    order: list[int],
    records: list[SelectRecord],
    candidates: Sequence[Rankable],
    rules: SelectionRules,
) -> None:
    """Divide the ranking into selected, pool and the rest."""
    pool = order[: rules.n_pool]
    systems = [candidates[i].structure.chemical_system for i in pool]
    places = place_pool(systems, rules.n_select, rules.max_per_chemical_system)
    holders: dict[str, list[str]] = defaultdict(list)
    for i, system, place in zip(pool, systems, places, strict=True):
        if place == "taken":
            holders[system].append(candidates[i].candidate_id)
    n_chosen = sum(place in CHOSEN for place in places)
    for rank, i in enumerate(order, start=1):
        record = records[i]
        record.rank, record.n_ranked = rank, len(order)
        at = rank_in_words(record, rules)
        if rank > len(pool):
            record.reason = outside_the_pool(at, len(pool))
            continue
        place, system = places[rank - 1], systems[rank - 1]
        record.decision = "selected" if place in CHOSEN else "pool"
        record.reason = reason_of_place(
            place,
            at,
            system=system,
            holders=holders[system],
            n_select=rules.n_select,
            n_chosen=n_chosen,
        )


def rank_in_words(record: SelectRecord, rules: SelectionRules) -> str:
    """Say at what rank a candidate is, by what."""
    return (
        f"rank {record.rank} of {record.n_ranked} by {_named(rules)} ({record.value:.3f} eV/atom)"
    )

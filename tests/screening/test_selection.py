from __future__ import annotations

import json
import math
import random
from collections import Counter

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.screening.selection import QUANTITIES, Rankable, SelectionRules, select

METALS = ("Li", "Na", "K", "Rb", "Cs", "Ag", "Cu", "Tl")
ANIONS = ("F", "Cl", "Br", "I")


def halite(a: float = 5.6, metal: str = "Na", anion: str = "Cl") -> Structure:
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, [metal, anion], [[0] * 3, [0.5] * 3])


SALTS = [halite(metal=metal, anion=anion) for anion in ANIONS for metal in METALS]
"""Thirty-two, all of another chemical system."""


def of_one_system(n: int) -> list[Structure]:
    """Crystals of Na and Cl, none a halite, of which no two are the same: so many Na to one Cl."""
    return [
        Structure(
            Lattice.tetragonal(4, 4 * (k + 2)),
            ["Na"] * (k + 1) + ["Cl"],
            [[0, 0, i / (k + 2)] for i in range(k + 2)],
        )
        for k in range(n)
    ]


def rankable(name, above=None, structure=None, *, energy=None, uncertainty=None, **known):
    quantities = {
        "formation_energy_per_atom": energy,
        "energy_above_hull": above,
        "uncertainty": uncertainty,
    }
    return Rankable(name, structure or SALTS[0], quantities, **known)


def salts(levels, **known):
    """One candidate of its own system for each energy above hull."""
    return [rankable(f"c{i}", a, SALTS[i], **known) for i, a in enumerate(levels)]


def decisions(records) -> list[str]:
    return [record.decision for record in records]


def test_ranks_by_energy_above_hull_in_the_order_given():
    levels = [0.3, 0.0, 0.1, 0.1, 0.4, 0.6, -0.05, 0.5]
    records = select(salts(levels), SelectionRules(n_pool=5, n_select=2))
    assert [r.candidate_id for r in records] == [f"c{i}" for i in range(8)]
    assert [r.rank for r in records] == [5, 2, 3, 4, 6, 8, 1, 7]
    assert {r.n_ranked for r in records} == {8}
    assert [r.value for r in records] == levels
    assert decisions(records) == [
        *("pool", "selected", "pool", "pool", "ranked", "ranked", "selected", "ranked")
    ]
    assert records[6].reason == "rank 1 of 8 by energy above hull (-0.050 eV/atom)"
    assert records[0].reason == (
        "others come first: 2 of the pool are selected; "
        "rank 5 of 8 by energy above hull (0.300 eV/atom)"
    )
    assert records[4].reason == (
        "outside the pool: rank 6 of 8 by energy above hull (0.400 eV/atom); "
        "the pool is the first 5"
    )


def test_of_equals_the_lower_identifier_comes_first():
    same = [rankable(name, 0.1, SALTS[i]) for i, name in enumerate(["c", "a", "b"])]
    records = select(same, SelectionRules(n_pool=1, n_select=1))
    assert [r.rank for r in records] == [3, 1, 2]
    assert decisions(records) == ["ranked", "selected", "ranked"]


FILTERS = {
    "formation energy": (
        {"max_formation_energy_per_atom": -0.5},
        rankable("x", 0.0, energy=-0.499),
        "formation energy too high: -0.499 eV/atom, at most -0.5",
    ),
    "energy above hull": (
        {"max_energy_above_hull": 0.1},
        rankable("x", 0.25),
        "energy above hull too high: 0.250 eV/atom, at most 0.1",
    ),
    "uncertainty": (
        {"max_uncertainty": 0.05},
        rankable("x", 0.0, uncertainty=0.06),
        "uncertainty too high: 0.060 eV/atom, at most 0.05",
    ),
    "formation energy unknown": (
        {"max_formation_energy_per_atom": 0.0},
        rankable("x", 0.0),
        "formation energy unknown",
    ),
    "uncertainty unknown": (
        {"max_uncertainty": 0.05},
        rankable("x", 0.0),
        "uncertainty unknown",
    ),
    "charges": (
        {"require_charge_balance": True},
        rankable("x", 0.0, smact_valid=False),
        "charges cannot balance",
    ),
    "known": (
        {"require_novel": True},
        rankable("x", 0.0, known_as="mp-22862"),
        "known crystal: mp-22862",
    ),
}


@pytest.mark.parametrize(("rule", "candidate", "reason"), FILTERS.values(), ids=FILTERS)
def test_each_filter_says_why(rule, candidate, reason):
    other = rankable("y", 0.1, SALTS[1], energy=-2.0, uncertainty=0.01, smact_valid=True)
    filtered, kept = select([candidate, other], SelectionRules(**rule))
    assert (filtered.decision, filtered.reason) == ("filtered", reason)
    assert (kept.decision, kept.rank, kept.n_ranked) == ("selected", 1, 1)
    free = select([candidate, other], SelectionRules())
    assert decisions(free) == ["selected", "selected"]


@pytest.mark.parametrize(
    ("rule", "candidate"),
    [
        ({"max_formation_energy_per_atom": -0.5}, rankable("x", 0.0, energy=-0.5)),
        ({"max_energy_above_hull": 0.1}, rankable("x", 0.1)),
        ({"max_uncertainty": 0.0}, rankable("x", 0.0, uncertainty=0.0)),
        ({"require_charge_balance": True}, rankable("x", 0.0, smact_valid=None)),
        ({"require_novel": True}, rankable("x", 0.0, known_as=None)),
    ],
)
def test_filters_spare_what_is_at_the_limit_or_not_known_to_be_bad(rule, candidate):
    assert decisions(select([candidate], SelectionRules(**rule))) == ["selected"]


def test_ranks_are_those_at_that_moment():
    candidates = [
        rankable("high", 0.5, SALTS[0], uncertainty=0.0),
        rankable("sure", 0.2, SALTS[1], uncertainty=0.0),
        rankable("vague", 0.0, SALTS[2], uncertainty=0.9),
        rankable("same", -0.1, SALTS[1], uncertainty=0.0),  # but "sure" was given first
        rankable("last", 0.3, SALTS[3], uncertainty=0.0),
    ]
    rules = SelectionRules(max_energy_above_hull=0.4, max_uncertainty=0.1, n_pool=1, n_select=1)
    found = {r.candidate_id: r for r in select(candidates, rules)}
    assert {name: (r.decision, r.rank, r.n_ranked) for name, r in found.items()} == {
        "high": ("filtered", 5, 5),
        "vague": ("filtered", 2, 4),
        "same": ("duplicate", 1, 3),
        "sure": ("selected", 1, 2),
        "last": ("ranked", 2, 2),
    }
    assert found["same"].duplicate_of == "sure"
    assert found["same"].reason == "duplicate: of sure"


def test_the_first_filter_that_fails_is_the_reason():
    bad = rankable("x", 9.0, energy=9.0, uncertainty=9.0, smact_valid=False, known_as="mp-1")
    every = {f"max_{name}": 0.0 for name in QUANTITIES}
    rules = SelectionRules(**every, require_charge_balance=True, require_novel=True)
    reasons = []
    for spared in [*every, "require_charge_balance", "require_novel"]:
        (record,) = select([bad], rules)
        reasons.append(record.reason.split(":")[0])
        rules = rules.model_copy(
            update={spared: None if spared.startswith("max") else False},
        )
    assert reasons == [
        *(f"{called} too high" for called in QUANTITIES.values()),
        *("charges cannot balance", "known crystal"),
    ]


def test_nothing_to_rank_by_has_no_rank():
    candidates = [rankable("a", energy=-1.0), rankable("b", 0.2, SALTS[1])]
    unknown, known = select(candidates, SelectionRules())
    assert (unknown.decision, unknown.rank, unknown.n_ranked) == ("filtered", None, None)
    assert unknown.reason == "nothing to rank by: energy above hull unknown"
    assert unknown.value is None
    assert (known.decision, known.rank, known.n_ranked) == ("selected", 1, 1)
    by_energy = select(candidates, SelectionRules.paper())
    assert decisions(by_energy) == ["selected", "filtered"]
    assert by_energy[1].reason == "nothing to rank by: formation energy unknown"


def test_a_duplicate_of_what_has_no_energy_is_kept():
    """The crystal must not be lost because the model said nothing about its first copy."""
    records = select([rankable("a"), rankable("b", 0.1)], SelectionRules())
    assert decisions(records) == ["filtered", "selected"]


def test_a_duplicate_of_what_is_filtered_is_kept():
    candidates = [rankable("a", 0.3), rankable("b", 0.1)]
    records = select(candidates, SelectionRules(max_energy_above_hull=0.2))
    assert decisions(records) == ["filtered", "selected"]


def test_of_equal_crystals_the_first_given_stays():
    twice = halite().copy()
    twice.make_supercell([2, 1, 1])
    candidates = [
        rankable("z", 0.5, halite()),
        rankable("a", 0.1, twice),
        rankable("b", 0.0, halite(5.62)),
        rankable("other", 0.2, SALTS[1]),
    ]
    records = select(candidates, SelectionRules())
    assert decisions(records) == ["selected", "duplicate", "duplicate", "selected"]
    assert [r.duplicate_of for r in records] == [None, "z", "z", None]


def test_one_of_each_chemical_system_while_there_are_others():
    crowd = [rankable(f"n{i}", 0.01 * i, s) for i, s in enumerate(of_one_system(5))]
    others = [rankable(f"o{i}", 0.1 + 0.01 * i, SALTS[i]) for i in range(3)]
    records = select([*crowd, *others], SelectionRules(n_pool=7, n_select=3))
    assert decisions(records) == ["selected", *["pool"] * 4, "selected", "selected", "ranked"]
    assert records[2].reason == (
        "chemical system taken: Cl-Na by n0; rank 3 of 8 by energy above hull (0.020 eV/atom)"
    )
    two = select([*crowd, *others], SelectionRules(n_pool=7, n_select=3, max_per_chemical_system=2))
    assert decisions(two) == [*["selected"] * 2, *["pool"] * 3, "selected", "pool", "ranked"]
    assert two[4].reason.startswith("chemical system taken: Cl-Na by n0, n1; rank 5 of 8")
    assert two[6].reason.startswith("others come first: 3 of the pool are selected; rank 7 of 8")
    free = select(
        [*crowd, *others], SelectionRules(n_pool=7, n_select=3, max_per_chemical_system=None)
    )
    assert decisions(free) == [*["selected"] * 3, *["pool"] * 4, "ranked"]


def test_a_pool_without_enough_systems_fills_up_by_rank():
    crowd = [rankable(f"n{i}", 0.01 * i, s) for i, s in enumerate(of_one_system(5))]
    other = rankable("o", 0.035, SALTS[0])
    further = rankable("outside", 0.9, SALTS[2])
    records = select([*crowd, other, further], SelectionRules(n_pool=6, n_select=4))
    chosen = [r.candidate_id for r in records if r.decision == "selected"]
    assert chosen == ["n0", "n1", "n2", "o"]
    assert records[1].reason == (
        "rank 2 of 7 by energy above hull (0.010 eV/atom); "
        "one more of Cl-Na, as the pool has too few systems"
    )
    assert "one more" not in records[0].reason
    assert records[3].decision == "pool"
    assert records[6].decision == "ranked"


def test_none_selected():
    records = select(salts([0.1, 0.0]), SelectionRules(n_pool=1, n_select=0))
    assert decisions(records) == ["ranked", "pool"]
    assert records[1].reason == (
        "none asked for: n_select is 0; rank 1 of 2 by energy above hull (0.000 eV/atom)"
    )
    empty_pool = select(salts([0.1, 0.0]), SelectionRules(n_pool=0, n_select=0))
    assert decisions(empty_pool) == ["ranked", "ranked"]


def test_fewer_than_wanted():
    assert decisions(select(salts([0.1, 0.0]), SelectionRules())) == ["selected", "selected"]
    assert select([], SelectionRules()) == []


def test_weighted():
    rules = SelectionRules(
        rank_by="weighted", weights={"energy_above_hull": 1.0, "uncertainty": 2.0}, n_select=1
    )
    candidates = [
        rankable("vague", 0.0, SALTS[0], uncertainty=0.2),
        rankable("sure", 0.1, SALTS[1], uncertainty=0.05),
        rankable("half", 0.0, SALTS[2]),
        rankable("nothing", None, SALTS[3]),
    ]
    vague, sure, half, nothing = select(candidates, rules)
    assert (vague.value, sure.value) == (pytest.approx(0.4), pytest.approx(0.2))
    assert (vague.rank, sure.rank) == (2, 1)
    assert sure.reason == "rank 1 of 2 by weighted sum (0.200 eV/atom)"
    assert half.reason == "nothing to rank by: uncertainty unknown"
    assert nothing.reason == "nothing to rank by: energy above hull and uncertainty unknown"
    negative = SelectionRules(rank_by="weighted", weights={"formation_energy_per_atom": -1.0})
    highest = select(
        [rankable("a", energy=-2.0), rankable("b", None, SALTS[1], energy=1)], negative
    )
    assert [r.rank for r in highest] == [2, 1]


def test_the_papers_rule():
    """The lowest formation energies: a pool of 35, of which 6, whatever the system."""
    rules = SelectionRules.paper()
    assert (rules.n_pool, rules.n_select) == (35, 6)
    energies = [-0.05 * ((i * 17) % 41) for i in range(41)]
    structures = [*SALTS, *of_one_system(9)]
    candidates = [
        rankable(f"c{i:02d}", 5.0 - i, s, energy=e)
        for i, (s, e) in enumerate(zip(structures, energies, strict=True))
    ]
    records = select(candidates, rules)
    assert Counter(decisions(records)) == {"selected": 6, "pool": 29, "ranked": 6}
    expected = sorted(range(41), key=lambda i: energies[i])
    by_rank = sorted(range(41), key=lambda i: records[i].rank)
    assert by_rank == expected
    assert {i for i in range(41) if records[i].decision == "selected"} == set(expected[:6])
    crowd = [rankable(f"n{i}", energy=-i, structure=s) for i, s in enumerate(of_one_system(5))]
    few = select(crowd, SelectionRules.paper(n_pool=4, n_select=3))
    assert decisions(few) == ["ranked", "pool", "selected", "selected", "selected"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_pool": 2, "n_select": 3}, "n_select = 3 and n_pool = 2: give n_select <= n_pool"),
        ({"n_select": -1}, "n_select"),
        ({"n_pool": -1, "n_select": 0}, "n_pool"),
        ({"max_per_chemical_system": 0}, "max_per_chemical_system"),
        ({"rank_by": "weighted"}, "weights go with rank_by 'weighted', and it needs them"),
        ({"weights": {"uncertainty": 1.0}}, "weights go with rank_by 'weighted'"),
        ({"rank_by": "weighted", "weights": {"beauty": 1.0}}, "unknown quantities: beauty; known"),
        ({"rank_by": "band_gap"}, "rank_by"),
        ({"max_energy_above_hull": math.nan}, "finite"),
        ({"max_uncertainty": math.inf}, "finite"),
        ({"rank_by": "weighted", "weights": {"uncertainty": math.nan}}, "finite"),
        ({"n_pools": 3}, "n_pools"),
    ],
)
def test_wrong_rules(arguments, message):
    with pytest.raises(ValidationError, match=message):
        SelectionRules(**arguments)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_wrong_candidates(value):
    with pytest.raises(InputError, match="energy above hull of a is not finite: give None"):
        select([rankable("a", value)], SelectionRules())
    with pytest.raises(InputError, match="a is given more than once"):
        select([rankable("a", 0.0), rankable("a", 0.1, SALTS[1])], SelectionRules())


limits = st.none() | st.floats(-5, 5)


@st.composite
def rules_of_any_kind(draw) -> SelectionRules:
    rank_by = draw(st.sampled_from(["energy_above_hull", "formation_energy_per_atom", "weighted"]))
    weights = st.dictionaries(st.sampled_from(list(QUANTITIES)), st.floats(-3, 3), min_size=1)
    n_pool = draw(st.integers(0, 12))
    return SelectionRules(
        **{f"max_{name}": draw(limits) for name in QUANTITIES},
        require_charge_balance=draw(st.booleans()),
        require_novel=draw(st.booleans()),
        rank_by=rank_by,
        weights=draw(weights) if rank_by == "weighted" else {},
        max_per_chemical_system=draw(st.none() | st.integers(1, 3)),
        n_pool=n_pool,
        n_select=draw(st.integers(0, n_pool)),
    )


@given(rules_of_any_kind())
def test_rules_come_back_from_json_and_yaml(rules):
    assert SelectionRules.model_validate_json(rules.model_dump_json()) == rules
    assert SelectionRules.model_validate(json.loads(json.dumps(rules.model_dump()))) == rules
    text = yaml.safe_dump(rules.model_dump(), sort_keys=False)
    assert SelectionRules.model_validate(yaml.safe_load(text)) == rules


quantity = st.none() | st.sampled_from([-1.0, -0.2, 0.0, 0.05, 0.3])
DISTINCT = [*SALTS[:6], *of_one_system(6)]


@st.composite
def distinct_candidates(draw) -> list[Rankable]:
    return [
        rankable(
            f"c{i}",
            draw(quantity),
            structure,
            energy=draw(quantity),
            uncertainty=draw(quantity),
            smact_valid=draw(st.sampled_from([None, True, False])),
            known_as=draw(st.sampled_from([None, None, "mp-1"])),
        )
        for i, structure in enumerate(DISTINCT[: draw(st.integers(0, len(DISTINCT)))])
    ]


@settings(max_examples=60)
@given(distinct_candidates(), rules_of_any_kind(), st.randoms(use_true_random=False))
def test_the_order_of_distinct_candidates_does_not_matter(
    candidates: list[Rankable], rules: SelectionRules, shuffler: random.Random
):
    records = select(candidates, rules)
    assert [r.candidate_id for r in records] == [c.candidate_id for c in candidates]
    order = list(range(len(candidates)))
    shuffler.shuffle(order)
    again = select([candidates[i] for i in order], rules)
    assert again == [records[i] for i in order]


@settings(max_examples=60)
@given(distinct_candidates(), rules_of_any_kind())
def test_the_decisions_add_up(candidates, rules):
    """What a reader of the rules expects, counted without the code that selects."""
    records = select(candidates, rules)
    for record in records:
        assert record.reason
        assert record.decision != "duplicate"
        assert (record.rank is None) == (record.value is None)
    left = [r for r in records if r.decision != "filtered"]
    assert sorted(r.rank for r in left) == list(range(1, len(left) + 1))
    assert all(r.n_ranked == len(left) for r in left)
    by_rank = sorted(left, key=lambda r: r.rank)
    assert by_rank == sorted(left, key=lambda r: (r.value, r.candidate_id))
    pool = by_rank[: rules.n_pool]
    assert all(r.decision == "ranked" for r in by_rank[rules.n_pool :])
    chosen = [r for r in pool if r.decision == "selected"]
    assert len(chosen) == min(rules.n_select, len(pool))
    system = {c.candidate_id: c.structure.chemical_system for c in candidates}
    most = rules.max_per_chemical_system
    counts = Counter(system[r.candidate_id] for r in chosen)
    if most is None:
        assert chosen == pool[: len(chosen)]
    elif any(n > most for n in counts.values()):  # only where no other system was left
        waiting = {system[r.candidate_id] for r in pool if r.decision == "pool"}
        assert all(counts[name] >= most for name in waiting)

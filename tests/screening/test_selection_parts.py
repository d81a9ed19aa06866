"""The selection in parts, held against the selection from all candidates at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.schemas import ArrayBlob, ScreenRecord
from crystens_flows.screening.judgement import judge, rankable
from crystens_flows.screening.screens import Candidate
from crystens_flows.screening.selection import SelectionRules
from crystens_flows.screening.selection_parts import find_distinct, pack_rivals, unpack_rivals
from crystens_flows.screening.selection_pool import CHOSEN, may_be_selected, place_pool
from crystens_flows.screening.selection_standing import chosen_of, complete, stand
from crystens_flows.screening.shortlist import Shortlist, shortlist

LENGTHS = [3.0, 3.6, 4.3, 5.2]
"""Each is within the matcher's tolerance of its neighbours alone, as c of a tetragonal cell."""


def tetragonal(c: float, species: list[str]) -> Structure:
    n = len(species)
    return Structure(Lattice.tetragonal(3.0, c * n / 2), species, [[0, 0, i / n] for i in range(n)])


SPECIES = [["Na", "Cl"], ["K", "Cl"], ["Na", "Na", "Cl"], ["Na", "K", "Cl", "Cl"], ["Na"]]
CRYSTALS = {(c, k): tetragonal(c, each) for c in LENGTHS for k, each in enumerate(SPECIES)}
LEVELS = [-0.4, -0.1, 0.0, 0.0, 0.1, 0.2, None]


def found_by_screens(name, energy, above, valid, known, *, hulled):
    """The records of screens: a model, and the hull, which may have failed for a chunk."""
    model = ScreenRecord(
        candidate_id=name,
        passed=True,
        formation_energy_per_atom=energy,
        uncertainty=None if energy is None else abs(energy) / 10,
        smact_valid=valid,
        known_as=known,
    )
    if not hulled:
        return {"m3gnet": model}
    hull = ScreenRecord(
        candidate_id=name,
        passed=True,
        formation_energy_per_atom=energy,
        energy_above_hull=above,
    )
    return {"m3gnet": model, "hull": hull}


@st.composite
def campaigns(draw):
    """Candidates in the order of their index, with many equal crystals and energies."""
    n = draw(st.integers(1, 24))
    candidates = []
    for i in range(n):
        energy = draw(st.sampled_from([-3.0, -2.0, -1.0, -1.0, 0.3, None]))
        name = f"c-{draw(st.integers(0, 9))}{i}"  # the order of identifiers is another
        crystal = CRYSTALS[draw(st.sampled_from(LENGTHS)), draw(st.integers(0, len(SPECIES) - 1))]
        records = found_by_screens(
            name,
            energy,
            draw(st.sampled_from(LEVELS)),
            draw(st.sampled_from([True, False, None])),
            draw(st.sampled_from([None, None, "mp-1"])),
            hulled=draw(st.integers(0, 5)) > 0,
        )
        candidates.append(Candidate(name, crystal, records))
    return candidates


@st.composite
def rules_of_any_kind(draw):
    n_pool = draw(st.integers(0, 12))
    rank_by = draw(st.sampled_from(["energy_above_hull", "formation_energy_per_atom", "weighted"]))
    weights = {"energy_above_hull": 1.0, "uncertainty": 0.5} if rank_by == "weighted" else {}
    return SelectionRules(
        rank_by=rank_by,
        weights=weights,
        n_pool=n_pool,
        n_select=draw(st.integers(0, n_pool)),
        max_per_chemical_system=draw(st.sampled_from([None, 1, 2])),
        max_formation_energy_per_atom=draw(st.sampled_from([None, 0.0])),
        max_energy_above_hull=draw(st.sampled_from([None, 0.1])),
        max_uncertainty=draw(st.sampled_from([None, 0.1])),
        require_charge_balance=draw(st.booleans()),
        require_novel=draw(st.booleans()),
    )


def through_a_document(array):
    return ArrayBlob.from_dict(ArrayBlob(array).as_dict()).array


def in_parts(candidates, rules, size, n_shards, hull):
    """Select as the jobs do: chunks, shards, all; then the records of pairs of chunks."""
    chunks = []
    for start in range(0, len(candidates), size):
        some = candidates[start : start + size]
        part, drafts = shortlist(some, range(start, start + len(some)), rules, hull)
        part = Shortlist(through_a_document(part.rows), through_a_document(part.packed))
        chunks.append((part, drafts))
    shards = [
        find_distinct(
            # chunks may end in any order
            Shortlist.join([part.of_shard(shard, n_shards) for part, _ in chunks[::-1]]),
            rules,
        )
        for shard in range(n_shards)
    ]
    standing = stand([through_a_document(each.ledger) for each in shards], rules)
    chosen = chosen_of(standing, Shortlist.join([each.best for each in shards]))
    rivals = [r for each in shards for r in unpack_rivals(pack_rivals(each.rivals))]
    records = []
    for start in range(0, len(chunks), 2):
        pair = chunks[start : start + 2]
        records += complete(
            [draft for _, drafts in pair for draft in drafts],
            Shortlist.join([part for part, _ in pair]),
            standing,
            rules,
            rivals,
            hull,
        )
    return records, chosen


@settings(max_examples=25)
@given(campaigns(), rules_of_any_kind(), st.integers(1, 9), st.integers(1, 4), st.booleans())
def test_parts_give_what_all_at_once_gives(candidates, rules, size, n_shards, hulled):
    hull = "shipped" if hulled else None
    whole = judge(candidates, rules, hull)
    records, chosen = in_parts(candidates, rules, size, n_shards, hull)
    assert records == whole
    selected = sorted((r for r in whole if r.decision == "selected"), key=lambda r: r.rank)
    assert [each.decode() for each in chosen.rows["candidate_id"]] == [
        r.candidate_id for r in selected
    ]
    by_id = {c.candidate_id: c for c in candidates}
    for record, row, structure in zip(
        selected, chosen.rows, chosen.structures(range(len(chosen))), strict=True
    ):
        candidate = by_id[record.candidate_id]
        assert structure == candidate.structure
        energy = rankable(candidate).quantities["formation_energy_per_atom"]
        assert (None if np.isnan(row["energy"]) else row["energy"]) == energy


def test_likeness_that_is_not_transitive_crosses_chunks():
    """
    The first is like the second, which is like the third, which is like the fourth.

    So the second goes and the third stays, though the second is like it and has the best energy
    of all: no chunk that holds the last three alone could know.
    """
    rules = SelectionRules.paper(n_pool=4, n_select=4)
    candidates = [
        Candidate(
            f"c{i}", CRYSTALS[c, 0], found_by_screens(f"c{i}", e, 0.0, None, None, hulled=False)
        )
        for i, (c, e) in enumerate(zip(LENGTHS, [0.3, -9.0, -1.0, -2.0], strict=True))
    ]
    decisions = {r.candidate_id: (r.decision, r.duplicate_of) for r in judge(candidates, rules)}
    assert decisions == {
        "c0": ("selected", None),
        "c1": ("duplicate", "c0"),
        "c2": ("selected", None),
        "c3": ("duplicate", "c2"),
    }
    later = {r.candidate_id: r.decision for r in judge(candidates[1:], rules)}
    assert later == {"c1": "selected", "c2": "duplicate", "c3": "selected"}
    for size in (1, 2, 3):
        assert in_parts(candidates, rules, size, 2, None)[0] == judge(candidates, rules)


@given(st.lists(st.sampled_from("ABC"), max_size=30), st.data())
def test_what_is_selected_from_all_can_be_selected_from_its_part(systems, data):
    n_pool = data.draw(st.integers(0, 30))
    n_select = data.draw(st.integers(0, n_pool))
    limit = data.draw(st.sampled_from([None, 1, 2, 3]))
    places = place_pool(systems[:n_pool], n_select, limit)
    chosen = {i for i, place in enumerate(places) if place in CHOSEN}
    part = [i for i in range(len(systems)) if data.draw(st.booleans())]
    able = may_be_selected([systems[i] for i in part], n_select, limit)
    assert len(able) <= 2 * n_select
    assert chosen.intersection(part) <= {part[k] for k in able}


def test_what_a_failed_job_held_is_left_out():
    rules = SelectionRules.paper()
    candidates = [
        Candidate(
            f"c{i}",
            CRYSTALS[3.0, i],
            found_by_screens(f"c{i}", -1.0 * i, 0.0, None, None, hulled=False),
        )
        for i in range(4)
    ]
    part, drafts = shortlist(candidates, range(4), rules)
    shards = [find_distinct(part.of_shard(shard, 3), rules) for shard in range(3)]
    kept = [each for each in shards if len(each.ledger)][1:]
    records = complete(drafts, part, stand([each.ledger for each in kept], rules), rules, [])
    names = {bytes(name).decode() for each in kept for name in each.ledger["candidate_id"]}
    assert {r.candidate_id for r in records} == names
    assert len(names) < 4
    assert {r.n_ranked for r in records} == {len(names)}


def test_oxidation_states_and_disorder_are_kept():
    ordered = tetragonal(3.0, ["Na", "Cl"])
    ordered.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    mixed = Structure(Lattice.cubic(3.0), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    mixed.add_site_property("magmom", [np.float64(1.5)])
    candidates = [Candidate(f"c{i}", s, {}) for i, s in enumerate([ordered, mixed])]
    for each in candidates:
        each.records["own"] = ScreenRecord(
            candidate_id=each.candidate_id, passed=True, formation_energy_per_atom=-1.0
        )
    part, _ = shortlist(candidates, range(2), SelectionRules.paper())
    assert list(part.structures([1, 0])) == [mixed, ordered]
    assert next(part.structures([1])).site_properties == {"magmom": [1.5]}


def test_wrong_candidates_are_named():
    twice = [Candidate("c1", CRYSTALS[3.0, 0], {})] * 2
    with pytest.raises(InputError, match="c1 is given more than once"):
        shortlist(twice, range(2), SelectionRules())


def test_the_hull_with_the_others_crosses_chunks():
    """A candidate far below the hull lowers it for those of another chunk and another shard."""
    low, high = ["Na", "Cl"], ["Na", "Na", "Cl"]
    candidates = [
        Candidate(
            f"c{i}",
            tetragonal(3.0, species),
            found_by_screens(f"c{i}", energy, 0.0, None, None, hulled=True),
        )
        for i, (species, energy) in enumerate([(low, -4.0), (low[::-1], -4.0), (high, -1.0)])
    ]
    rules = SelectionRules(n_pool=3, n_select=2)
    whole = judge(candidates, rules, "shipped")
    alone = judge(candidates[2:], rules, "shipped")[0].energy_above_hull_with_candidates
    assert whole[2].energy_above_hull_with_candidates > alone + 1
    for size in (1, 2):
        assert in_parts(candidates, rules, size, 3, "shipped")[0] == whole

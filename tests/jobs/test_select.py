from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.jobs import SelectMaker
from crystens_flows.schemas import DecodedCandidate, ScreenRecord
from crystens_flows.screening.selection import SelectionRules

METALS = ["Li", "Na", "K", "Rb", "Cs", "Ag"]
ENERGIES = [-1.0, -3.0, -2.0, None, -0.5, -2.5]


def halite(metal="Na", a=5.6):
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, [metal, "Cl"], [[0] * 3, [0.5] * 3])


def candidate(index, structure):
    reason = "no sites" if structure is None else None
    return DecodedCandidate(
        candidate_id=f"c{index}", index=index, structure=structure, reason=reason
    )


def record(index, energy):
    return ScreenRecord(
        candidate_id=f"c{index}",
        passed=energy is not None,
        reason="overlap" if energy is None else None,
        formation_energy_per_atom=energy,
    )


def paper(n_pool=35, n_select=6):
    return SelectMaker(rules=SelectionRules.paper(n_pool, n_select), hull=None)


def make(maker, candidates, records):
    screened = [[("cgcnn", chunk)] for chunk in records]
    return SelectMaker.make.original(maker, candidates, screened)


def test_chunks_are_merged_in_the_order_of_the_samples():
    candidates = [candidate(i, halite(metal)) for i, metal in enumerate(METALS)]
    candidates += [candidate(6, halite("Na", 5.7)), candidate(7, None)]
    records = [record(i, energy) for i, energy in enumerate(ENERGIES)] + [record(6, -9.0)]
    maker = paper(3, 2)
    whole = make(maker, [candidates], [records])
    assert [s.candidate_id for s in whole.selected] == ["c1", "c5"]
    assert [s.formation_energy_per_atom for s in whole.selected] == [-3.0, -2.5]
    decisions = {r.candidate_id: (r.decision, r.rank, r.duplicate_of) for r in whole.records}
    assert decisions == {
        "c0": ("ranked", 4, None),
        "c1": ("selected", 1, None),
        "c2": ("pool", 3, None),
        "c4": ("ranked", 5, None),
        "c5": ("selected", 2, None),
        "c6": ("duplicate", 1, "c1"),
    }
    in_parts = make(
        maker,
        [candidates[4:], candidates[:3], candidates[3:4]],
        [records[4:], records[:3], records[3:4]],
    )
    assert in_parts.records == whole.records
    assert in_parts.selected == whole.selected


def test_it_goes_on_without_a_chunk_that_failed():
    candidates = [[candidate(0, halite("Li"))], None, [candidate(2, halite("K"))]]
    records = [[record(0, -1.0)], None, None]
    document = make(paper(), candidates, records)
    assert document.missing_chunks == [1, 2]
    assert [s.candidate_id for s in document.selected] == ["c0"]
    with pytest.raises(InputError, match="nothing to select from"):
        make(paper(), [None, None], [None, None])


def test_it_refuses_what_no_document_can_hold():
    with pytest.raises(InputError, match="n_select = 2000"):
        make(paper(3000, 2000), [[]], [[]])


def test_candidates_of_one_system_are_ranked_against_each_other():
    dense = Structure(Lattice.cubic(3.4), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    candidates = [candidate(0, halite("Na", 5.6)), candidate(1, dense)]
    energies = [-2.0, -1.5]
    hull = [
        ScreenRecord(
            candidate_id=f"c{i}",
            passed=True,
            formation_energy_per_atom=energy,
            energy_above_hull=0.1 * i,
        )
        for i, energy in enumerate(energies)
    ]
    document = SelectMaker.make.original(SelectMaker(), [candidates], [[("hull", hull)]])
    assert document.settings["rank_by"] == "energy_above_hull"
    ranks = {r.candidate_id: r.rank_in_system for r in document.records}
    assert ranks == {"c0": 1, "c1": 2}
    above = {r.candidate_id: r.energy_above_hull_with_candidates for r in document.records}
    assert above["c1"] - above["c0"] == pytest.approx(0.5, abs=0.1)

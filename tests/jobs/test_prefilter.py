from __future__ import annotations

import pytest
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from crystens_flows.jobs import (
    CGCNNPrefilterMaker,
    CHGNetPrefilterMaker,
    HullPrefilterMaker,
    ValidityPrefilterMaker,
    candidates_from_structures,
    prefilter_makers,
)
from crystens_flows.jobs.prefilter import is_screened, still_in
from crystens_flows.schemas import DecodedCandidate, ScreenRecord
from crystens_flows.screening.cgcnn import predict_properties
from crystens_flows.screening.hull import load_hull
from crystens_flows.screening.pipeline import ScreeningOptions


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


def record(index, *, passed=True, energy=None):
    return ScreenRecord(candidate_id=f"c{index}", passed=passed, formation_energy_per_atom=energy)


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
    document = make(ValidityPrefilterMaker(), candidates)
    assert document.screen == "validity"
    assert [r.candidate_id for r in document.records] == ["c0", "c2", "c3"]
    assert [r.passed for r in document.records] == [True, False, True]
    assert [r.smact_valid for r in document.records] == [True, True, False]
    assert "0.040 A apart" in document.records[1].reason
    strict = make(ValidityPrefilterMaker(require_charge_balance=True), candidates)
    assert [r.passed for r in strict.records] == [True, False, False]
    assert strict.records[2].reason == "charges cannot balance"


def test_cgcnn_gives_all_its_properties_and_rejects_by_formation_energy():
    candidates = [candidate(0, halite()), candidate(1, halite("Ar"))]
    document = make(CGCNNPrefilterMaker(), candidates)
    expected = predict_properties([halite()])[0]
    salt, argon = document.records
    assert salt.formation_energy_per_atom == expected.formation_energy_per_atom
    assert salt.values["band_gap"] == expected.values["band_gap"] > 3
    limit = argon.formation_energy_per_atom - 0.1
    strict = make(CGCNNPrefilterMaker(max_formation_energy_per_atom=limit), candidates)
    assert [r.passed for r in strict.records] == [True, False]
    assert strict.records[1].reason.startswith("formation energy too high: ")


def test_what_one_screen_rejects_the_next_is_not_asked_about():
    candidates = [candidate(i, halite()) for i in range(3)] + [candidate(3, None)]
    first = [record(0), record(1, passed=False), record(2)]
    second = [record(0), record(2, passed=False)]
    left = still_in(candidates, [("first", first), ("second", second), ("lost", None)])
    assert [c.candidate_id for c in left] == ["c0"]
    assert list(left[0].records) == ["first", "second"]


def test_the_hull_takes_the_energies_of_the_models_before_it():
    candidates = [candidate(0, halite()), candidate(1, halite("K", 6.3))]
    earlier = [("chgnet", [record(0, energy=-2.0), record(1, energy=-2.1)])]
    document = make(HullPrefilterMaker(), candidates, earlier)
    compositions = [c.structure.composition for c in candidates]
    expected = load_hull().evaluate(compositions, [-2.0, -2.1])
    for found, (result, _) in zip(document.records, expected, strict=True):
        assert found.energy_above_hull == pytest.approx(result.energy_above_hull, abs=1e-6)
        assert found.values["energy_models"] == ["chgnet"]
        assert found.values["decomposition"] == result.decomposition
    limit = sum(result.energy_above_hull for result, _ in expected) / 2
    strict = make(HullPrefilterMaker(max_energy_above_hull=limit), candidates, earlier)
    assert {r.passed for r in strict.records} == {True, False}
    nothing = make(HullPrefilterMaker(), candidates)
    assert [r.passed for r in nothing.records] == [False, False]


def test_screens_run_after_one_another_as_jobs():
    read = candidates_from_structures([halite(), overlapping(), halite("K", 6.3)])
    validity = ValidityPrefilterMaker().make(read.output.candidates)
    earlier = [("validity", validity.output.records)]
    chgnet = CHGNetPrefilterMaker().make(read.output.candidates, earlier)
    earlier = [*earlier, ("chgnet", chgnet.output.records)]
    hull = HullPrefilterMaker().make(read.output.candidates, earlier)
    output = run(Flow([read, validity, chgnet, hull], output=hull.output))
    assert output.screen == "hull"
    assert len(output.records) == 2
    assert all(abs(r.energy_above_hull) < 0.1 for r in output.records)


def test_the_identifiers_are_those_of_the_structures():
    document = candidates_from_structures.original([halite(), overlapping()])
    assert document.provenance.generator == "files"
    other = candidates_from_structures.original([halite(a=5.7), overlapping()])
    assert other.candidates[0].candidate_id != document.candidates[0].candidate_id


def test_there_is_nothing_to_say_of_a_chunk_that_is_not_there():
    """The job that failed says why, and the selection that the chunk is missing."""
    document = make(CGCNNPrefilterMaker(), None)
    assert (document.screen, document.model, document.records) == ("cgcnn", {}, [])


def test_a_chunk_is_screened_when_the_last_screen_has_seen_all_that_came_to_it():
    candidates = [candidate(0, halite()), candidate(1, halite()), candidate(2, None)]
    first = ("first", [record(0), record(1, passed=False)])
    assert is_screened(candidates, [])
    assert is_screened(candidates, [first])
    assert is_screened(candidates, [("lost", None), ("last", [record(0), record(1)])])
    assert is_screened(candidates, [first, ("last", [record(0)])])
    assert is_screened([candidates[2]], [("last", [])])
    assert not is_screened(None, [first])
    assert not is_screened(candidates, [first, ("last", None)])
    # left by a run without candidates, before the one that failed
    assert not is_screened(candidates, [first, ("last", [])])


def test_makers_follow_the_options():
    options = ScreeningOptions(
        models=["chgnet"], known=None, hull="mine.csv", relax_steps=5, require_charge_balance=True
    )
    makers = prefilter_makers(options)
    assert [maker.name for maker in makers] == [
        *("crystens validity", "crystens chgnet", "crystens hull"),
    ]
    assert [maker.screen() for maker in makers] == options.screens()
    assert makers[0].require_charge_balance
    assert makers[1].relax_steps == 5
    assert makers[2].reference == "mine.csv"

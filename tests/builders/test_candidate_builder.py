from __future__ import annotations

import itertools
import logging
import random

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore, MontyStore
from monty.json import MontyDecoder

from crystens_flows.builders import CandidateBuilder
from crystens_flows.candidates import CandidateStore
from crystens_flows.embedded_store import EmbeddedStore
from crystens_flows.schemas import CandidateDocument
from crystens_flows.stores import open_stores
from stage_jobs import (
    MAX_ABOVE_HULL,
    above_of,
    campaign_jobs,
    contents,
    decode,
    energy_of,
    hull,
    ids,
    known_as_of,
    passes,
    provenance,
    relax,
    run_jobs,
    screen,
    select,
    selected_of,
    structure_of,
    tune,
    tuned_of,
)


@pytest.fixture
def stores(tmp_path):
    return open_stores(tmp_path / "store")


def build(stores):
    builder = CandidateBuilder(stores.job_store, stores.candidates)
    builder.run_incrementally()
    return builder.summary


def memory_stores():
    job_store = JobStore(MemoryStore("jobs"), additional_stores={"data": MemoryStore("data")})
    candidates = CandidateStore(MemoryStore("candidates"))
    job_store.connect()
    candidates.connect()
    return job_store, candidates


def status_of(candidates, identifier) -> tuple:
    doc = candidates.get(identifier)
    return str(doc.status), doc.rejected_by, doc.reason


def test_campaign(stores):
    run_jobs(campaign_jobs(), stores.job_store)
    summary = build(stores)
    assert stores.candidates.count() == summary.n_changed == 40
    assert summary.n_jobs == 4 * 4 + 1 + 1 + 3
    documents = {doc.index: doc for doc in stores.candidates.documents()}
    assert set(documents) == set(range(40))
    prov = provenance()
    for index, doc in documents.items():
        assert doc.candidate_id == ids(prov, index, 1)[0]
        assert doc.campaign == "default"
        assert doc.provenance == prov
        assert doc.space_group == 1 + index % 230
        assert doc.consistency == {"figure_3": 0.1 * index, "distance": None}
        if index % 7 == 6:
            assert (doc.status, doc.rejected_by, doc.reason) == ("rejected", "decode", "no sites")
            assert doc.structure is None
            assert doc.formula is None
            continue
        assert doc.structure == structure_of(index)
        assert doc.formula == structure_of(index).composition.reduced_formula
        assert doc.chemsys == structure_of(index).chemical_system
        assert doc.elements == sorted(structure_of(index).symbol_set)
        assert (doc.n_sites, doc.n_elements) == (4, 2)
        assert doc.formation_energy_per_atom == pytest.approx(energy_of(index))
        assert doc.screens["cgcnn"].candidate_id == doc.candidate_id
        assert {"decode", "sample", "cgcnn"} <= set(doc.jobs)
        assert "pymatgen" in doc.versions["decode"]
        if index % 5 == 4:
            assert doc.rejected_by == "cgcnn"
            assert doc.reason == "charges cannot balance"
            assert doc.smact_valid is False
        else:
            assert doc.energy_above_hull == above_of(index)
            assert doc.known_as == known_as_of(index)
            assert doc.screens["hull"].values["energy_models"] == ["chgnet"]
        if passes(index) and above_of(index) > MAX_ABOVE_HULL:
            assert (doc.status, doc.rejected_by) == ("rejected", "select")
            assert doc.reason.startswith("energy above hull too high: 0.")
            assert doc.selection.decision == "filtered"
    ranked = selected_of(40, n_select=40)
    for index in ranked[:2]:
        doc = documents[index]
        assert doc.status == "relaxed"
        assert doc.energy_per_atom == pytest.approx(-4.0)
        assert doc.structure == structure_of(index)
        assert doc.tuning.changed is (index % 4 == 0)
        assert doc.tuning.structure == doc.relaxed_structure == tuned_of(index)
        assert doc.relaxation.energies[4] == pytest.approx(-16.0)
        assert doc.selection.decision == "selected"
        assert "tune" in doc.jobs
        assert "pymatgen" in doc.versions["tune"]
    assert {documents[index].tuning.changed for index in ranked[:2]} == {True, False}
    failed = documents[ranked[2]]
    assert (failed.status, failed.rejected_by) == ("rejected", "relax")
    assert failed.reason == "step 3: forces exploded"
    assert failed.relaxed_structure == tuned_of(ranked[2])
    duplicate = documents[ranked[3]]
    assert (duplicate.status, duplicate.rejected_by) == ("rejected", "select")
    assert duplicate.reason == f"duplicate: of {documents[ranked[0]].candidate_id}"
    assert duplicate.tuning is None
    assert documents[ranked[4]].status == "screened"


def test_documents_hold_all_fields_and_no_others(stores):
    run_jobs(campaign_jobs(n=10), stores.job_store)
    build(stores)
    for doc in stores.candidates.store.query({}):
        assert set(doc) - {"_id"} == set(CandidateDocument.model_fields)
        validated = CandidateDocument.model_validate({k: v for k, v in doc.items() if k != "_id"})
        assert validated.jobs == doc["jobs"]


def test_building_twice_changes_nothing(stores):
    run_jobs(campaign_jobs(), stores.job_store)
    build(stores)
    before = list(stores.candidates.query())
    summary = build(stores)
    assert (summary.n_jobs, summary.n_changed, summary.n_removed) == (0, 0, 0)
    assert list(stores.candidates.query()) == before  # last_updated included


def test_each_arrival_is_built_alone(stores):
    builder = CandidateBuilder(stores.job_store, stores.candidates)
    n_jobs = 0
    for each in campaign_jobs():
        run_jobs([each], stores.job_store)
        builder.run_incrementally()
        n_jobs += builder.summary.n_jobs
    once = memory_stores()
    run_jobs(campaign_jobs(), once[0])
    CandidateBuilder(*once).run_incrementally()
    assert contents(stores.candidates.store) == contents(once[1].store)
    # a sample that arrives before its candidates waits for them and is read at the next build
    assert n_jobs == 4 * 4 + 1 + 1 + 3


def test_order_of_arrival_does_not_matter():
    prov = provenance()
    first = ids(prov, 0, 1)[0]
    done, _ = memory_stores()
    jobs = [
        decode(prov, 0, 5),
        hull(prov, 0, 5),
        select(prov, 5, n_select=4),
        tune(prov, [0, 1, 2, 3]),
        relax(first, tuned_of(0)),
    ]
    run_jobs(jobs, done)
    outputs = [done.query_one({"uuid": each.uuid}) for each in jobs]
    found = []
    orders = list(itertools.permutations(outputs))
    for order in random.Random(0).sample(orders, 40):
        job_store, candidates = memory_stores()
        for output in order:
            job_store.docs_store.update(dict(output), key=["uuid", "index"])
            CandidateBuilder(job_store, candidates).run_incrementally()
        found.append(contents(candidates.store))
        assert status_of(candidates, first) == ("relaxed", None, None)
    assert all(each == found[0] for each in found)
    assert found[0][first]["tuning"]["changed"] is True
    assert found[0][first]["energy_above_hull"] == above_of(0)


def test_tuning_waits_for_its_candidates(stores):
    prov = provenance()
    run_jobs([tune(prov, [0, 1])], stores.job_store)
    assert build(stores).n_changed == 0
    run_jobs([decode(prov, 0, 2)], stores.job_store)
    build(stores)
    first = stores.candidates.get(ids(prov, 0, 1)[0])
    assert first.tuning.reason == "made more symmetric"
    assert first.selection is None
    assert first.status == "decoded"
    run_jobs([select(prov, 2)], stores.job_store)
    build(stores)
    again = stores.candidates.get(first.candidate_id)
    assert again.tuning == first.tuning
    assert again.status == "selected"


def test_tuning_run_again_without_a_candidate_forgets_it(stores):
    prov = provenance()
    tuning = tune(prov, [0, 1])
    run_jobs([decode(prov, 0, 3), select(prov, 3), tuning], stores.job_store)
    build(stores)
    left, stays, joins = ids(prov, 0, 3)
    rerun(tuning, lambda: tune(prov, [1, 2]), stores.job_store)
    build(stores)
    gone = stores.candidates.get(left)
    assert gone.tuning is None
    assert "tune" not in gone.jobs
    assert "tune" not in gone.versions
    assert gone.status == "selected"
    for identifier in (stays, joins):
        doc = stores.candidates.get(identifier)
        assert doc.tuning.candidate_id == identifier
        assert doc.jobs["tune"] == f"{tuning.uuid}:2"
    assert build(stores).n_changed == 0


def test_decoding_run_again_keeps_what_was_tuned(stores):
    prov = provenance()
    decoding = decode(prov, 0, 1)
    run_jobs([decoding, select(prov, 1), tune(prov, [0])], stores.job_store)
    build(stores)
    rerun(decoding, lambda: decode(prov, 0, 1), stores.job_store)
    build(stores)
    doc = stores.candidates.get(ids(prov, 0, 1)[0])
    assert doc.jobs["decode"] == f"{decoding.uuid}:2"
    assert doc.tuning.structure == tuned_of(0)


def test_a_screen_waits_for_its_candidates_and_is_not_lost(stores):
    prov = provenance()
    run_jobs([screen(prov, 0, 5)], stores.job_store)
    assert build(stores).n_changed == 0
    assert stores.candidates.count() == 0
    run_jobs([decode(prov, 0, 3)], stores.job_store)
    build(stores)
    assert stores.candidates.count(status="screened") == 3
    run_jobs([decode(prov, 3, 2)], stores.job_store)
    build(stores)
    assert stores.candidates.count(status="screened") == 4
    assert stores.candidates.count(status="rejected") == 1


def rerun(old, make, job_store):
    """Run a job again, as the same job of the next index."""
    new = make()
    new.set_uuid(old.uuid)
    new.index = old.index + 1
    run_jobs([new], job_store)


def test_a_job_run_again_replaces_what_it_said(stores):
    prov = provenance()
    jobs = [decode(prov, 0, 6), screen(prov, 0, 6)]
    run_jobs(jobs, stores.job_store)
    build(stores)
    first, last = ids(prov, 0, 6)[0], ids(prov, 0, 6)[5]
    rerun(jobs[1], lambda: screen(prov, 0, 5, shift=1.0), stores.job_store)
    build(stores)
    again = stores.candidates.get(first)
    assert again.formation_energy_per_atom == pytest.approx(energy_of(0) + 1)
    assert again.jobs["cgcnn"] == f"{jobs[1].uuid}:2"
    # the new run says nothing about the last
    assert stores.candidates.get(last).screens == {}
    assert stores.candidates.get(last).status == "decoded"
    rerun(jobs[0], lambda: decode(prov, 0, 4), stores.job_store)
    summary = build(stores)
    assert summary.n_removed == 2
    assert stores.candidates.count() == 4
    assert stores.candidates.get(first).screens["cgcnn"].passed
    assert build(stores).n_changed == 0


def test_the_later_of_two_jobs_counts_whichever_is_built_first():
    prov = provenance()
    found = []
    for late_first in (False, True):
        job_store, candidates = memory_stores()
        jobs = [decode(prov, 0, 3), screen(prov, 0, 3), screen(prov, 0, 3, shift=2.0)]
        for each in jobs:
            run_jobs([each], job_store)
        if late_first:
            held = job_store.query_one({"uuid": jobs[1].uuid})
            job_store.remove_docs({"uuid": jobs[1].uuid})
            CandidateBuilder(job_store, candidates).run_incrementally()
            job_store.docs_store.update(held, key=["uuid", "index"])
        CandidateBuilder(job_store, candidates).run_incrementally()
        found.append(contents(candidates.store))
        first = candidates.get(ids(prov, 0, 1)[0])
        assert first.formation_energy_per_atom == pytest.approx(energy_of(0) + 2)
    assert found[0] == found[1]


def test_two_screens(stores):
    prov = provenance()
    jobs = [decode(prov, 0, 5), screen(prov, 0, 5), screen(prov, 0, 5, name="m3gnet.1", shift=0.5)]
    for each in jobs:
        run_jobs([each], stores.job_store)
    build(stores)
    first = stores.candidates.get(ids(prov, 0, 1)[0])
    assert set(first.screens) == {"cgcnn", "m3gnet_1"}
    assert first.formation_energy_per_atom == pytest.approx(energy_of(0) + 0.5)


def test_a_relaxation_without_any_step_keeps_what_there_is(stores):
    prov = provenance()
    first = ids(prov, 0, 1)[0]
    jobs = [decode(prov, 0, 1), screen(prov, 0, 1), relax(first, structure_of(0), steps=0)]
    run_jobs(jobs, stores.job_store)
    build(stores)
    doc = stores.candidates.get(first)
    assert status_of(stores.candidates, first) == ("rejected", "relax", "step 1: forces exploded")
    assert doc.structure == structure_of(0)
    assert doc.relaxed_structure is None
    assert doc.energy_per_atom is None
    assert doc.relaxation.completed_steps == 0


def test_campaigns_share_a_store(stores):
    run_jobs(campaign_jobs("a", n=10), stores.job_store)
    run_jobs(campaign_jobs("b", n=10), stores.job_store)
    build(stores)
    assert stores.candidates.count(campaign="a") == stores.candidates.count(campaign="b") == 10


def test_what_an_interrupted_build_left_is_completed(stores):
    run_jobs(campaign_jobs(), stores.job_store)
    build(stores)
    whole = contents(stores.candidates.store)
    docs = list(stores.candidates.store.query({}))
    for doc in docs[::3]:  # never written
        stores.candidates.store.remove_docs({"candidate_id": doc["candidate_id"]})
    for doc in docs[1::3]:  # written by the stage before only
        if "cgcnn" in doc["jobs"]:
            for field in ("jobs", "completed_at", "screens"):
                doc[field].pop("cgcnn")
            stores.candidates.store.update(doc)
    build(stores)
    assert contents(stores.candidates.store) == whole


@pytest.mark.mongo
def test_the_same_documents_in_any_store(tmp_path, mongo_uri):
    memory = memory_stores()
    monty = (
        JobStore(
            MontyStore("outputs", database_path=str(tmp_path / "monty")),
            additional_stores={"data": MontyStore("data", database_path=str(tmp_path / "monty"))},
        ),
        CandidateStore(MontyStore("candidates", database_path=str(tmp_path / "monty"))),
    )
    embedded = open_stores(tmp_path / "embedded")
    mongo = open_stores(mongo_uri)
    found = []
    for job_store, candidates in (
        memory,
        monty,
        (embedded.job_store, embedded.candidates),
        (mongo.job_store, mongo.candidates),
    ):
        job_store.connect()
        candidates.connect()
        run_jobs(campaign_jobs(n=20), job_store)
        CandidateBuilder(job_store, candidates).run_incrementally()
        CandidateBuilder(job_store, candidates).run_incrementally()
        found.append(contents(candidates.store))
    assert len(found[0]) == 20
    assert all(each == found[0] for each in found)


def test_runs_as_a_maggma_builder(stores, tmp_path):
    run_jobs(campaign_jobs(n=20), stores.job_store)
    builder = CandidateBuilder(stores.job_store, stores.candidates)
    again = MontyDecoder().process_decoded(builder.as_dict())
    assert isinstance(again, CandidateBuilder)
    assert isinstance(again.candidates.store, EmbeddedStore)
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    again.run(log_level=logging.WARNING)
    root.setLevel(level)
    root.handlers[:] = handlers
    stores.candidates.connect()
    assert stores.candidates.count() == 20


def test_arrays_are_not_read(stores, monkeypatch):
    run_jobs(campaign_jobs(n=10), stores.job_store)
    data = stores.job_store.additional_stores["data"]
    monkeypatch.setattr(data, "query", lambda *_, **__: pytest.fail("arrays were read"))
    build(stores)
    assert stores.candidates.count() == 10

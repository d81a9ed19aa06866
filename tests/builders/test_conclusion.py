"""Relaxations by a stand-in for VASP, and the errors of relaxations that failed."""

from __future__ import annotations

import itertools

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore

from crystens_flows.builders import CandidateBuilder
from crystens_flows.builders.conclusion import STAND_IN_REASON
from crystens_flows.candidates import CandidateStore
from crystens_flows.stores import open_stores
from stage_jobs import (
    contents,
    decode,
    ids,
    provenance,
    relax,
    run_jobs,
    screen,
    structure_of,
)

FAILED = "relaxation failed: step 3 of 4"
UUIDS = ["a", "b", "c", "d"]


@pytest.fixture
def stores(tmp_path):
    return open_stores(tmp_path / "store")


def build(stores, **options):
    builder = CandidateBuilder(stores.job_store, stores.candidates, **options)
    builder.run_incrementally()
    return builder.summary


def relaxed_by_stand_in(stores, **more):
    prov = provenance()
    first, second = ids(prov, 0, 2)
    jobs = [
        decode(prov, 0, 2),
        screen(prov, 0, 2),
        relax(first, structure_of(0), stand_in=True, energy_above_hull=0.02, **more),
        relax(second, structure_of(1), energy_above_hull=0.01),
    ]
    run_jobs(jobs, stores.job_store)
    return first, second


def test_a_stand_in_is_refused(stores):
    first, second = relaxed_by_stand_in(stores)
    build(stores)
    doc = stores.candidates.get(first)
    assert (doc.status, doc.rejected_by, doc.reason) == ("rejected", "relax", STAND_IN_REASON)
    assert (doc.energy_per_atom, doc.energy_above_hull_dft, doc.relaxed_structure) == (None,) * 3
    assert doc.relaxation.stand_in
    assert doc.relaxation.energies[4] == pytest.approx(-16.0)
    other = stores.candidates.get(second)
    assert (other.status, other.reason) == ("relaxed", None)
    assert (other.energy_per_atom, other.energy_above_hull_dft) == (-4.0, 0.01)
    assert other.relaxed_structure == structure_of(1)
    assert stores.candidates.count(status="relaxed") == 1
    assert build(stores).n_changed == 0


def test_a_stand_in_is_accepted_where_asked(stores):
    first, _ = relaxed_by_stand_in(stores)
    build(stores, accept_stand_in=True)
    doc = stores.candidates.get(first)
    assert (doc.status, doc.rejected_by, doc.reason) == ("relaxed", None, None)
    assert (doc.energy_per_atom, doc.energy_above_hull_dft) == (-4.0, 0.02)
    assert doc.relaxed_structure == structure_of(0)
    assert doc.relaxation.stand_in
    assert doc.relaxation.structure is None
    assert build(stores, accept_stand_in=True).n_changed == 0


def test_what_counts_is_how_it_was_built_last(tmp_path):
    """However often, in whatever order, and whatever else arrives between."""
    expected = {}
    for accept in (False, True):
        stores = open_stores(tmp_path / str(accept))
        relaxed_by_stand_in(stores)
        build(stores, accept_stand_in=accept)
        expected[accept] = contents(stores.candidates.store)
    assert expected[False] != expected[True]
    stores = open_stores(tmp_path / "both")
    relaxed_by_stand_in(stores)
    changes = []
    for accept in (False, True, True, False, True, False):
        summary = build(stores, accept_stand_in=accept)
        changes.append((summary.n_jobs, summary.n_changed))
        assert contents(stores.candidates.store) == expected[accept]
    assert changes == [(4, 2), (0, 1), (0, 0), (0, 1), (0, 1), (0, 1)]


@pytest.mark.parametrize("accept", [False, True])
def test_order_of_arrival_does_not_matter(accept, tmp_path):
    source = open_stores(tmp_path / "source")
    first, second = relaxed_by_stand_in(source)
    outputs = list(source.job_store.query({}))
    found = []
    for order in itertools.permutations(outputs):
        job_store = JobStore(MemoryStore("jobs"), additional_stores={"data": MemoryStore("data")})
        candidates = CandidateStore(MemoryStore("candidates"))
        builder = CandidateBuilder(job_store, candidates, accept_stand_in=accept)
        job_store.connect()
        for output in order:
            job_store.docs_store.update(dict(output), key=["uuid", "index"])
            builder.run_incrementally()
        found.append(contents(candidates.store))
    assert all(each == found[0] for each in found)
    assert found[0][first]["status"] == ("relaxed" if accept else "rejected")
    assert found[0][second]["status"] == "relaxed"


def test_a_stand_in_that_failed_is_refused_as_one(stores):
    first, _ = relaxed_by_stand_in(stores, steps=2, reason=FAILED, step_uuids=UUIDS)
    build(stores)
    doc = stores.candidates.get(first)
    assert (doc.reason, doc.relaxed_structure) == (STAND_IN_REASON, None)
    build(stores, accept_stand_in=True, failures={"c": "ReturnCodeError: it was killed"})
    doc = stores.candidates.get(first)
    assert doc.reason == f"{FAILED}: ReturnCodeError: it was killed"
    assert doc.relaxed_structure == structure_of(0)
    assert doc.energy_per_atom is not None


def failed(stores, reason=FAILED, uuids=UUIDS):
    prov = provenance()
    (first,) = ids(prov, 0, 1)
    relaxation = relax(first, structure_of(0), steps=2, reason=reason, step_uuids=uuids)
    run_jobs([decode(prov, 0, 1), relaxation], stores.job_store)
    return first


ERRORS = {"a": "of another", "c": "ReturnCodeError: killed: at once", "x": "of another"}


def test_the_error_of_the_step_that_failed(stores):
    first = failed(stores)
    build(stores, failures=ERRORS)
    doc = stores.candidates.get(first)
    assert doc.reason == doc.relaxation.reason == f"{FAILED}: ReturnCodeError: killed: at once"
    assert (doc.status, doc.rejected_by) == ("rejected", "relax")
    # a later build knows no errors, and does not lose this one
    assert build(stores).n_changed == 0
    run_jobs([screen(provenance(), 0, 1)], stores.job_store)
    assert build(stores).n_changed == 1
    assert stores.candidates.get(first).reason == doc.reason


def test_an_error_known_later(stores):
    first = failed(stores)
    build(stores)
    assert stores.candidates.get(first).reason == FAILED
    assert build(stores, failures={"x": "of another"}).n_changed == 0
    assert build(stores, failures={"c": "once"}).n_changed == 1
    assert build(stores, failures={"c": "twice"}).n_changed == 1
    assert stores.candidates.get(first).reason == f"{FAILED}: twice"
    assert build(stores, failures={"c": "twice"}).n_changed == 0


@pytest.mark.parametrize(
    ("reason", "uuids"),
    [
        ("relaxation diverged: step 3 of 4, the cell exploded", UUIDS),
        ("forces exploded", UUIDS),
        (FAILED, ["a", "b"]),
        (FAILED, []),
        (None, UUIDS),
    ],
)
def test_reasons_that_no_error_belongs_to(reason, uuids, stores):
    first = failed(stores, reason, uuids)
    build(stores, failures=ERRORS)
    assert stores.candidates.get(first).reason == (reason or "2 of 4 relaxations finished")


def test_serialised_with_its_options(stores):
    from monty.json import MontyDecoder

    builder = CandidateBuilder(stores.job_store, stores.candidates, True, ERRORS)
    again = MontyDecoder().process_decoded(builder.as_dict())
    assert again.accept_stand_in is True
    assert again.failures == ERRORS

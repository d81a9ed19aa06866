"""The index of the explorer beside a filter in Python and the store that it follows."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maggma.stores import MemoryStore
from report_run import candidates as real_candidates

from crystens_flows.candidates import CandidateStore
from crystens_flows.errors import CrystensError, InputError
from crystens_flows.explore.index import FIELDS, CandidateIndex
from crystens_flows.stores import open_stores
from random_candidates import SORTS, candidates, matches, ordered, queries

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def document(number, seconds=0, **fields):
    return {
        "candidate_id": f"c-{number:03}",
        "campaign": "a",
        "index": number,
        "status": "decoded",
        "last_updated": BEGIN + timedelta(seconds=seconds),
        **fields,
    }


def ids(index):
    return [row["candidate_id"] for row in index.find({})]


@pytest.fixture(params=["embedded", pytest.param("mongo", marks=pytest.mark.mongo)])
def candidate_store(request, tmp_path):
    place = request.getfixturevalue("mongo_uri") if request.param == "mongo" else tmp_path / "store"
    return open_stores(place).candidates


@pytest.fixture
def index(candidate_store):
    found = CandidateIndex(candidate_store)
    yield found
    found.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), n=st.integers(1, 15))
def test_as_a_filter_in_python(data, n):
    docs = [data.draw(candidates(number)) for number in range(n)]
    store = MemoryStore()
    store.connect()
    store.update([dict(doc) for doc in docs], key="candidate_id")
    index = CandidateIndex(CandidateStore(store))
    index.refresh()
    for _ in range(4):
        query = data.draw(queries)
        sort, descending = data.draw(st.sampled_from(SORTS)), data.draw(st.booleans())
        skip, limit = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
        expected = ordered([doc for doc in docs if matches(doc, query)], sort, descending)
        expected = [doc["candidate_id"] for doc in expected]
        assert index.count(query) == len(expected)
        found = index.find(query, sort=sort, descending=descending, limit=limit, skip=skip)
        assert [row["candidate_id"] for row in found] == expected[skip : skip + limit]
    index.close()


def test_keeps_the_fields_of_real_documents(tmp_path):
    documents = real_candidates()
    store = open_stores(tmp_path / "store").candidates
    store.store.update([each.model_dump(mode="json") for each in documents])
    index = CandidateIndex(store)
    index.refresh()
    rows = index.find({}, sort="candidate_id")
    assert [set(row) for row in rows] == [set(FIELDS)] * len(documents)
    for row, each in zip(rows, documents, strict=True):
        assert row["formula"] == each.formula
        assert row["selection.rank"] == each.selection.rank
        assert row["relaxation.engine"] == each.relaxation.engine
        assert row["energy_above_hull"] == each.energy_above_hull
    index.close()


def test_follows_what_is_written_and_removed(candidate_store, index):
    store = candidate_store.store
    index.refresh()
    assert index.progress.total == 0
    store.update([document(k) for k in range(4)])
    index.refresh()
    assert ids(index) == ["c-000", "c-001", "c-002", "c-003"]
    # one is written anew, one is new, of the same moment as what was read last
    store.update([document(1, 1, status="screened"), document(4, 0)])
    store.remove_docs({"candidate_id": "c-002"})
    index.refresh()
    assert ids(index) == ["c-000", "c-001", "c-003", "c-004"]
    assert index.find({"status": "screened"})[0]["candidate_id"] == "c-001"
    assert index.campaigns() == {"a": {"decoded": 3, "screened": 1}}


def test_an_embedded_store_that_nobody_wrote_to_is_not_read_again(tmp_path):
    store = open_stores(tmp_path / "store").candidates
    store.store.update([document(0)])
    index = CandidateIndex(store)
    index.refresh()
    asked = []
    query = store.store.query
    store.store.query = lambda *given, **named: asked.append(given) or query(*given, **named)
    index.refresh()
    assert asked == []
    # another process writes
    open_stores(tmp_path / "store").candidates.store.update([document(1, 1)])
    index.refresh()
    assert len(asked) == 1
    assert ids(index) == ["c-000", "c-001"]
    index.close()


def test_what_is_written_while_the_store_is_read_is_read_the_next_time(candidate_store, index):
    store = candidate_store.store
    now = datetime.now(tz=UTC)
    store.update([document(k, last_updated=now - timedelta(seconds=10 - k)) for k in range(9)])
    query = store.query

    def written_meanwhile(*given, **named):
        found = query(*given, **named)
        yield next(found)
        # behind what was read, and earlier than what is read later in this pass
        earlier = now - timedelta(seconds=5)
        store.update([document(0, status="screened", last_updated=earlier)])
        yield from found

    store.query = written_meanwhile
    index.refresh()
    store.query = query
    index.refresh()
    assert [row["candidate_id"] for row in index.find({"status": "screened"})] == ["c-000"]


def test_a_new_candidate_with_an_old_time_is_read(candidate_store, index):
    candidate_store.store.update([document(0)])
    index.refresh()
    candidate_store.store.update([document(1, -86400)])
    candidate_store.store.remove_docs({"candidate_id": "c-000"})
    candidate_store.store.update([document(2, -86400)])
    index.refresh()
    assert ids(index) == ["c-001", "c-002"]


def test_what_the_index_cannot_keep_leaves_it_in_order(candidate_store, index, monkeypatch):
    docs = [document(0), document(1, n_sites=2**70)]
    monkeypatch.setattr(candidate_store.store, "query", lambda *_, **__: iter(docs))
    with pytest.raises(CrystensError, match="the store cannot be read"):
        index.refresh()
    monkeypatch.undo()
    assert ids(index) == []
    candidate_store.store.update([document(0)])
    index.refresh()
    assert ids(index) == ["c-000"]


def test_a_long_first_reading_is_followed_by_the_next_at_once(candidate_store, index):
    began, refresh = [], index.refresh
    candidate_store.store.update([document(0)])

    def slow():
        began.append(time.monotonic())
        if len(began) == 1:
            time.sleep(0.5)
        refresh()

    index.refresh = slow
    index.follow(0.05)
    end = time.monotonic() + 20
    while len(began) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert began[1] - began[0] < 4


def test_reads_in_a_thread_of_its_own(candidate_store, index):
    index.follow(0.05)
    candidate_store.store.update([document(0)])
    end = time.monotonic() + 20
    while not ids(index) and time.monotonic() < end:
        time.sleep(0.05)
    assert ids(index) == ["c-000"]


def test_a_store_that_fails_is_told_and_what_was_read_kept(candidate_store, index, monkeypatch):
    candidate_store.store.update([document(0)])
    index.refresh()
    candidate_store.store.update([document(1, 1)])

    def fails(*_, **__):
        raise OSError("the disk is gone")

    monkeypatch.setattr(candidate_store.store, "query", fails)
    with pytest.raises(CrystensError, match="the store cannot be read: the disk is gone"):
        index.refresh()
    assert "the disk is gone" in index.progress.problem
    assert ids(index) == ["c-000"]
    monkeypatch.undo()
    index.refresh()
    assert index.progress.problem is None
    assert ids(index) == ["c-000", "c-001"]


def test_ranges_and_systems(candidate_store, index):
    energies = {"Na-Cl": [-2.0, -1.0], "Li-Fe-O": [-1.5], "O": [0.0], "Li-O": [None]}
    docs = []
    for system, values in energies.items():
        chemsys = "-".join(sorted(system.split("-")))
        docs += [
            document(
                len(docs) + k,
                chemsys=chemsys,
                n_elements=len(chemsys.split("-")),
                formation_energy_per_atom=value,
            )
            for k, value in enumerate(values)
        ]
    candidate_store.store.update(docs)
    index.refresh()
    assert index.ranges() == {"formation_energy_per_atom": (-2.0, 0.0)}
    assert index.systems(9) == [("Cl-Na", 2), ("Fe-Li-O", 1)]
    assert index.systems(1) == [("Cl-Na", 2)]


@pytest.mark.parametrize(
    ("filters", "options", "said"),
    [
        ({"formula": "Xx"}, {}, "formula 'Xx' cannot be read"),
        ({"criteria": {"formula": "NaCl"}}, {}, "no filter 'criteria'"),
        ({}, {"sort": "formula; DROP TABLE candidates"}, "cannot be sorted by"),
    ],
)
def test_refuses_what_is_no_filter_or_field(index, filters, options, said):
    with pytest.raises(InputError, match=said):
        index.find(filters, **options)


def test_text_from_documents_and_addresses_is_no_sql(candidate_store, index):
    hostile = "a'; DROP TABLE candidates; --"
    candidate_store.store.update([document(0, formula=hostile, campaign=hostile)])
    index.refresh()
    assert index.find({"campaign": hostile})[0]["formula"] == hostile
    assert index.count({"campaign": "a' OR '1'='1"}) == 0
    assert index.count({}) == 1

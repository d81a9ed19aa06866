"""Several builders on one store."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crystens_flows.builders import CandidateBuilder, changes
from crystens_flows.candidate_writes import stamped, write_unchanged
from crystens_flows.stores import open_stores
from stage_jobs import campaign_jobs, contents, decode, ids, provenance, run_jobs, screen

KINDS = ["embedded", pytest.param("mongo", marks=pytest.mark.mongo)]


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    if request.param == "mongo":
        return request.getfixturevalue("mongo_uri")
    return str(tmp_path / "store")


BUILD = """
import sys, time
from pathlib import Path
from crystens_flows.builders import CandidateBuilder, changes
from crystens_flows.stores import open_stores
changes.CANDIDATES_AT_ONCE = 7
stores = open_stores(sys.argv[1])
builder = CandidateBuilder(stores.job_store, stores.candidates)
Path(sys.argv[2]).touch()
while not Path(sys.argv[3]).exists():
    time.sleep(0.001)
builder.run_incrementally()
print(builder.summary.n_changed)
"""


def test_two_processes_leave_what_one_does(place, tmp_path):
    stores = open_stores(place)
    run_jobs(campaign_jobs(n=24, chunk=4), stores.job_store)
    alone = open_stores(tmp_path / "alone").candidates
    CandidateBuilder(stores.job_store, alone).run_incrementally()
    go = tmp_path / "go"
    ready = [tmp_path / f"ready-{k}" for k in range(2)]
    command = [sys.executable, "-c", BUILD, place]
    processes = [
        subprocess.Popen([*command, str(file), str(go)], stdout=subprocess.PIPE, text=True)
        for file in ready
    ]
    _wait_for(ready, processes)
    go.touch()
    changed = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(changed) >= 24
    assert stores.candidates.count() == len({d["candidate_id"] for d in stores.candidates.query()})
    assert contents(stores.candidates.store) == contents(alone.store)
    last = CandidateBuilder(stores.job_store, stores.candidates)
    assert last.run_incrementally() == 0  # nothing was left to be put right
    assert last.summary.n_jobs == 0


def _wait_for(files: list[Path], processes: list[subprocess.Popen]) -> None:
    import time

    for _ in range(6000):
        if all(file.exists() for file in files):
            return
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    pytest.fail("the builders did not start")


@pytest.mark.parametrize("before", [0, 1])
def test_one_that_is_overtaken_merges_again(place, tmp_path, monkeypatch, before):
    """Another builder does all there is to do between what one reads and what it writes."""
    monkeypatch.setattr(changes, "CANDIDATES_AT_ONCE", 7)
    stores, other = open_stores(place), open_stores(place)
    run_jobs(campaign_jobs(n=20, chunk=5), stores.job_store)
    alone = open_stores(tmp_path / "alone").candidates
    CandidateBuilder(stores.job_store, alone).run_incrementally()
    slow = CandidateBuilder(stores.job_store, stores.candidates)
    slow.candidates.ensure_indexes()
    items = slow.get_items()
    for _ in range(before):
        slow.update_targets([slow.process_item(next(items))])
    result = slow.process_item(next(items))
    assert result["write"]
    CandidateBuilder(other.job_store, other.candidates).run_incrementally()
    slow.update_targets([result])  # and it is not there to put it right
    assert contents(stores.candidates.store) == contents(alone.store)


def test_one_that_has_not_seen_the_newest_job_undoes_nothing(place):
    stores, other = open_stores(place), open_stores(place)
    prov = provenance()
    run_jobs([decode(prov, 0, 4)], stores.job_store)
    slow = CandidateBuilder(stores.job_store, stores.candidates)
    slow.run_incrementally()
    run_jobs([screen(prov, 0, 4)], stores.job_store)
    items = slow.get_items()
    result = slow.process_item(next(items))
    run_jobs([screen(prov, 0, 4, shift=5.0)], other.job_store)
    CandidateBuilder(other.job_store, other.candidates).run_incrementally()
    slow.update_targets([result])
    for item in items:
        slow.update_targets([slow.process_item(item)])
    assert stores.candidates.get(ids(prov, 0, 1)[0]).formation_energy_per_atom == pytest.approx(5.0)
    assert CandidateBuilder(stores.job_store, stores.candidates).run_incrementally() == 0


def test_writes_are_refused_to_who_has_not_read_the_last(place):
    candidates = open_stores(place).candidates
    store = candidates.store
    candidates.ensure_indexes()

    def now():
        return {doc["candidate_id"]: doc["last_updated"] for doc in store.query()}

    def doc(name, value, read=None):
        return stamped({"candidate_id": name, "value": value}, read)

    def values():
        return {each["candidate_id"]: each["value"] for each in store.query()}

    assert write_unchanged(store, [], [], {})
    assert write_unchanged(store, [doc("a", 1), doc("b", 1)], [], {})
    assert not write_unchanged(store, [doc("b", 2)], [], {})  # is there by now
    read = now()
    assert write_unchanged(store, [doc("a", 2, read["a"])], [], read)
    assert not write_unchanged(store, [doc("a", 3, read["a"])], [], read)
    assert not write_unchanged(store, [], ["a"], read)
    assert values() == {"a": 2, "b": 1}
    assert write_unchanged(store, [doc("c", 1)], ["b"], read)
    assert not write_unchanged(store, [doc("b", 4, read["b"])], [], read)  # is gone by now
    assert values() == {"a": 2, "c": 1}


def test_each_writing_is_later():
    future = datetime.now(tz=UTC) + timedelta(days=1)
    for read in (future, future.replace(tzinfo=None)):
        later = stamped({}, read)["last_updated"]
        assert timedelta() < later - future <= timedelta(milliseconds=1)
    assert abs(stamped({}, None)["last_updated"] - datetime.now(tz=UTC)) < timedelta(seconds=5)

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import yaml
from jobflow import JobStore, job, run_locally
from maggma.stores import GridFSStore, MemoryStore, MontyStore
from monty.json import MontyDecoder
from pymongo import uri_parser

from crystens_flows.candidates import INDEXES
from crystens_flows.embedded_store import EmbeddedStore
from crystens_flows.errors import StoreError
from crystens_flows.masking import without_password
from crystens_flows.schemas import ArrayBlob, Provenance, SampleDocument
from crystens_flows.stores import open_stores, with_password

FILES = Path(__file__).parents[1] / "stores"
DOCS = [
    {
        "uuid": f"u{number % 7}",
        "index": number // 7 + 1,
        "name": f"job {number}",
        "output": {
            "stage": ["decode", "screen"][number % 2],
            "energy": None if number % 5 == 0 else -0.1 * number,
            "records": [{"id": f"{number}-{k}", "passed": k % 2 == 0, "x": k} for k in range(3)],
            "elements": [["Na", "Cl"], ["Na"], ["Ga", "As", "N"]][number % 3],
        },
    }
    for number in range(30)
]
QUERIES = [
    {},
    {"uuid": "u3"},
    {"uuid": "u3", "index": 2},
    {"uuid": "u3", "index": 99},
    {"uuid": {"$in": ["u1", "u2", "no"]}},
    {"uuid": {"$in": []}},
    {"uuid": {"$ne": "u1"}},
    {"uuid": "u1", "output.stage": "decode"},
    {"output.stage": {"$in": ["screen"]}},
    {"output.energy": {"$gte": -1.0, "$lte": -0.3}},
    {"output.energy": None},
    {"output.missing": None},
    {"output.elements": {"$all": ["Na"]}},
    {"output.records.id": "4-1"},
    {"output.records.0.x": 0},
    {"output.records": {"$elemMatch": {"x": 2, "passed": True}}},
    {"$or": [{"uuid": "u1"}, {"output.energy": {"$lt": -2.5}}]},
    {"$and": [{"output.stage": "decode"}, {"index": {"$gt": 2}}]},
    {"$nor": [{"output.stage": "decode"}]},
    {"name": {"$regex": "^job 1"}},
]
NESTED = [
    {"uuid": f"n{number}", "index": 1, "name": f"nested {number}", **fields}
    for number, fields in enumerate(
        [
            {"a": None},
            {},
            {"a": {"b": None}},
            {"a": {"b": 2}},
            {"a": {"b": 1}},
            {"a": {}},
            {"a": {"b": {"c": 3}}},
            {"a": 7},
        ]
    )
]
NESTED_QUERIES = [
    ({"a.b": None}, "01257"),
    ({"a.b": {"$ne": None}}, "346"),
    ({"a.b": {"$exists": True}}, "2346"),
    ({"a.b": {"$exists": False}}, "0157"),
    ({"a.b.c": {"$ne": None}}, "6"),
    ({"a.b.c": None}, "0123457"),
    ({"a": None}, "01"),
    ({"a": {"$ne": None}}, "234567"),
    ({"$and": [{"a.b": {"$ne": None}}, {"uuid": {"$ne": "n3"}}]}, "46"),
]


def embedded(path: Path, name: str = "outputs") -> EmbeddedStore:
    store = EmbeddedStore(name, database_path=str(path), key="uuid")
    store.connect()
    return store


def plain(docs) -> list[dict]:
    return [{k: v for k, v in doc.items() if k != "_id"} for doc in docs]


@pytest.fixture
def memory() -> MemoryStore:
    store = MemoryStore(key="uuid")
    store.connect()
    return store


@job(data=ArrayBlob, output_schema=SampleDocument)
def sample(n: int) -> SampleDocument:
    provenance = Provenance(generator="wyckoff", checkpoint_sha256="ab", seed=1)
    tensors = np.arange(n * 4, dtype=np.float32).reshape(n, 4)
    return SampleDocument(provenance=provenance, start=0, n_samples=n, crystens=ArrayBlob(tensors))


@job
def total(blob: ArrayBlob) -> float:
    return float(blob.array.sum())


@pytest.mark.parametrize("criteria", QUERIES, ids=str)
def test_embedded_store_finds_what_mongomock_finds(tmp_path, memory, criteria):
    store = embedded(tmp_path)
    for each in (store, memory):
        each.update(DOCS, key=["uuid", "index"])
    assert store.count(criteria) == memory.count(criteria)
    for sort in ({"output.energy": -1, "name": 1}, {"index": 1, "uuid": -1}):
        for skip, limit in ((0, 0), (2, 3)):
            expected = plain(memory.query(criteria, sort=sort, skip=skip, limit=limit))
            assert plain(store.query(criteria, sort=sort, skip=skip, limit=limit)) == expected
    names = {doc["name"] for doc in memory.query(criteria)}
    assert {doc["name"] for doc in store.query(criteria)} == names


@pytest.mark.parametrize("backend", ["embedded", pytest.param("mongo", marks=pytest.mark.mongo)])
@pytest.mark.parametrize(("criteria", "expected"), NESTED_QUERIES, ids=str)
def test_nothing_stands_under_what_is_no_document(tmp_path, request, backend, criteria, expected):
    spec = tmp_path if backend == "embedded" else request.getfixturevalue("mongo_uri")
    store = open_stores(spec).job_store.docs_store
    store.update(NESTED, key=["uuid", "index"])
    assert "".join(doc["uuid"][1:] for doc in store.query(criteria, sort={"uuid": 1})) == expected
    assert store.count(criteria) == len(expected)
    by_value = [doc["uuid"] for doc in store.query({}, sort={"a.b": -1, "uuid": 1})]
    assert by_value == ["n6", "n3", "n4", "n0", "n1", "n2", "n5", "n7"]
    found = store.query(criteria, properties=["a.b.c"], sort={"uuid": 1})
    kept = [doc["a"] for doc in found if doc.get("a")]
    assert kept == [{"b": {"c": 3}}] * ("6" in expected)


@pytest.mark.parametrize(
    "properties",
    [
        ["uuid", "index"],
        ["output.stage", "output.records.id"],
        {"output": 0},
        {"output.records.x": 0, "uuid": 0},
        {"name": 1, "_id": 0},
        ["no.such"],
    ],
    ids=str,
)
def test_embedded_store_projects_as_mongomock(tmp_path, memory, properties):
    store = embedded(tmp_path)
    for each in (store, memory):
        each.update(DOCS, key=["uuid", "index"])
    order = {"name": 1}
    expected = plain(memory.query({}, properties=deepcopy(properties), sort=order))
    assert plain(store.query({}, properties=properties, sort=order)) == expected


def test_embedded_store_replaces_removes_and_lists(tmp_path):
    store = embedded(tmp_path)
    store.update(DOCS, key=["uuid", "index"])
    store.update([{**DOCS[3], "name": "new"}], key=["uuid", "index"])
    assert store.count() == len(DOCS)
    assert store.query_one({"uuid": DOCS[3]["uuid"], "index": 1})["name"] == "new"
    assert sorted(store.distinct("output.elements")) == ["As", "Cl", "Ga", "N", "Na"]
    assert sorted(store.distinct("uuid", {"index": 5})) == ["u0", "u1"]
    store.remove_docs({"uuid": "u1"})
    assert store.count({"uuid": "u1"}) == 0
    assert store.count() == len(DOCS) - 5


def test_update_of_many_documents_is_all_or_none(tmp_path):
    store = embedded(tmp_path)
    with pytest.raises(KeyError):
        store.update([DOCS[0], {"index": 1}], key=["uuid", "index"])
    assert store.count() == 0


def test_an_update_takes_as_many_steps_in_a_large_store(tmp_path):
    """SQLite's own steps, counted; those of an index grow with the logarithm."""

    def steps(number):
        store = embedded(tmp_path / str(number))
        store.connect()
        store.update([{"uuid": f"{k:05}"} for k in range(number)], key="uuid")
        counted = []
        store._connection.set_progress_handler(lambda: counted.append(1), 1)
        store.update([{"uuid": "new"}, {"uuid": "00007", "again": True}], key="uuid")
        store._connection.set_progress_handler(None, 0)
        assert store.count() == number + 1
        return len(counted)

    assert steps(3000) < 1.2 * steps(30)


def test_plain_monty_store_and_embedded_store_share_files(tmp_path):
    monty = MontyStore("outputs", database_path=str(tmp_path), key="uuid")
    monty.connect()
    monty.update(DOCS[:10], key=["uuid", "index"])
    store = embedded(tmp_path)
    assert store.query_one({"uuid": "u3", "index": 1})["name"] == "job 3"
    store.update([{**DOCS[3], "name": "ours"}, *DOCS[10:]], key=["uuid", "index"])
    assert store.count() == monty.count() == len(DOCS)
    assert monty.query_one({"uuid": "u3", "index": 1})["name"] == "ours"
    monty.update([{**DOCS[20], "name": "theirs"}], key=["uuid", "index"])
    found = store.query_one({"uuid": DOCS[20]["uuid"], "index": DOCS[20]["index"]})
    assert found["name"] == "theirs"
    assert store.count() == len(DOCS)


def check_job_store(stores) -> None:
    first = sample(3)
    second = total(first.output.crystens)
    responses = run_locally([first, second], store=stores.job_store, log=False)
    assert responses[second.uuid][1].output == 66.0
    stored = stores.job_store.query_one({"uuid": first.uuid})
    assert "zlib_base64" not in stored["output"]["crystens"]
    assert "blob_uuid" in stored["output"]["crystens"]
    loaded = MontyDecoder().process_decoded(stores.job_store.get_output(first.uuid, load=True))
    assert isinstance(loaded, SampleDocument)
    assert np.array_equal(loaded.crystens.array.ravel(), np.arange(12))
    stores.job_store.remove_docs({"uuid": first.uuid})
    assert stores.job_store.count() == 1
    assert stores.job_store.additional_stores["data"].count() == 0


def test_folder(tmp_path):
    check_job_store(open_stores(tmp_path / "store"))
    again = open_stores(str(tmp_path / "store"), create=False)
    assert again.job_store.count() == 1


@pytest.mark.mongo
def test_mongodb_uri(mongo_uri):
    stores = open_stores(mongo_uri)
    check_job_store(stores)
    indexed = stores.candidates.store._collection.index_information()
    for fields in (("candidate_id",), *INDEXES):
        assert "_".join(f"{field}_1" for field in fields) in indexed
    stores.close()


@pytest.mark.mongo
def test_mongodb_store_file(mongo_uri, tmp_path, monkeypatch):
    address, _, database = mongo_uri.removeprefix("mongodb://").partition("/")
    host, _, port = address.partition(":")
    text = (FILES / "mongodb.yaml").read_text().replace("port: 27017", f"port: {port}")
    text = text.replace("database: crystens", "database: ${TEST_DATABASE}")
    path = tmp_path / "mongodb.yaml"
    path.write_text(text.replace("localhost", host))
    monkeypatch.setenv("TEST_DATABASE", database)
    stores = open_stores(path)
    assert isinstance(stores.job_store.additional_stores["data"], GridFSStore)
    check_job_store(stores)


@pytest.mark.parametrize("name", ["embedded.yaml", "mongodb.yaml"])
def test_shipped_store_files_are_jobflow_configuration(name, tmp_path, monkeypatch):
    from jobflow.settings import JobflowSettings

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOBFLOW_CONFIG_FILE", str(FILES / name))
    store = JobflowSettings().JOB_STORE
    assert isinstance(store, JobStore)
    assert set(store.additional_stores) == {"data"}


def test_embedded_store_file_is_relative_to_itself(tmp_path, monkeypatch):
    path = tmp_path / "a" / "embedded.yaml"
    path.parent.mkdir()
    path.write_text((FILES / "embedded.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    check_job_store(open_stores(path))
    assert (path.parent / "crystens-store" / "db" / "outputs.collection").is_file()
    assert isinstance(open_stores(path).candidates.store, EmbeddedStore)


def test_candidate_store_of_its_own(tmp_path):
    spec = yaml.safe_load((FILES / "embedded.yaml").read_text())
    spec["CANDIDATE_STORE"] = {
        "type": "MontyStore",
        "collection_name": "found",
        "database_path": "elsewhere",
    }
    (tmp_path / "store.yaml").write_text(yaml.safe_dump(spec))
    open_stores(tmp_path / "store.yaml")
    assert (tmp_path / "elsewhere" / "db" / "found.collection").is_file()


def test_default_is_the_setting_then_the_output_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CRYSTENS_FLOWS_STORE", raising=False)
    open_stores()
    assert (tmp_path / "crystens-out" / "store" / "db" / "candidates.collection").is_file()
    monkeypatch.setenv("CRYSTENS_FLOWS_STORE", str(tmp_path / "mine"))
    open_stores()
    assert (tmp_path / "mine" / "db" / "candidates.collection").is_file()


BAD_FILES = {
    "not yaml": ("JOB_STORE: [", "store.yaml"),
    "no job store": ("stores: {}", "unknown key stores; known are JOB_STORE, CANDIDATE_STORE"),
    "no docs store": ("docs_store: {}", "docs_store is no store with a type"),
    "empty": ("", "no JOB_STORE"),
    "a list": ("[1]", "no JOB_STORE"),
    "a number as store": ("JOB_STORE: {docs_store: 5}", "docs_store is no store with a type"),
    "no type": ("JOB_STORE: {docs_store: {}}", "docs_store is no store with a type: write"),
    "type of a wrong kind": ("JOB_STORE: {docs_store: {type: [1]}}", "docs_store is no store"),
    "stores of a wrong kind": (
        "JOB_STORE: {docs_store: {type: MemoryStore}, additional_stores: [data]}",
        "additional_stores holds no stores by name: write",
    ),
    "a word as additional store": (
        "JOB_STORE: {docs_store: {type: MemoryStore}, additional_stores: {data: MemoryStore}}",
        "data is no store with a type",
    ),
    "a number as candidate store": (
        "{JOB_STORE: {docs_store: {type: MemoryStore}}, CANDIDATE_STORE: 5}",
        "CANDIDATE_STORE is no store with a type",
    ),
    "options of a wrong kind": (
        "JOB_STORE: {docs_store: {type: MongoStore, mongoclient_kwargs: 5}}",
        "mongoclient_kwargs of docs_store",
    ),
    "port of a wrong kind": (
        "JOB_STORE: {docs_store: {type: MongoStore, port: x, database: a, collection_name: b}, "
        "additional_stores: {data: {type: MemoryStore}}}",
        "wrong kind .port must be an instance of int.: correct the options",
    ),
    "path of a wrong kind": (
        "JOB_STORE: {docs_store: {type: MontyStore, database_path: 5, collection_name: b}, "
        "additional_stores: {data: {type: MemoryStore}}}",
        "an option is of a wrong kind",
    ),
    "key of a wrong kind": ("{JOB_STORE: {docs_store: {type: MemoryStore}}, 5: 6}", "key 5"),
    "unknown key": ("{JOB_STORE: {docs_store: {type: MemoryStore}}, X: 1}", "unknown key X"),
    "unknown type": ("JOB_STORE: {docs_store: {type: NoStore}}", "NoStore"),
    "no data": ("JOB_STORE: {docs_store: {type: MemoryStore}}", "'data'"),
    "wrong argument": ("JOB_STORE: {docs_store: {type: MontyStore, colour: red}}", "store.yaml"),
    "no variable": (
        "JOB_STORE: {docs_store: {type: MongoStore, password: '${NO_SUCH_VARIABLE}'}}",
        "NO_SUCH_VARIABLE is not set",
    ),
}


@pytest.mark.parametrize(("text", "named"), BAD_FILES.values(), ids=BAD_FILES)
def test_wrong_store_files(text, named, tmp_path):
    path = tmp_path / "store.yaml"
    path.write_text(text)
    with pytest.raises(StoreError, match=named) as caught:
        open_stores(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xd8\xff", b"SQLite format 3\x00\x10"])
def test_a_file_that_is_no_text(content, tmp_path):
    (tmp_path / "outputs.collection").write_bytes(content)
    with pytest.raises(StoreError, match=r"no YAML text.*the folder of a store") as caught:
        open_stores(tmp_path / "outputs.collection")
    assert "\n" not in str(caught.value)


def test_wrong_specs(tmp_path):
    with pytest.raises(StoreError, match="no store file"):
        open_stores(tmp_path / "no.yaml")
    with pytest.raises(StoreError, match="run `crystens discover` first"):
        open_stores(tmp_path / "no", create=False)
    assert not (tmp_path / "no").exists()
    with pytest.raises(StoreError, match="names no database"):
        open_stores("mongodb://localhost:1")
    with pytest.raises(StoreError, match="not a kind of store"):
        open_stores("postgresql://localhost/x")
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "outputs.collection").write_text("no database, but long enough" * 99)
    with pytest.raises(StoreError, match=r"outputs\.collection"):
        open_stores(tmp_path)


def test_unreachable_server_is_named_soon_and_without_its_password():
    start = time.monotonic()
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        open_stores("mongodb://anna:secret@127.0.0.1:9/crystens")
    assert time.monotonic() - start < 20
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_user_without_password_has_it_in_the_environment(monkeypatch):
    monkeypatch.setenv("CRYSTENS_DB_PASSWORD", "a b@c/d")
    for given in ("mongodb://anna@h/x?w=1", "mongodb://anna:***@h/x?w=1"):
        whole = with_password(given)
        assert uri_parser.parse_uri(whole)["password"] == "a b@c/d"
        assert without_password(whole) == "mongodb://anna:***@h/x?w=1"
    for given in ("mongodb://anna:other@h/x", "mongodb://h/x", "mongodb://h:27017/x"):
        assert with_password(given) == given
    monkeypatch.delenv("CRYSTENS_DB_PASSWORD")
    assert with_password("mongodb://anna@h/x") == "mongodb://anna@h/x"
    with pytest.raises(StoreError, match="set the environment variable CRYSTENS_DB_PASSWORD"):
        with_password("mongodb://anna:***@h/x")


@pytest.mark.parametrize("form", ["stores alone", "named by jobflow", "project"])
def test_store_files_of_other_programs(form, tmp_path, monkeypatch):
    spec = yaml.safe_load((FILES / "embedded.yaml").read_text())["JOB_STORE"]
    file = tmp_path / "a" / "store.yaml"
    file.parent.mkdir()
    if form == "project":  # in which nothing is filled in, as jobflow-remote fills in nothing
        spec["docs_store"]["database_name"] = "${db}"
        text = {"name": "p", "workers": {}, "queue": {}, "jobstore": spec}
    else:
        text = spec
    file.write_text(yaml.safe_dump(text))
    if form == "named by jobflow":
        file = tmp_path / "jobflow.yaml"
        file.write_text("JOB_STORE: a/store.yaml")
    monkeypatch.chdir(tmp_path)
    check_job_store(open_stores(file))
    database = "${db}" if form == "project" else "db"
    assert (tmp_path / "a" / "crystens-store" / database / "outputs.collection").is_file()


def _write_for_ever(folder: str, acknowledged) -> None:
    store = EmbeddedStore("outputs", database_path=folder, key="uuid")
    store.connect()
    number = 0
    while True:
        store.update({"uuid": f"u{number}", "index": 1, "blob": "x" * 5000}, key=["uuid", "index"])
        number += 1
        acknowledged.value = number


def test_what_was_acknowledged_outlives_sigkill_and_is_read_meanwhile(tmp_path):
    context = multiprocessing.get_context("fork")
    acknowledged = context.Value("i", 0)
    writer = context.Process(target=_write_for_ever, args=(str(tmp_path), acknowledged))
    writer.start()
    store = EmbeddedStore("outputs", database_path=str(tmp_path), key="uuid")
    deadline = time.monotonic() + 60
    while acknowledged.value < 100 and time.monotonic() < deadline:
        written = acknowledged.value
        assert store.count() >= written
        store.update({"uuid": f"mine {written}", "index": 1}, key=["uuid", "index"])
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    written = acknowledged.value
    assert written >= 100
    after = EmbeddedStore("outputs", database_path=str(tmp_path), key="uuid")
    found = {doc["uuid"] for doc in after.query({}, properties=["uuid"])}
    assert {f"u{number}" for number in range(written)} <= found

"""Candidates that earlier versions of the package stored, by schema version."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from pathlib import Path

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore

from crystens_flows.builders import CandidateBuilder
from crystens_flows.candidates import CandidateStore
from crystens_flows.errors import StoreError
from crystens_flows.schemas import CandidateDocument
from crystens_flows.schemas.candidate import SCHEMA_VERSION
from crystens_flows.schemas.candidate_versions import upgraded
from crystens_flows.stores import open_stores
from stage_jobs import campaign_jobs, contents, run_jobs

STORED = sorted((Path(__file__).parent / "stored").glob("candidates-*.json"))


def stored(path: Path) -> list[dict]:
    """Return candidates as that version of the package stored them."""
    docs = json.loads(path.read_text())["candidates"]
    for doc in docs:
        doc["last_updated"] = datetime.fromisoformat(doc["last_updated"]["$date"])
    return docs


@pytest.fixture(scope="module")
def now(tmp_path_factory) -> dict[int, dict]:
    """Return the same campaign as this version stores it, by index of the sample."""
    stores = open_stores(tmp_path_factory.mktemp("now"))
    run_jobs(campaign_jobs("old", n=12, chunk=6), stores.job_store)
    CandidateBuilder(stores.job_store, stores.candidates).run_incrementally()
    return {doc["index"]: doc for doc in stores.candidates.query()}


def test_there_is_one_file_for_each_version_before_this():
    assert [path.name for path in STORED] == [
        f"candidates-{version}.json" for version in range(1, SCHEMA_VERSION)
    ]
    for path in STORED:
        assert {doc["schema_version"] for doc in stored(path)} == {int(path.stem[-1])}


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_upgraded(path, now):
    docs = stored(path)
    before = copy.deepcopy(docs)
    for doc in docs:
        new = upgraded(doc)
        assert set(new) == set(CandidateDocument.model_fields)
        assert new["schema_version"] == SCHEMA_VERSION
        assert upgraded(new) == new
        validated = CandidateDocument.model_validate(new)
        assert validated.structure == CandidateDocument.model_validate(doc).structure
        # nothing is lost, nor changed
        for name, value in doc.items():
            if name not in ("schema_version", "screens", "selection", "relaxation"):
                assert new[name] == value, name
        for name in ("screens", "selection", "relaxation"):
            if doc[name] is not None:
                assert all(new[name][key] is not None for key in doc[name] if doc[name][key])
        # the names of each part are those that this version writes
        current = now[doc["index"]]
        for name in ("screens", "selection", "relaxation"):
            for part, other in zip(*_parts(new[name], current[name]), strict=True):
                if part is not None and other is not None:
                    assert set(part) == set(other), name
    assert docs == before


def _parts(mine, theirs):
    if mine and theirs and "cgcnn" in mine:
        common = sorted(mine.keys() & theirs.keys())
        return [mine[name] for name in common], [theirs[name] for name in common]
    return [mine], [theirs]


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, "1", 1.0, True, None])
def test_other_versions_are_refused(version):
    doc = {**stored(STORED[0])[0], "schema_version": version}
    with pytest.raises(StoreError, match=r"candidate 'c-[0-9a-f]*' (has|is of) schema.version"):
        upgraded(doc)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_built_on(path, now):
    """What was stored by an earlier version is read once more where its jobs are there."""
    job_store = JobStore(MemoryStore("jobs"), additional_stores={"data": MemoryStore("data")})
    candidates = CandidateStore(MemoryStore("candidates"))
    job_store.connect()
    candidates.connect()
    docs = stored(path)
    candidates.store.update(copy.deepcopy(docs))
    builder = CandidateBuilder(job_store, candidates)
    assert builder.run_incrementally() == 0  # nothing is known of their jobs
    read = {doc.candidate_id: doc for doc in candidates.documents()}
    assert {doc.schema_version for doc in read.values()} == {docs[0]["schema_version"]}

    run_jobs(campaign_jobs("old", n=12, chunk=6), job_store)
    builder.run_incrementally()
    found = contents(candidates.store)
    labels = {doc["candidate_id"]: set(doc["jobs"]) for doc in candidates.query()}
    # without the hull another was selected, whose jobs are not here
    same = [doc for doc in now.values() if labels[doc["candidate_id"]] == set(doc["jobs"])]
    assert len(same) >= 10
    for doc in same:
        expected = {name: doc[name] for name in found[doc["candidate_id"]]}
        assert found[doc["candidate_id"]] == expected
    assert all(doc["schema_version"] == SCHEMA_VERSION for doc in candidates.query())
    assert builder.run_incrementally() == 0

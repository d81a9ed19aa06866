"""Candidates as files and tables are those in the store; upgrades of stored documents."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Structure

from crystens_flows.candidate_export import EXPORT_FIELDS, RECORD_FIELDS, export
from crystens_flows.candidates import CandidateStore
from crystens_flows.errors import InputError
from crystens_flows.schemas import CandidateDocument
from crystens_flows.schemas.candidate import SCHEMA_VERSION
from crystens_flows.stores import open_stores

STORED = Path(__file__).parent / "builders" / "stored"


def stored(version: int) -> list[dict]:
    docs = json.loads((STORED / f"candidates-{version}.json").read_text())["candidates"]
    for doc in docs:
        doc["last_updated"] = datetime.fromisoformat(doc["last_updated"]["$date"])
    return docs


@pytest.fixture(params=["embedded", pytest.param("mongo", marks=pytest.mark.mongo)])
def store(request, tmp_path) -> CandidateStore:
    place = request.getfixturevalue("mongo_uri") if request.param == "mongo" else tmp_path / "store"
    store = open_stores(place).candidates
    store.store.update(stored(3))
    return store


def final(doc: CandidateDocument) -> Structure | None:
    return doc.relaxed_structure or doc.structure


def sites(structure: Structure) -> list[tuple]:
    return sorted((site.specie.symbol, *site.frac_coords.round(6)) for site in structure)


@pytest.mark.parametrize("fmt", ["cif", "json"])
def test_a_file_each_equals_the_store(store, tmp_path, fmt):
    files, without = export(store.query(properties=EXPORT_FIELDS), tmp_path / "out", fmt)
    assert len(files) + len(without) == 12
    assert without
    for file in files:
        kept, found = final(store.get(file.stem)), Structure.from_file(file)
        if fmt == "json":
            assert found == kept
        else:
            np.testing.assert_allclose(found.lattice.parameters, kept.lattice.parameters, atol=1e-6)
            assert sites(found) == sites(kept)  # in the order of the elements in a CIF


def test_extended_xyz_equals_the_store_to_the_last_digit(store, tmp_path):
    io = pytest.importorskip("ase.io", reason="the extra ase brings it")
    (file,), without = export(store.query(properties=EXPORT_FIELDS), tmp_path, "extxyz")
    frames = io.read(file, index=":", format="extxyz")
    assert len(frames) + len(without) == 12
    n_relaxed = 0
    for frame in frames:
        doc = store.get(frame.info["candidate_id"])
        kept = final(doc)
        assert frame.get_chemical_symbols() == [site.specie.symbol for site in kept]
        assert np.array_equal(frame.cell.array, kept.lattice.matrix)
        assert np.array_equal(frame.positions, kept.cart_coords)
        assert frame.pbc.all()
        assert frame.info["status"] == str(doc.status)
        assert frame.info.get("energy_above_hull") == doc.energy_above_hull
        if doc.relaxed_structure is not None:
            n_relaxed += 1
            assert frame.get_potential_energy() == doc.relaxation.energy
        else:
            assert frame.calc is None
    assert n_relaxed >= 2


def test_tables_equal_the_store(store, tmp_path):
    (file,), without = export(store.query(properties=EXPORT_FIELDS), tmp_path, "csv")
    assert without == []
    with file.open() as stream:
        rows = list(csv.DictReader(stream))
    docs = list(store.query())
    frame = store.to_dataframe()
    assert len(rows) == len(docs) == len(frame) == 12
    for row, doc, (_, record) in zip(rows, docs, frame.iterrows(), strict=True):
        assert tuple(row) == RECORD_FIELDS
        for name in RECORD_FIELDS:
            kept = doc[name]
            assert row[name] == ("" if kept is None else str(kept))
            assert (record[name] == kept) if kept is not None else pd.isna(record[name])


def test_validated_documents_are_exported_as_those_stored(store, tmp_path):
    for fmt in ("extxyz", "csv"):
        (one,), _ = export(store.query(properties=EXPORT_FIELDS), tmp_path / "a", fmt)
        (other,), _ = export(store.documents(), tmp_path / "b", fmt)
        assert one.read_text() == other.read_text()


def test_candidates_are_written_as_they_come(tmp_path):
    doc = stored(3)[0]

    def candidates():
        for k in range(3):
            assert sum(1 for _ in (tmp_path / "out").glob("*.cif")) == k
            yield {**doc, "candidate_id": f"c-{k}"}

    files, _ = export(candidates(), tmp_path / "out", "cif")
    assert len(files) == 3


@pytest.mark.parametrize("name", ["../../out", "/etc/x", ".hidden", "a/b", "", "a" * 200, "a\0"])
def test_identifiers_do_not_lead_out_of_the_folder(tmp_path, name):
    doc = {**stored(3)[0], "candidate_id": name}
    with pytest.raises(InputError, match="cannot be the name of a file"):
        export([doc], tmp_path / "deep" / "er" / "out", "cif")
    assert not list(tmp_path.rglob("*.cif"))


def test_what_cannot_be_finished_leaves_no_file(tmp_path):
    def broken():
        yield stored(3)[0]
        raise InputError("the store went away")

    for fmt in ("extxyz", "csv"):
        with pytest.raises(InputError, match="went away"):
            export(broken(), tmp_path / "out", fmt)
        assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_upgrade(store, version):
    docs = stored(version)
    store.store.remove_docs({})
    store.store.update(docs)
    before = {doc.candidate_id: doc for doc in store.documents()}
    summary = store.upgrade()
    assert (summary.n_upgraded, summary.refused) == (12, {})
    for doc in store.documents():
        old = before[doc.candidate_id]
        assert doc.schema_version == SCHEMA_VERSION
        assert doc.last_updated > old.last_updated
        same = {"schema_version": SCHEMA_VERSION, "last_updated": doc.last_updated}
        assert doc == old.model_copy(update=same)
    assert all(set(doc) == set(CandidateDocument.model_fields) for doc in store.query())
    assert store.upgrade().n_upgraded == 0


def test_an_upgrade_goes_on_where_it_was_interrupted(store, monkeypatch):
    from crystens_flows import candidates as module

    monkeypatch.setattr(module, "_AT_ONCE", 5)
    real, calls = module.write_unchanged, []

    def killed(*arguments):
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(module, "write_unchanged", killed)
    with pytest.raises(KeyboardInterrupt):
        store.upgrade()
    assert store.count(criteria={"schema_version": SCHEMA_VERSION}) == 5
    monkeypatch.setattr(module, "write_unchanged", real)
    assert store.upgrade().n_upgraded == 7
    assert store.count(criteria={"schema_version": SCHEMA_VERSION}) == 12


def test_what_cannot_be_upgraded_is_told_and_left(store):
    first, second, *_ = stored(3)
    later = {**first, "schema_version": SCHEMA_VERSION + 1}
    damaged = {**second, "relaxation": "gone"}
    store.store.update([later, damaged])
    summary = store.upgrade()
    assert summary.n_upgraded == 10
    assert set(summary.refused) == {first["candidate_id"], second["candidate_id"]}
    assert "install a later one" in summary.refused[first["candidate_id"]]
    assert store.store.query_one({"candidate_id": second["candidate_id"]})["relaxation"] == "gone"

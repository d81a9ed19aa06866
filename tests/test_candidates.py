from __future__ import annotations

import math

import pandas as pd
import pytest
from maggma.stores import MemoryStore
from monty.json import MontyDecoder
from pymatgen.core import Structure

from crystens_flows.builders import CandidateBuilder
from crystens_flows.candidates import RECORD_FIELDS, CandidateStore, export, nested_value
from crystens_flows.errors import InputError, OutputFolderError, StoreError
from crystens_flows.export_format import ExportFormat
from crystens_flows.schemas import CandidateDocument, CandidateStatus
from crystens_flows.stores import open_stores
from stage_jobs import (
    above_of,
    campaign_jobs,
    contents,
    ids,
    passes,
    provenance,
    run_jobs,
    structure_of,
)


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> list[dict]:
    """Candidates of two campaigns, built from jobs that ran."""
    stores = open_stores(tmp_path_factory.mktemp("candidates"))
    run_jobs(campaign_jobs("a", n=40), stores.job_store)
    run_jobs(campaign_jobs("b", n=20, seed=1), stores.job_store)
    CandidateBuilder(stores.job_store, stores.candidates).run_incrementally()
    return [
        {name: value for name, value in doc.items() if name != "_id"}
        for doc in stores.candidates.store.query({})
    ]


@pytest.fixture(params=["embedded", "memory", pytest.param("mongo", marks=pytest.mark.mongo)])
def candidates(request, documents, tmp_path):
    if request.param == "embedded":
        store = open_stores(tmp_path / "store").candidates
    elif request.param == "memory":
        store = CandidateStore(MemoryStore("candidates"))
    else:
        store = open_stores(request.getfixturevalue("mongo_uri")).candidates
    store.connect()
    store.store.update([dict(doc) for doc in documents])
    yield store
    store.close()


def has(doc, **wanted) -> bool:
    return all(doc[name] == value for name, value in wanted.items())


NOTHING, APART = {"formula": "Fe2O3"}, {"elements": ["Na", "Ga"]}
QUERIES = {
    "all": ({}, lambda _: True),
    "formula": ({"formula": "Cl2Na2"}, lambda doc: has(doc, formula="NaCl")),
    "formula of none": (NOTHING, lambda _: False),
    "chemsys": ({"chemsys": "Na-Cl"}, lambda doc: has(doc, chemsys="Cl-Na")),
    "elements": ({"elements": ["Ga"]}, lambda doc: "Ga" in doc["elements"]),
    "two elements": ({"elements": ["As", "Ga"]}, lambda doc: {"As", "Ga"} <= set(doc["elements"])),
    "elements apart": (APART, lambda _: False),
    "status": ({"status": "rejected"}, lambda doc: has(doc, status="rejected")),
    "status member": ({"status": CandidateStatus.RELAXED}, lambda doc: has(doc, status="relaxed")),
    "statuses": (
        {"status": ["relaxed", "screened"]},
        lambda doc: doc["status"] in ("relaxed", "screened"),
    ),
    "campaign": ({"campaign": "b"}, lambda doc: has(doc, campaign="b")),
    "energy": (
        {"formation_energy_per_atom": (-0.5, -0.2)},
        lambda doc: (
            doc["formation_energy_per_atom"] is not None
            and -0.5 <= doc["formation_energy_per_atom"] <= -0.2
        ),
    ),
    "energy below": (
        {"formation_energy_per_atom": (None, -0.5)},
        lambda doc: (doc["formation_energy_per_atom"] or 0) <= -0.5,
    ),
    "above hull": (
        {"energy_above_hull": (0.0, 0.1)},
        lambda doc: doc["energy_above_hull"] is not None and 0 <= doc["energy_above_hull"] <= 0.1,
    ),
    "on or below hull": (
        {"energy_above_hull": (None, 0.0)},
        lambda doc: doc["energy_above_hull"] is not None and doc["energy_above_hull"] <= 0,
    ),
    "far above hull": (
        {"energy_above_hull": (0.15, None), "status": "rejected"},
        lambda doc: (doc["energy_above_hull"] or 0) >= 0.15 and has(doc, status="rejected"),
    ),
    "known": (
        {"criteria": {"known_as": {"$ne": None}}},
        lambda doc: doc["known_as"] is not None,
    ),
    "tuned": (
        {"criteria": {"tuning.changed": True}},
        lambda doc: nested_value(doc, "tuning.changed") is True,
    ),
    "filtered": (
        {"criteria": {"selection.decision": "filtered"}},
        lambda doc: nested_value(doc, "selection.decision") == "filtered",
    ),
    "any energy": (
        {"energy_per_atom": (None, None)},
        lambda doc: doc["energy_per_atom"] is not None,
    ),
    "sites": ({"n_sites": (4, 4)}, lambda doc: doc["n_sites"] == 4),
    "criteria": (
        {"criteria": {"selection.rank": {"$lte": 2}}, "campaign": "a"},
        lambda doc: doc["campaign"] == "a" and (nested_value(doc, "selection.rank") or 9) <= 2,
    ),
    "several": (
        {"status": "rejected", "elements": ["Cl"], "campaign": "a"},
        lambda doc: has(doc, status="rejected", campaign="a") and "Cl" in doc["elements"],
    ),
}


@pytest.mark.parametrize(("filters", "matches"), QUERIES.values(), ids=QUERIES)
def test_filters(candidates, documents, filters, matches):
    expected = sorted(
        (doc for doc in documents if matches(doc)), key=lambda d: (d["campaign"], d["index"])
    )
    assert bool(expected) is (filters not in (NOTHING, APART))
    assert list(candidates.query(**filters)) == expected
    assert candidates.count(**filters) == len(expected)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    "field", ["formation_energy_per_atom", "energy_above_hull", "energy_per_atom", "formula"]
)
def test_sorted_with_what_has_no_value_last(candidates, documents, field, descending):
    with_value = [doc for doc in documents if doc[field] is not None]
    without = [doc for doc in documents if doc[field] is None]
    assert with_value
    assert without
    with_value.sort(key=lambda doc: doc["candidate_id"], reverse=descending)
    with_value.sort(key=lambda doc: (doc[field], doc["candidate_id"]), reverse=descending)
    without.sort(key=lambda doc: doc["candidate_id"], reverse=descending)
    expected = [doc["candidate_id"] for doc in with_value + without]
    found = [
        doc["candidate_id"]
        for doc in candidates.query(sort=field, descending=descending, properties=["status"])
    ]
    assert found == expected
    cut = len(with_value)
    pages = [(0, 5), (5, 5), (cut - 2, 4), (cut, 3), (cut + 1, 0), (len(expected), 5), (0, 0)]
    for skip, limit in pages:
        page = candidates.query(sort=field, descending=descending, skip=skip, limit=limit)
        end = skip + limit if limit else None
        assert [doc["candidate_id"] for doc in page] == expected[skip:end], (skip, limit)


REAL = ["embedded", pytest.param("mongo", marks=pytest.mark.mongo)]


@pytest.mark.parametrize("candidates", REAL, indirect=True)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    "field",
    [
        *("selection.rank", "relaxation.energy", "screens.cgcnn.passed"),
        *("screens.hull.uncertainty", "tuning.changed"),
    ],
)
def test_sorted_by_a_nested_field(candidates, documents, field, descending):
    with_value = [doc for doc in documents if nested_value(doc, field) is not None]
    without = [doc for doc in documents if nested_value(doc, field) is None]
    assert with_value
    assert without
    with_value.sort(key=lambda doc: doc["candidate_id"], reverse=descending)
    with_value.sort(
        key=lambda doc: (nested_value(doc, field), doc["candidate_id"]), reverse=descending
    )
    without.sort(key=lambda doc: doc["candidate_id"], reverse=descending)
    expected = [doc["candidate_id"] for doc in with_value + without]
    found = candidates.query(sort=field, descending=descending, properties=[field])
    assert [doc["candidate_id"] for doc in found] == expected
    cut = len(with_value)
    for skip, limit in [(0, 1), (cut - 1, 3), (cut, 2), (cut + 1, 0)]:
        page = candidates.query(sort=field, descending=descending, skip=skip, limit=limit)
        end = skip + limit if limit else None
        assert [doc["candidate_id"] for doc in page] == expected[skip:end], (skip, limit)


def test_sorted_by_what_all_have(candidates, documents):
    found = [doc["candidate_id"] for doc in candidates.query(sort="candidate_id", descending=True)]
    assert found == sorted((doc["candidate_id"] for doc in documents), reverse=True)


def test_pages_in_the_order_of_the_samples(candidates):
    found = [doc["index"] for doc in candidates.query(campaign="a", skip=10, limit=5)]
    assert found == [10, 11, 12, 13, 14]


def test_properties(candidates):
    (doc,) = candidates.query(properties=["formula", "selection.decision"], limit=1)
    assert set(doc) <= {"candidate_id", "formula", "selection"}
    assert doc["formula"] == "NaCl"


def test_get_and_documents(candidates, documents):
    identifier = ids(provenance("a"), 3, 1)[0]
    found = candidates.get(identifier)
    assert isinstance(found, CandidateDocument)
    assert found.structure == structure_of(3)
    assert found in list(candidates.documents(campaign="a"))
    with pytest.raises(InputError, match=r"no candidate 'c-0'.*candidates query"):
        candidates.get("c-0")
    changed = next(dict(doc) for doc in documents if doc["candidate_id"] == identifier)
    candidates.store.update([changed | {"n_sites": "many"}])
    told = rf"candidate {identifier} is not as this version .*\(field n_sites\).*upgrade"
    with pytest.raises(StoreError, match=told):
        candidates.get(identifier)
    with pytest.raises(StoreError, match=told):
        list(candidates.documents(campaign="a"))


def test_dataframe(candidates, documents):
    frame = candidates.to_dataframe(campaign="a", sort="formation_energy_per_atom")
    assert tuple(frame.columns) == RECORD_FIELDS
    assert len(frame) == 40
    energies = frame["formation_energy_per_atom"].dropna()
    assert energies.is_monotonic_increasing
    above = frame.set_index("index")["energy_above_hull"]
    assert {i: v for i, v in above.items() if pd.notna(v)} == {
        i: above_of(i) for i in range(40) if passes(i)
    }
    assert frame["known_as"].dropna().str.startswith("mp-").all()
    ranks = candidates.to_dataframe(properties=["formula", "selection.rank"])
    assert ranks["selection.rank"].max() > 1
    empty = candidates.to_dataframe(formula="Fe")
    assert isinstance(empty, pd.DataFrame)
    assert list(empty.columns) == list(RECORD_FIELDS)


WRONG = {
    "formula": ({"formula": "Xx2"}, "'Xx2'"),
    "empty formula": ({"formula": ""}, "formula '' cannot be read"),
    "chemsys": ({"chemsys": "Na-Xx"}, "'Xx' is not the symbol"),
    "element": ({"elements": ["Qq"]}, "'Qq'"),
    "status": ({"status": "finished"}, "'finished' is not one of decoded, screened"),
    "sort": ({"sort": "energy"}, "no field 'energy'; known: .*energy_per_atom"),
    "property": ({"properties": ["colour"]}, "no field 'colour'"),
    "limit": ({"limit": -1}, "limit=-1"),
}


@pytest.mark.parametrize(("query", "named"), WRONG.values(), ids=WRONG)
def test_wrong_queries(query, named):
    store = CandidateStore(MemoryStore("wrong"))
    with pytest.raises(InputError, match=named):
        store.query(**query)


@pytest.mark.parametrize("fmt", ["cif", "poscar", ExportFormat.JSON])
def test_export(candidates, tmp_path, fmt):
    written, without = export(candidates.documents(campaign="a"), tmp_path / "out", fmt)
    assert len(written) == candidates.count(campaign="a", n_sites=(1, None))
    assert len(written) + len(without) == 40
    assert sorted(written) == sorted((tmp_path / "out").iterdir())
    assert {path.suffix for path in written} == {ExportFormat(fmt).suffix}
    for path in written:
        found = candidates.get(path.stem)
        structure = Structure.from_file(path) if fmt != "poscar" else _poscar(path)
        expected = found.relaxed_structure or found.structure
        assert structure.composition == expected.composition
        assert math.isclose(structure.volume, expected.volume, rel_tol=1e-5)


def _poscar(path):
    return Structure.from_str(path.read_text(), fmt="poscar")


def test_export_takes_the_relaxed_structure(documents, tmp_path):
    doc = CandidateDocument.model_validate(next(d for d in documents if d["status"] == "relaxed"))
    doc = doc.model_copy(update={"relaxed_structure": structure_of(39)})
    (path,), _ = export([doc], tmp_path, "cif")
    assert math.isclose(Structure.from_file(path).volume, structure_of(39).volume, rel_tol=1e-5)


def test_wrong_exports(documents, tmp_path):
    doc = CandidateDocument.model_validate(next(d for d in documents if d["structure"]))
    with pytest.raises(InputError, match="'xyz' is not one of cif, poscar, json, extxyz, csv"):
        export([doc], tmp_path, "xyz")
    (tmp_path / "file").touch()
    with pytest.raises(OutputFolderError, match="file"):
        export([doc], tmp_path / "file", "cif")


def test_serialises(tmp_path):
    store = open_stores(tmp_path).candidates
    again = MontyDecoder().process_decoded(store.as_dict())
    again.connect()
    assert again.store.key == "candidate_id"
    assert again.count() == 0


@pytest.mark.mongo
def test_a_second_writer_makes_no_double(mongo_uri, documents):
    first, second = open_stores(mongo_uri).candidates, open_stores(mongo_uri).candidates
    for store in (first, second):
        store.store.update([dict(doc) for doc in documents])
    assert first.count() == len(documents)
    assert contents(first.store) == contents(second.store)

"""crystens build and crystens candidates query, show, export, on a store that jobs filled."""

import csv
import json
import signal
import subprocess
import sys

import pytest
from pymatgen.core import Structure

from crystens_flows.explanation import explain
from crystens_flows.stores import open_stores
from stage_jobs import campaign_jobs, relax, run_jobs


@pytest.fixture
def store(crystens, tmp_path):
    """Return a store with forty candidates in the folder where discover writes by default."""
    folder = tmp_path / "crystens-out" / "store"
    stores = open_stores(folder)
    run_jobs(campaign_jobs(), stores.job_store)
    stores.close()
    assert crystens("build").code == 0
    return folder


def records(result):
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_build_says_how_many(crystens, store):
    result = crystens("build", "--store", store)
    assert result.code == 0
    assert result.err == "updated 0 candidates, 40 in all\n"


def test_build_accepts_a_stand_in_only_where_asked(crystens, store):
    stores = open_stores(store)
    (first, *_) = stores.candidates.documents(status="relaxed")
    relaxation = relax(first.candidate_id, first.relaxed_structure, stand_in=True)
    run_jobs([relaxation], stores.job_store)
    stores.close()
    assert crystens("build").err == "updated 1 candidates, 40 in all\n"
    assert "so: rejected by 'relax': relaxed by a stand-in for VASP, which is no result of DFT" in (
        crystens("candidates", "show", first.candidate_id).out
    )
    assert crystens("build", "--accept-stand-in").err == "updated 1 candidates, 40 in all\n"
    assert "so: relaxed" in crystens("candidates", "show", first.candidate_id).out


def test_build_watches_a_store_that_is_yet_to_come(tmp_path):
    # a shell starts background processes with interrupts ignored; here they are wanted
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from crystens_flows.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "build"]
    with subprocess.Popen(
        [*command, "--watch", "--store", tmp_path / "new"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr.readline() == "updated 0 candidates, 0 in all\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().splitlines()[-1] == "interrupted"
    assert process.returncode == 130


def test_query_sorts_and_limits(crystens, store):
    found = records(
        crystens(
            *("candidates", "query", "--sort", "formation_energy_per_atom", "--limit", "5"),
            *("--format", "json"),
        )
    )
    energies = [record["formation_energy_per_atom"] for record in found]
    assert len(energies) == 5
    assert energies == sorted(energies)
    everything = records(crystens("candidates", "query", "--limit", "100", "--format", "json"))
    known = [r["formation_energy_per_atom"] for r in everything]
    assert energies == sorted(e for e in known if e is not None)[:5]


def test_filters_narrow_the_query(crystens, store):
    query = ("candidates", "query", "--limit", "100", "--format", "json")
    everything = records(crystens(*query))
    assert len(everything) == 40
    salts = records(crystens(*query, "--formula", "Na2Cl2"))
    assert salts
    assert {r["formula"] for r in salts} == {"NaCl"}
    assert salts == [r for r in everything if r["formula"] == "NaCl"]
    assert records(crystens(*query, "--chemsys", "Cl-Na")) == salts
    oxides = records(crystens(*query, "--elements", "O,Mg"))
    assert {r["formula"] for r in oxides} == {"MgO"}
    relaxed = records(crystens(*query, "--status", "relaxed"))
    assert relaxed == [r for r in everything if r["status"] == "relaxed"]
    low = records(crystens(*query, "--max-formation-energy", "-0.5"))
    assert low
    assert all(r["formation_energy_per_atom"] <= -0.5 for r in low)
    stable = records(crystens(*query, "--max-energy-above-hull", "0.05"))
    assert stable == [
        r
        for r in everything
        if r["energy_above_hull"] is not None and r["energy_above_hull"] <= 0.05
    ]
    below = records(crystens(*query, "--max-energy-above-hull", "-0.005"))
    assert below
    assert len(below) < len(stable)
    assert all(r["energy_above_hull"] < 0 for r in below)
    both = ("--max-energy-above-hull", "0.05", "--max-formation-energy", "-0.5")
    assert records(crystens(*query, *both)) == [r for r in stable if r in low]
    page = records(crystens(*query[:2], "--skip", "10", "--limit", "5", "--format", "json"))
    assert page == everything[10:15]


def test_query_as_csv_and_table(crystens, store):
    rows = list(csv.DictReader(crystens("candidates", "query", "--format", "csv").out.splitlines()))
    assert len(rows) == 20
    table = crystens("candidates", "query").out.splitlines()
    assert table[0].split()[0] == "candidate_id"
    assert "energy_above_hull" in table[0]
    assert [line.split()[0] for line in table[1:]] == [row["candidate_id"] for row in rows]


def test_show(crystens, store):
    found = records(
        crystens("candidates", "query", "--status", "relaxed", "--limit", "1", "--format", "json")
    )[0]
    shown = records(crystens("candidates", "show", found["candidate_id"], "--format", "json"))
    assert isinstance(shown, list)
    assert shown[0]["candidate_id"] == found["candidate_id"]
    assert len(shown[0]["relaxation"]["energies"]) == 5
    assert shown[0]["tuning"]["candidate_id"] == found["candidate_id"]
    assert shown[0]["screens"]["hull"]["values"]["energy_models"] == ["chgnet"]


def test_show_says_why_in_a_table_only(crystens, store):
    stores = open_stores(store)
    relaxed = next(stores.candidates.documents(status="relaxed"))
    undecodable = next(stores.candidates.documents(criteria={"rejected_by": "decode"}))
    filtered = next(stores.candidates.documents(criteria={"selection.decision": "filtered"}))
    stores.close()
    for candidate in (relaxed, undecodable, filtered):
        sentences = explain(candidate)
        table = crystens("candidates", "show", candidate.candidate_id)
        assert (table.code, table.err) == (0, "")
        lines = table.out.splitlines()
        assert lines[: len(sentences)] == sentences
        assert not lines[len(sentences)]
        assert lines[len(sentences) + 1].split() == ["field", "value"]
        assert any(line.startswith("selection") for line in lines[len(sentences) :])
        as_json = crystens("candidates", "show", candidate.candidate_id, "--format", "json")
        (document,) = json.loads(as_json.out)
        assert document["candidate_id"] == candidate.candidate_id
        rows = crystens("candidates", "show", candidate.candidate_id, "--format", "csv").out
        fields = [row["field"] for row in csv.DictReader(rows.splitlines())]
        assert fields[:2] == ["schema_version", "candidate_id"]
    assert "so: relaxed" in explain(relaxed)
    assert explain(filtered)[-1].startswith("so: rejected by 'select': energy above hull too high")


def test_export_takes_what_is_near_the_hull(crystens, store, tmp_path):
    filters = ("--max-energy-above-hull", "0.05")
    query = ("candidates", "query", "--limit", "100", "--format", "json")
    expected = {r["candidate_id"] for r in records(crystens(*query, *filters))}
    result = crystens("candidates", "export", "-o", "near", *filters)
    assert result.code == 0, result.err
    assert {path.stem for path in (tmp_path / "near").iterdir()} == expected
    assert 0 < len(expected) < 40


@pytest.mark.parametrize(("kind", "suffix"), [("cif", "cif"), ("poscar", "vasp"), ("json", "json")])
def test_export(crystens, store, tmp_path, kind, suffix):
    result = crystens(
        *("candidates", "export", "-o", "exported", "--format", kind, "--formula", "NaCl")
    )
    assert result.code == 0, result.err
    files = sorted((tmp_path / "exported").iterdir())
    assert files
    assert all(file.suffix == f".{suffix}" for file in files)
    if kind != "poscar":
        assert Structure.from_file(files[0]).composition.reduced_formula == "NaCl"


def test_errors_are_one_line(crystens, store, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").write_text("")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    for arguments, words in [
        (("candidates", "query", "--store", "nowhere"), "there is no store in"),
        (("candidates", "query", "--store", "list.yaml"), "list.yaml"),
        (
            ("candidates", "query", "--store", "mongodb://localhost"),
            "names no database: give mongodb://HOST:27017/DATABASE\n",
        ),
        (("build", "--store", "nowhere"), "there is no store in"),
        (("candidates", "show", "c-none"), "c-none"),
        (("candidates", "export", "-o", "used"), "used is in use"),
        (("candidates", "export", "-o", "new", "--formula", "UO2"), "no candidate"),
    ]:
        result = crystens(*arguments)
        assert result.code == 1, arguments
        assert words in result.err, result.err
        assert result.err.count("\n") == 1, result.err
        assert not result.out
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "nowhere").exists()


def test_the_store_can_come_from_the_environment(crystens, store, tmp_path, monkeypatch):
    store.parent.rename(tmp_path / "elsewhere")
    assert crystens("candidates", "query").code == 1
    monkeypatch.setenv("CRYSTENS_FLOWS_STORE", str(tmp_path / "elsewhere" / "store"))
    assert len(records(crystens("candidates", "query", "--format", "json"))) == 20
    monkeypatch.delenv("CRYSTENS_FLOWS_STORE")
    (tmp_path / ".crystens_flows.yaml").write_text(f"STORE: {tmp_path / 'elsewhere' / 'store'}\n")
    assert len(records(crystens("candidates", "query", "--format", "json"))) == 20
    (tmp_path / ".crystens_flows.yaml").write_text("SHOP: here\n")
    result = crystens("candidates", "query")
    assert result.code == 1
    assert "SHOP" in result.err


def test_more_filters(crystens, store):
    query = ("candidates", "query", "--limit", "100", "--format", "json")
    everything = records(crystens(*query))
    without = records(crystens(*query, "--without", "Na,Ga"))
    assert {r["formula"] for r in without} == {"KBr", "MgO", "LiF"}
    assert records(crystens(*query, "--space-group", "3")) == [
        r for r in everything if r["space_group"] == 3
    ]
    assert records(crystens(*query, "--min-sites", "5")) == []
    relaxed = records(crystens(*query, "--engine", "CHGNet"))
    assert {r["status"] for r in relaxed} == {"relaxed", "rejected"}
    band = ("--min-formation-energy", "-0.5", "--max-formation-energy", "-0.2")
    assert records(crystens(*query, *band)) == [
        r
        for r in everything
        if r["formation_energy_per_atom"] is not None
        and -0.5 <= r["formation_energy_per_atom"] <= -0.2
    ]
    best = records(crystens(*query, "--max-rank", "1", "--status", "relaxed"))
    assert len(best) == 1


def test_saved_queries(crystens, store, tmp_path):
    given = ("--elements", "Na,Cl", "--max-energy-above-hull", "0.1", "--limit", "3")
    result = crystens("candidates", "query", *given, "--save", "salts", "--format", "json")
    expected = records(result)
    file = tmp_path / ".crystens_flows" / "queries" / "salts.yaml"
    assert f"saved as {file}" in result.err
    assert records(crystens("candidates", "query", "--saved", "salts", "--format", "json")) == (
        expected
    )
    # what is given beside it counts more; the file can be given as a configuration too
    more = crystens("candidates", "query", "--saved", "salts", "--limit", "1", "--format", "json")
    assert records(more) == expected[:1]
    config = crystens("candidates", "query", "--config", file, "--format", "json")
    assert records(config) == expected
    exported = crystens("candidates", "export", "--saved", "salts", "-o", "out")
    assert exported.code == 0, exported.err
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {
        r["candidate_id"] for r in expected
    }
    (row,) = records(crystens("candidates", "saved", "--format", "json"))
    assert row["name"] == "salts"
    assert "--elements Na,Cl" in row["options"]
    for name in ("../salts", "a/b", "", ".x", "$where"):
        assert crystens("candidates", "query", "--save", name).code != 0
        assert crystens("candidates", "query", "--saved", name).code != 0
    assert [each.name for each in file.parent.iterdir()] == ["salts.yaml"]


@pytest.mark.parametrize(("kind", "words"), [("extxyz", "structures"), ("csv", "candidates")])
def test_export_to_one_file(crystens, store, tmp_path, kind, words):
    result = crystens("candidates", "export", "-o", "one", "--format", kind)
    assert result.code == 0, result.err
    assert [path.name for path in (tmp_path / "one").iterdir()] == [f"candidates.{kind}"]
    assert f" {words} to one" in result.err


def test_upgrade(crystens, store):
    assert crystens("candidates", "upgrade").err == "upgraded 0 candidates; 0 cannot be\n"
    stores = open_stores(store)
    (doc, *_) = stores.candidates.query()
    stores.candidates.store.update({**doc, "schema_version": 3})
    stores.close()
    assert crystens("candidates", "upgrade").err == "upgraded 1 candidates; 0 cannot be\n"

"""Queries, files and archives of others do no harm; what runs a program says so."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from bson import Code, Int64, Regex
from hypothesis import given
from hypothesis import strategies as st
from jobflow import Flow, JobStore
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

import local_jobs
from crystens_flows import local
from crystens_flows.campaign.backends import find_backend
from crystens_flows.campaign.file import read_campaign
from crystens_flows.campaign.submission import submit_campaign
from crystens_flows.candidate_criteria import MAX_LEVELS, OPERATORS, check_criteria
from crystens_flows.candidate_export import export
from crystens_flows.candidate_filters import filter_criteria
from crystens_flows.candidates import CandidateStore
from crystens_flows.datasets import read_rows
from crystens_flows.errors import CheckpointError, CrystensError, InputError, OutputFolderError
from crystens_flows.export_format import ExportFormat
from crystens_flows.msonable import flow_from_dict
from crystens_flows.saved_queries import query_file
from crystens_flows.schemas import ArrayBlob
from crystens_flows.screening.m3gnet.folder import SHIPPED_WEIGHTS, read_network

SALT = Structure(Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
RUNS_CODE = ["$where", "$expr", "$function", "$accumulator", "$regex", "$text", "$jsonSchema"]


class TestQueries:
    @pytest.mark.parametrize("operator", [*RUNS_CODE, "$lookup", "$merge", "$out", "$", "$Where"])
    def test_no_operator_but_comparisons(self, operator):
        assert operator not in OPERATORS
        for criteria in (
            {operator: "sleep(1000)"},
            {"formula": {operator: "(a+)+$"}},
            {"formula": {"$not": {operator: "x"}}},
            {"$or": [{"status": "relaxed"}, {"$and": [{operator: {}}]}]},
            {"screens": {"$elemMatch": {"values": {operator: "1"}}}},
            {"formula": {"$in": [{operator: "x"}]}},
        ):
            with pytest.raises(InputError):
                check_criteria(criteria)

    @pytest.mark.parametrize("value", [re.compile("a"), Regex("(a+)+$"), object(), b"x", {1: 2}])
    def test_no_value_but_plain_ones(self, value):
        with pytest.raises(InputError):
            check_criteria({"formula": value})

    def test_text_that_is_more_than_text_becomes_text(self):
        code = Code("function() { while (true); }", {"x": 1})
        found = check_criteria({"campaign": code, "$or": [{"status": {"$in": [code]}}]})
        assert type(found["campaign"]) is str
        assert type(found["$or"][0]["status"]["$in"][0]) is str
        kept = {"index": {"$gte": Int64(3)}, "completed_at": {"$lt": datetime.now(UTC)}}
        assert check_criteria(kept) == kept

    def test_levels_are_counted_and_do_not_end_the_process(self):
        criteria: dict = {"status": "relaxed"}
        for _ in range(100_000):
            criteria = {"$and": [criteria]}
        with pytest.raises(InputError, match=f"more than {MAX_LEVELS} levels"):
            check_criteria(criteria)
        condition: dict = {"$eq": 1}
        for _ in range(100_000):
            condition = {"$not": condition}
        with pytest.raises(InputError, match="levels"):
            check_criteria({"index": condition})

    @given(
        st.sampled_from(["campaign", "engine", "formula", "chemsys", "status"]),
        st.one_of(
            st.dictionaries(st.sampled_from(["$ne", "$gt", "$where"]), st.text(max_size=5)),
            st.lists(st.dictionaries(st.text(max_size=3), st.none(), min_size=1), min_size=1),
            st.text(max_size=30),
        ),
    )
    def test_values_of_filters_never_become_operators(self, name, value):
        try:
            found = filter_criteria(**{name: value})
        except InputError:
            return
        if name in ("campaign", "engine"):
            assert isinstance(value, str)
        assert "$where" not in json.dumps(found, default=str)
        assert "$regex" not in json.dumps(found, default=str)

    def test_a_pattern_is_looked_for_as_it_is(self):
        """An engine that looks like a slow regular expression, or like one that finds all."""
        store = CandidateStore(MemoryStore("candidates"))
        store.connect()
        store.store.update(
            [
                {"candidate_id": "c-1", "campaign": ".*", "relaxation": {"engine": "VASP 6.4.2"}},
                {"candidate_id": "c-2", "campaign": "b", "relaxation": {"engine": "VASP"}},
            ]
        )
        assert store.count(engine="VASP") == 2
        assert store.count(engine="V.*") == 0
        assert store.count(engine="^(V+)+$") == 0
        assert store.count(campaign=".*") == 1

    @pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", ".x", "a\n", "x.yaml", ""])
    def test_saved_queries_stay_in_their_folder(self, name):
        with pytest.raises(InputError, match="cannot name a query"):
            query_file(name)


class TestExport:
    def candidates(self, identifier="c-1"):
        return [{"candidate_id": identifier, "status": "relaxed", "structure": SALT.as_dict()}]

    @pytest.mark.parametrize(
        "identifier", ["../c", "/tmp/c", "a/b", "..", ".hidden", "c\0", "c\n", "", "x" * 200]
    )
    @pytest.mark.parametrize("kind", [f for f in ExportFormat if not f.is_one_file])
    def test_identifiers_that_lead_elsewhere(self, identifier, kind, tmp_path):
        with pytest.raises(InputError, match="cannot be the name of a file"):
            export(self.candidates(identifier), tmp_path / "out", kind)
        assert list(tmp_path.rglob("*")) == []

    @pytest.mark.parametrize("kind", list(ExportFormat))
    def test_a_link_is_replaced_and_not_followed(self, kind, tmp_path):
        mine = tmp_path / "mine"
        mine.write_text("mine")
        out = tmp_path / "out"
        out.mkdir()
        name = f"{'candidates' if kind.is_one_file else 'c-1'}{kind.suffix}"
        (out / name).symlink_to(mine)
        (out / f".{name}.{os.getpid()}.tmp").symlink_to(mine)
        written, _ = export(self.candidates(), out, kind)
        assert mine.read_text() == "mine"
        assert [path.name for path in out.iterdir()] == [name]
        assert not written[0].is_symlink()
        assert "Na" in written[0].read_text() or kind is ExportFormat.CSV

    @pytest.mark.parametrize("kind", list(ExportFormat))
    def test_an_error_leaves_what_was_there(self, kind, tmp_path):
        name = f"{'candidates' if kind.is_one_file else 'c-1'}{kind.suffix}"
        (tmp_path / name).write_text("before")

        def broken():
            if kind.is_one_file:
                yield from self.candidates("c-2")
            raise RuntimeError

        with pytest.raises(RuntimeError):
            export(broken(), tmp_path, kind)
        assert (tmp_path / name).read_text() == "before"
        assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", ".x"])
def test_a_campaign_leads_to_no_other_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "campaign.yaml"
    file.write_text(json.dumps({"campaign": name, "n_samples": 2}))
    with pytest.raises(InputError, match="cannot be the name of a folder: give folder"):
        submit_campaign(find_backend(read_campaign(file)))
    assert [each.name for each in tmp_path.iterdir()] == ["campaign.yaml"]
    named = find_backend(read_campaign(file, ["folder=here"]))
    assert named.folder == tmp_path / "here"


class TestFlows:
    """A flow in a file is a program; not any."""

    @pytest.fixture
    def evil(self, tmp_path, monkeypatch):
        source = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
        (tmp_path / "evil_module.py").write_text(source + "def evil(*args):\n    pass\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        yield tmp_path / "ran"
        sys.modules.pop("evil_module", None)

    FUNCTIONS = (
        {"@module": "os", "@callable": "system", "@bound": None},
        {"@module": "builtins", "@callable": "eval", "@bound": None},
        {"@module": "evil_module", "@callable": "evil", "@bound": None},
        # imported by modules that flows may name
        {"@module": "custodian.vasp.jobs", "@callable": "subprocess.Popen", "@bound": None},
        {"@module": "crystens_flows.relaxation.gpaw", "@callable": "subprocess.run"},
        {"@module": "crystens_flows.local", "@callable": "run.__globals__.get", "@bound": None},
    )

    @pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each["@callable"])
    def test_functions_of_others_are_not_run(self, function, evil):
        content = Flow([local_jobs.add("path", "name", 2)]).as_dict()
        assert flow_from_dict(content).jobs[0].function.__name__ == "add"
        content["jobs"][0]["function"] = function
        with pytest.raises(InputError, match="that flows are made of"):
            flow_from_dict(content)
        assert not evil.exists()

    def test_classes_of_others_are_not_made(self, evil):
        content = Flow([local_jobs.add("path", "name", 2)]).as_dict()
        content["jobs"][0]["function_args"] = [[{"@module": "evil_module", "@class": "Evil"}]]
        with pytest.raises(InputError, match=r"evil_module\.Evil is of no package"):
            flow_from_dict(content)
        assert not evil.exists()

    @pytest.mark.parametrize("file", ["flow.json", "progress.jsonl"])
    def test_of_a_folder_that_somebody_changed_nothing_runs(self, file, evil, tmp_path):
        store = JobStore(MemoryStore())
        job = local_jobs.split(str(tmp_path / "notes"), "split", 2)
        folder = tmp_path / "run"
        assert not local.run(job, store, folder).failed
        text = (folder / file).read_text()
        assert '"local_jobs"' in text
        (folder / file).write_text(text.replace('"local_jobs"', '"evil_module"'))
        with pytest.raises((OutputFolderError, InputError), match=r"evil_module\.\w+ is of no"):
            local.run(job, store, folder)
        assert not evil.exists()


class TestArchives:
    def test_an_array_unpacks_to_what_it_says_and_no_more(self):
        stored = ArrayBlob(np.zeros((2, 3), "f4")).as_dict()
        bomb = base64.b64encode(zlib.compress(bytes(10**8))).decode()
        with pytest.raises(InputError, match="has not the bytes that it says"):
            ArrayBlob.from_dict({**stored, "zlib_base64": bomb})
        with pytest.raises(InputError, match="is not read"):
            ArrayBlob.from_dict({**stored, "shape": [2**40]})
        with pytest.raises(InputError, match="is not read"):
            ArrayBlob.from_dict({**stored, "dtype": "|O"})
        with pytest.raises(InputError, match="has not the bytes"):
            ArrayBlob.from_dict({**stored, "shape": [7]})

    @given(st.lists(st.integers(0, 7), max_size=3), st.sampled_from(["<f4", "<i8", "|S3", "|u1"]))
    def test_every_array_is_read_again(self, shape, dtype):
        array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        blob = ArrayBlob(array)
        assert ArrayBlob.from_dict(json.loads(json.dumps(blob.as_dict()))) == blob

    def test_a_packed_cif_is_not_unpacked_without_end(self, tmp_path, monkeypatch):
        monkeypatch.setattr("crystens_flows.datasets.parse.MAX_UNPACKED", 10_000)
        text = SALT.to(fmt="cif").encode()
        (tmp_path / "salt.cif.gz").write_bytes(gzip.compress(text))
        (tmp_path / "bomb.cif.gz").write_bytes(gzip.compress(text + b"#" * 10_000))
        found = {row.material_id: row for row in read_rows([tmp_path])}
        assert found["salt"].structure is not None
        assert "unpacks to more than 10000 bytes" in found["bomb"].reason

    def test_a_model_of_others_starts_no_program(self, tmp_path):
        """An argument of matgl's models that is an object is made of whatever class it names."""
        torch = pytest.importorskip("torch", reason="models of matgl are of torch")
        pytest.importorskip("matgl", reason="M3GNet is matgl's")
        for file in SHIPPED_WEIGHTS.iterdir():
            if file.is_file():
                (tmp_path / file.name).write_bytes(file.read_bytes())
        assert read_network(tmp_path) is not None
        arguments = torch.load(tmp_path / "model.pt", weights_only=True)
        ran = tmp_path / "ran"
        for named in (
            {"@module": "subprocess", "@class": "Popen"},
            {"@module": "matgl.utils.io", "@class": "Path"},  # imported there
        ):
            attack = {**named, "@model_version": 1, "init_args": {"args": ["touch", str(ran)]}}
            torch.save({**arguments, "element_types": attack}, tmp_path / "model.pt")
            with pytest.raises(CheckpointError, match=f"its class is {named['@module']}"):
                read_network(tmp_path)
        assert not ran.exists()


def test_nothing_in_the_package_unpickles():
    """One place each that could: torch only with weights, numpy only without objects."""
    package = Path(local.__file__).parent
    for file in package.rglob("*.py"):
        text = file.read_text()
        where = file.relative_to(package)
        assert not re.search(r"\b(pickle|dill|joblib|shelve|marshal)\.(load|loads|open)\b", text), (
            where
        )
        assert not re.search(r"\byaml\.(load|full_load|unsafe_load)\b", text), where
        assert not re.search(r"allow_pickle=True|weights_only=False|safe_mode=False", text), where
        assert not re.search(r"(?<![\w.])(eval|exec)\(", text), where
        assert "shell=True" not in text, where
        for call in re.findall(r"\btorch\.load\([^\n]*", text):
            assert "weights_only=True" in call, where
        for call in re.findall(r"\bnp\.load\([^\n]*", text):
            assert "allow_pickle=False" in call, where
        decodes = re.search(r"MontyDecoder|\bloadfn\b|[^_]Structure\.from_dict", text)
        assert not decodes or file.name == "msonable.py", where


def test_all_of_these_are_errors_of_a_line():
    for kind in (CheckpointError, InputError, OutputFolderError):
        assert issubclass(kind, CrystensError)

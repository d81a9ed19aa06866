"""Flows, models and archives of others do no harm."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobflow import Flow, JobStore
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

import local_jobs
from crystens_flows import local
from crystens_flows.datasets import read_rows
from crystens_flows.errors import CheckpointError, InputError, OutputFolderError
from crystens_flows.msonable import flow_from_dict
from crystens_flows.schemas import ArrayBlob
from crystens_flows.screening.m3gnet.folder import SHIPPED_WEIGHTS, read_network

SALT = Structure(Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])


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

"""A password and a key of an interface that a whole run is given, looked for in all it leaves."""

from __future__ import annotations

import gzip
import re
import traceback

import pytest
from pymongo import MongoClient

from authenticating_proxy import asking_for_password
from crystens_flows.errors import CrystensError

SECRET = "hunter2s3cret"
KEY = "0123456789abcdefKEY"
RUN = ["-n", "6", "--pool", "3", "--select", "1", "--chunk-size", "6"]
ENGINE = ["--engine", "ase.calculators.lj.LennardJones"]


@pytest.fixture
def guarded(mongo_uri):
    host, port, database = re.fullmatch(r"mongodb://(.*):(\d+)/(\w+)", mongo_uri).groups()
    with asking_for_password(host, int(port), "anna", SECRET) as guarded:
        yield f"127.0.0.1:{guarded}/{database}"


def holding(folder, *secrets):
    """Return the files that hold one of the secrets."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".gz":
                content = gzip.decompress(content)
            found += [path for secret in secrets if secret.encode() in content]
    return found


@pytest.mark.mongo
@pytest.mark.slow
def test_a_whole_run_leaves_no_secret_anywhere(crystens, guarded, mongo_uri, tmp_path, monkeypatch):
    monkeypatch.setenv("MP_API_KEY", KEY)
    uri = f"mongodb://anna:{SECRET}@{guarded}"
    shown = f"mongodb://anna:***@{guarded}"
    run = ["discover", "-o", "out", *RUN, *ENGINE]
    first = crystens(*run, "--store", uri)
    assert first.code == 0, first.err
    assert f"store: {shown}" in first.err
    others = [
        crystens(*arguments, "--store", store)
        for arguments, store in (
            ((*run, "--seed", "1"), uri),  # refused, with what the folder's options are
            (("build",), uri),
            (("candidates", "query"), uri),
            (("candidates", "query", "--format", "json"), uri),
            (("build",), uri.replace(SECRET, f"{SECRET}no")),
            (("build",), uri.replace("@", "/@")),
            (("init", "--backend", "local", "-o", "conf"), uri),
        )
    ]
    assert [result.code for result in others] == [1, 0, 0, 0, 1, 1, 0]
    for result in (first, *others):
        assert SECRET not in result.out + result.err
        assert KEY not in result.out + result.err
    assert holding(tmp_path, SECRET, KEY) == []
    assert shown in (tmp_path / "out" / "options.yaml").read_text()
    with MongoClient(mongo_uri) as client:
        database = client.get_default_database()
        names = database.list_collection_names()
        assert {"outputs", "candidates"} <= set(names)
        for name in names:
            stored = str(list(database[name].find()))
            assert SECRET not in stored
            assert KEY not in stored
    # the run goes on from its folder with the password in the environment alone
    monkeypatch.setenv("CRYSTENS_DB_PASSWORD", SECRET)
    again = crystens(*run, "--store", shown)
    assert again.code == 0, again.err


def test_files_that_cannot_be_read_are_not_quoted(crystens, tmp_path):
    (tmp_path / "store.yaml").write_text(f"JOB_STORE:\n  password: {SECRET}\n bad: [\n")
    (tmp_path / ".crystens_flows.yaml").write_text(f"STORE: [{SECRET}\n")
    for arguments in (("--store", "store.yaml"), ()):
        result = crystens("candidates", "query", *arguments)
        assert result.code == 1
        assert "line" in result.err
        assert SECRET not in result.out + result.err
        with pytest.raises(CrystensError) as caught:
            crystens("--traceback", "candidates", "query", *arguments)
        assert SECRET not in "".join(traceback.format_exception(caught.value))

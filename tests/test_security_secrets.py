"""Passwords and keys in the errors of jobs and databases, wherever these end up."""

from __future__ import annotations

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore
from pymongo.errors import InvalidURI, PyMongoError

import security_jobs
from crystens_flows import local
from crystens_flows.campaign.backends.base import reason_of
from crystens_flows.cli.errors import failure_line
from crystens_flows.datasets.materials_project import MaterialsProject, no_answer
from crystens_flows.errors import StoreError
from crystens_flows.masking import SECRET_VARIABLES, without_password
from crystens_flows.stores import open_stores

SECRET = "hunter2s3cret"
KEY = "0123456789abcdefKEY"
URI = f"mongodb://anna:{SECRET}@nowhere:1/x"


@pytest.mark.parametrize("variable", SECRET_VARIABLES)
def test_secrets_of_the_environment_go_wherever_they_stand(variable, monkeypatch):
    text = f"403 for https://x/?q=1, header {KEY}; again {KEY}"
    assert without_password(text) == text
    monkeypatch.setenv(variable, KEY)
    assert without_password(text) == "403 for https://x/?q=1, header ***; again ***"
    # in plain words a short one would be found everywhere
    monkeypatch.setenv(variable, "head")
    assert without_password(text) == text


def test_what_a_job_says_when_it_fails(tmp_path, monkeypatch):
    """In the folder of a run and in what is returned; the rest of the message stays."""
    monkeypatch.setenv("MP_API_KEY", KEY)
    monkeypatch.setenv("STORE_OF_THE_TEST", URI)
    job = security_jobs.fails_at("STORE_OF_THE_TEST", "MP_API_KEY")
    summary = local.run(job, JobStore(MemoryStore()), tmp_path / "run")
    (error,) = summary.failed.values()
    assert error.startswith("RuntimeError: nothing answers at")
    assert "mongodb://anna:***@nowhere:1/x ***" in error
    for file in (tmp_path / "run").rglob("*"):
        if file.is_file():
            text = file.read_text()
            assert SECRET not in text, file
            assert KEY not in text, file
    assert "mongodb://anna:***@nowhere:1/x" in (tmp_path / "run" / "run.log").read_text()


def test_the_reason_that_a_status_tells(monkeypatch):
    """Of what FireWorks and jobflow-remote keep of a failed job, whoever wrote it."""
    monkeypatch.setenv("CRYSTENS_DB_PASSWORD", SECRET)
    for last in (f"pymongo.errors.OperationFailure: {URI}", f"RuntimeError: password {SECRET}"):
        told = reason_of(f"Traceback (most recent call last):\n  File\n{last}\n")
        assert told is not None
        assert SECRET not in told
        assert "***" in told


@pytest.mark.parametrize("kind", [PyMongoError, InvalidURI])
def test_what_a_database_says(kind):
    line = failure_line(kind(f"nothing at {URI}, Timeout: 3"))
    assert line is not None
    assert SECRET not in line
    assert "mongodb://anna:***@nowhere:1/x" in line


@pytest.mark.parametrize(
    "wrong",
    [
        URI.replace("nowhere:1", "nowhere:port"),
        URI.replace("@nowhere", "/@nowhere"),
        URI.replace("/x", "/x?replicaSet"),
        URI.replace("/x", "/x?authSource=%zz&unknown=1"),
        URI.replace("mongodb://", "mongodb+srv://"),
        f"mongodb://anna:{SECRET}",
    ],
)
def test_uris_that_are_wrong(wrong):
    with pytest.raises(StoreError) as caught:
        open_stores(wrong)
    shown: BaseException | None = caught.value
    while shown is not None:
        assert SECRET not in str(shown)
        shown = None if shown.__suppress_context__ else shown.__cause__ or shown.__context__


def test_keys_of_the_materials_project():
    """As its client may quote them; a key need not be in the environment."""
    error = no_answer(RuntimeError(f"403 for header X-API-KEY: {KEY}\nno"), KEY, "no network")
    assert "(403 for header X-API-KEY: *** no)" in str(error)
    source = MaterialsProject(chemsys=("Na-Cl",), api_key=KEY)
    assert KEY not in repr(source)
    assert source.api_key == KEY

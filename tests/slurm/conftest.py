"""Tests that SLURM takes part in: `make test-slurm` runs them, `make test` does not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "campaign"))

from slurm_cluster import Slurm, missing, started  # noqa: E402


def pytest_ignore_collect(collection_path, config):
    """Leave them out unless this folder is asked for; all together they take many minutes."""
    asked = any(HERE in (path, *path.parents) for path in _paths(config))
    return None if asked or not collection_path.name.startswith("test_") else True


def pytest_collection_modifyitems(items):
    """Skip them where SLURM is not installed."""
    if absent := missing():
        why = f"no {', '.join(absent)} here: `make test-slurm` installs SLURM"
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=why))


def _paths(config):
    return [Path(str(each).partition("::")[0]).absolute() for each in config.args]


@pytest.fixture(scope="session")
def slurm_here(tmp_path_factory):
    """Start a SLURM for all tests."""
    with started(tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


@pytest.fixture
def slurm(slurm_here: Slurm, monkeypatch, tmp_path):
    """Make SLURM the one that commands take, with Python's programs on the path of its jobs."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_here.conf))
    programs = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    for name in ("JOBFLOW_CONFIG_FILE", "FW_CONFIG_FILE", "CRYSTENS_FLOWS_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    yield slurm_here
    slurm_here.end_jobs()

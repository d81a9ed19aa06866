"""Small campaigns."""

from __future__ import annotations

import sys

import pytest
import yaml
from campaign_managers import vasp_environment, write_project

from crystens_flows.cli import main

SMALL = {
    "campaign": "small",
    "n_samples": 6,
    "seed": 3,
    "chunk_size": 4,
    "screening": {
        "models": ["cgcnn"],
        "known": None,
        "selection": {"n_pool": 3, "n_select": 1, "max_per_chemical_system": None},
    },
    "tune": False,
    "relaxer": {"engine": "chgnet", "steps": 2},
}


@pytest.fixture
def campaign_file(tmp_path):
    """Write a campaign file, the small one with what is given changed."""

    def write(**changes):
        path = tmp_path / "campaign.yaml"
        path.write_text(yaml.safe_dump({**SMALL, **changes}))
        return path

    return write


@pytest.fixture
def jf_project(mongo_uri, tmp_path, monkeypatch):
    """Make a project of jobflow-remote the one that commands, and this process, take."""
    remote = pytest.importorskip("jobflow_remote", reason="jobflow-remote runs the jobs")

    def make(workers, **options):
        store, projects = write_project(mongo_uri, tmp_path, workers, **options)
        monkeypatch.setenv("JFREMOTE_PROJECTS_FOLDER", str(projects))
        monkeypatch.setenv("JFREMOTE_PROJECT", "crystens")
        monkeypatch.setattr(remote.SETTINGS, "projects_folder", str(projects))
        monkeypatch.setattr(remote.SETTINGS, "project", "crystens")
        from jobflow_remote import JobController

        assert JobController.from_project_name().reset()
        return store

    return make


@pytest.fixture
def vasp_stand_in(tmp_path, monkeypatch):
    """Let jobs find the stand-in for VASP, and POTCARs; return the file of its calls."""
    pytest.importorskip("atomate2.vasp", reason="the relaxations are jobs of atomate2")
    pytest.importorskip("custodian", reason="custodian runs VASP")
    return vasp_environment(tmp_path, monkeypatch)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command of this package in this process; return what it printed."""

    def run(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["crystens", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        assert exit_.value.code == code, printed.err
        return printed

    return run

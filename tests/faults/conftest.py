"""Faults, done to real processes: ``make test-faults``, not ``make test``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "campaign"))

# ruff: noqa: E402 - the folder beside this one is looked into first
from campaign_managers import crystens, store_files, write_project
from fault_campaigns import SMALL, SURVIVED, Watch, candidates, write_campaign

from crystens_flows.testing import stand_in_command, write_potcars


def pytest_ignore_collect(collection_path, config):
    """Leave them out unless this folder is asked for; all together they take many minutes."""
    asked = any("faults" in str(each) for each in config.args)
    return None if asked or not collection_path.name.startswith("test_") else True


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """Let the processes that this test starts say which jobs they run."""
    return Watch(tmp_path / "watch", monkeypatch)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Candidates of the campaign that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = crystens("submit", write_campaign(folder, folder=str(folder / "run")))
    assert done.returncode == 0, done.stderr
    found = candidates(folder / "run" / "store")
    assert len(found) == 6
    assert sum(docs[0]["status"] == "relaxed" for docs in found.values()) == 2
    return found


VASP = {
    "n_samples": 3,
    "tune": False,
    "screening": {**SMALL["screening"], "selection": {"n_pool": 3, "n_select": 1}},
    "relaxer": {"engine": "vasp", "steps": 2},
}


@pytest.fixture
def failing_vasp(tmp_path, monkeypatch):
    """
    Let jobs find a VASP that cannot be started for the second relaxation, until a file is there.

    Returns the changes of the campaign, its candidates where VASP can, and the file.
    """
    pytest.importorskip("atomate2.vasp", reason="the relaxations are jobs of atomate2")
    repaired, calls = tmp_path / "repaired", tmp_path / "calls"
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(write_potcars(tmp_path / "potcars").absolute()))
    monkeypatch.setenv("ATOMATE2_VASP_CMD", stand_in_command(calls=calls))
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    done = crystens("submit", write_campaign(folder, folder=str(folder / "run"), **VASP))
    assert done.returncode == 0, done.stderr
    stores = folder / "run" / "store"
    assert crystens("build", "--store", stores, "--accept-stand-in").returncode == 0
    expected = candidates(stores)
    assert len(calls.read_text().splitlines()) == 4
    calls.unlink()
    script = tmp_path / "vasp.sh"
    script.write_text(
        f"if [ ! -e {repaired} ] && [ $(cat {calls} 2>/dev/null | wc -l) -ge 1 ]; then\n"
        "  echo the licence server does not answer >&2; exit 1\nfi\n"
        f"exec {stand_in_command(calls=calls)}\n"
    )
    monkeypatch.setenv("ATOMATE2_VASP_CMD", f"sh {script}")
    return VASP, expected, repaired


@pytest.fixture
def jf_campaign(tmp_path, monkeypatch):
    """Write a campaign, and a project of jobflow-remote that commands and this process take."""
    remote = pytest.importorskip("jobflow_remote", reason="jobflow-remote runs the jobs")

    def make(uri, **changes):
        store, projects = write_project(uri, tmp_path, ("local", "other"))
        monkeypatch.setenv("JFREMOTE_PROJECTS_FOLDER", str(projects))
        monkeypatch.setenv("JFREMOTE_PROJECT", "crystens")
        monkeypatch.setattr(remote.SETTINGS, "projects_folder", str(projects))
        monkeypatch.setattr(remote.SETTINGS, "project", "crystens")
        from jobflow_remote import JobController

        assert JobController.from_project_name().reset()
        path = write_campaign(tmp_path, backend="jf", store=str(store), **changes)
        submitted = crystens("submit", path)
        assert submitted.returncode == 0, submitted.stderr
        return path, store

    return make


@pytest.fixture
def fireworks_campaign(tmp_path, monkeypatch):
    """Write a campaign, and a launch pad of FireWorks that soon misses a rocket."""
    pytest.importorskip("fireworks", reason="FireWorks runs the jobs")
    config = tmp_path / "FW_config.yaml"
    config.write_text(yaml.safe_dump({"PING_TIME_SECS": 1, "RUN_EXPIRATION_SECS": 4}))
    monkeypatch.setenv("FW_CONFIG_FILE", str(config))

    def make(uri, **changes):
        from fireworks import LaunchPad

        store, spec, _ = store_files(uri, tmp_path)
        place = {key: spec["docs_store"][key] for key in ("host", "port")}
        pad = tmp_path / "my_launchpad.yaml"
        pad.write_text(yaml.safe_dump({**place, "name": spec["docs_store"]["database"]}))
        jobflow = tmp_path / "jobflow.yaml"
        jobflow.write_text(yaml.safe_dump({"JOB_STORE": spec}))
        monkeypatch.setenv("JOBFLOW_CONFIG_FILE", str(jobflow))
        LaunchPad.from_file(str(pad)).reset("", require_password=False)
        changes = {"backend": "fireworks", "launchpad": str(pad), "store": str(store), **changes}
        path = write_campaign(tmp_path, **changes)
        submitted = crystens("submit", path)
        assert submitted.returncode == 0, submitted.stderr
        return path, store

    return make


def pytest_terminal_summary(terminalreporter):
    """Print what was lost, twice or calculated again, by fault."""
    if SURVIVED:
        terminalreporter.section("faults survived: candidates lost / twice / calculated again")
        for what, *counts in SURVIVED:
            terminalreporter.write_line(f"{what:<72}{' / '.join(map(str, counts))}")
        totals = [sum(column) for column in list(zip(*SURVIVED, strict=True))[1:]]
        terminalreporter.write_line(f"{len(SURVIVED)} faults: {' / '.join(map(str, totals))}")

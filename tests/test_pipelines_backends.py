"""The scripts that go into existing pipelines, with FireWorks and with jobflow-remote."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from crystens_flows.builders import CandidateBuilder
from crystens_flows.stores import open_stores
from pipeline_examples import COLLIDING, SCRIPTS, fcc, run_script, write_cifs
from stand_in_runs import ROCK_SALT

sys.path.append(str(Path(__file__).parent / "campaign"))
from campaign_managers import run_until, store_files, vasp_environment, write_project

pytest.importorskip("atomate2.vasp.jobs.core", reason="what is appended is atomate2's")
pytest.importorskip("custodian", reason="custodian runs VASP")

pytestmark = pytest.mark.mongo

SOURCES = {
    "prefilter_own_flow": ["own"],
    "relax_generated": ["own", "--engine", "ase.calculators.emt.EMT"],
    "elastic_and_bands": ["own", "--engine", "vasp"],
    "vasp_with_powerups": ["-n", "2"],
}


@pytest.fixture
def script(monkeypatch, capsys, tmp_path):
    """Run a script where there are crystals of one's own."""
    monkeypatch.chdir(tmp_path)
    write_cifs(tmp_path / "own", al=fcc("Al", 3.9), cu=fcc("Cu", 3.5))

    def script(name, *arguments):
        return run_script(name, *arguments, monkeypatch=monkeypatch, capsys=capsys)

    return script


@pytest.fixture
def launchpad(mongo_uri, tmp_path, monkeypatch):
    """Make a launch pad the one that FireWorks takes, and a store that of its workers."""
    fireworks = pytest.importorskip("fireworks", reason="FireWorks runs the jobs")
    file = tmp_path / "my_launchpad.yaml"
    name = mongo_uri.rpartition("/")[2]
    file.write_text(yaml.safe_dump({"host": mongo_uri, "name": name, "uri_mode": True}))
    monkeypatch.setattr("fireworks.fw_config.LAUNCHPAD_LOC", str(file))
    monkeypatch.setattr("fireworks.core.launchpad.LAUNCHPAD_LOC", str(file), raising=False)
    store, _, _ = store_files(mongo_uri, tmp_path)
    launchpad = fireworks.LaunchPad.from_file(str(file))
    launchpad.reset("", require_password=False)
    launchpad.store = store
    return launchpad


def errors_of(launchpad):
    field = "action.stored_data._exception._stacktrace"
    for launch in launchpad.launches.find({field: {"$exists": True}}, [field]):
        yield launch["action"]["stored_data"]["_exception"]["_stacktrace"]


@pytest.fixture
def project(mongo_uri, tmp_path, monkeypatch):
    """Make a project of jobflow-remote the one that submissions, and `jf`, take."""
    remote = pytest.importorskip("jobflow_remote", reason="jobflow-remote runs the jobs")
    store, projects = write_project(mongo_uri, tmp_path, ("local", "vasp"), batch=("local",))
    monkeypatch.setenv("JFREMOTE_PROJECTS_FOLDER", str(projects))
    monkeypatch.setenv("JFREMOTE_PROJECT", "crystens")
    monkeypatch.setattr(remote.SETTINGS, "projects_folder", str(projects))
    monkeypatch.setattr(remote.SETTINGS, "project", "crystens")
    controller = remote.JobController.from_project_name()
    assert controller.reset()
    controller.store_file = store
    return controller


@pytest.mark.parametrize("name", SCRIPTS)
def test_all_go_into_the_queue_of_fireworks(name, script, launchpad):
    script(name, *SOURCES[name], "--backend", "fireworks")
    (first,) = launchpad.get_wf_ids()
    jobs = launchpad.get_wf_by_fw_id(first).fws
    assert len(jobs) > 1
    relaxing = [fw for fw in jobs if fw.name.startswith("crystens relax")]
    powered = name == "vasp_with_powerups"
    assert {fw.spec.get("_category") for fw in relaxing} <= {"vasp" if powered else None}
    stored = list(launchpad.fireworks.find({}))
    assert all(task["store"] is None for fw in stored for task in fw["spec"]["_tasks"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_all_go_into_the_queue_of_jobflow_remote(name, script, project):
    script(name, *SOURCES[name], "--backend", "jf")
    jobs = list(project.jobs.find({}))
    assert len(jobs) > 1
    for found in jobs:
        relaxes = found["job"]["name"].startswith("crystens relax")
        at_vasp = relaxes and name == "vasp_with_powerups"
        assert found["worker"] == ("vasp" if at_vasp else "local")


def test_a_flow_of_ones_own_on_fireworks(script, launchpad, tmp_path, monkeypatch):
    """What passes the screens goes through VASP twice, the rest not at all."""
    calls = vasp_environment(tmp_path, monkeypatch)
    write_cifs(tmp_path / "own", colliding=COLLIDING, salt=ROCK_SALT)
    script("prefilter_own_flow", "own", "--backend", "fireworks")
    rlaunch = [str(Path(sys.executable).with_name("rlaunch")), "-l", "my_launchpad.yaml"]
    done = subprocess.run(
        [*rlaunch, "rapidfire"],
        env={**os.environ, "JOBFLOW_CONFIG_FILE": str(launchpad.store)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (first,) = launchpad.get_wf_ids()
    states = Counter((fw.name, fw.state) for fw in launchpad.get_wf_by_fw_id(first).fws)
    assert {state for _, state in states} == {"COMPLETED"}, (states, *errors_of(launchpad))
    n_own = states["relax 2", "COMPLETED"]
    assert n_own >= 1
    assert len(calls.read_text().splitlines()) == 2 * n_own
    stores = open_stores(str(launchpad.store))
    CandidateBuilder(stores.job_store, stores.candidates).run_incrementally()
    found = {doc.candidate_id: doc for doc in stores.candidates.documents()}
    assert len(found) == 4
    selected = {each for each, doc in found.items() if doc.status == "selected"}
    ran = list(stores.job_store.query({"name": "relax 2"}, ["metadata", "output.input.structure"]))
    assert {doc["metadata"]["candidate_id"] for doc in ran} == selected
    rejected = {doc.rejected_by for doc in found.values()} - {None}
    # two atoms on one spot are no crystal, and rock salt is known
    assert {"validity", "novelty"} <= rejected


@pytest.mark.slow
@pytest.mark.jf
def test_relaxing_with_the_real_runner(script, project, tmp_path):
    # of all at once, in one job: each job starts an interpreter
    script("relax_generated", "own", "--engine", "chgnet", "--backend", "jf")

    def ended():
        states = {found["state"] for found in project.jobs.find({}, ["state"])}
        return states <= {"COMPLETED", "FAILED", "REMOTE_ERROR"}

    run_until(ended, tmp_path / "runner.log")
    states = Counter((found["job"]["name"], found["state"]) for found in project.jobs.find({}))
    assert {state for _, state in states} == {"COMPLETED"}, states
    stores = open_stores(str(project.store_file))
    CandidateBuilder(stores.job_store, stores.candidates).run_incrementally()
    found = list(stores.candidates.documents(campaign="generated"))
    assert [doc.status for doc in found] == ["relaxed"] * 2
    assert {doc.provenance.generator for doc in found} == {"mattergen"}

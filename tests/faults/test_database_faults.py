"""SIGKILL of the database server while jobs run, and a store that refuses writes."""

from __future__ import annotations

import contextlib

import pytest
import yaml
from campaign_managers import crystens
from database import Database, Refusing
from fault_campaigns import reasons, status, survived, wait_until
from fault_workers import all_rockets, rlaunch, running, wait_until_ended

pytestmark = [pytest.mark.mongo, pytest.mark.slow]


@pytest.fixture
def database(tmp_path):
    server = Database(tmp_path / "database")
    yield server
    server.kill()


@pytest.mark.parametrize("stage", ["sample", "screen", "relax"])
def test_killed_and_started_again_under_fireworks(
    stage, database, tmp_path, watch, fireworks_campaign, undisturbed
):
    """While a worker is in a job; it writes its output when the server is there again."""
    path, store = fireworks_campaign(database.uri())
    watch.hold(stage, "computed")
    worker = rlaunch(tmp_path)
    watch.wait_for_held()
    database.kill()
    down = crystens("status", path)
    assert down.returncode == 1
    assert "cannot be reached" in down.stderr
    assert "Traceback" not in down.stderr
    database.start()
    watch.release()
    worker.wait(600)
    ends_well(path, tmp_path)
    assert crystens("build", "--store", store).returncode == 0
    what = f"FireWorks, SIGKILL of the database in {stage}"
    survived(what, path, watch, store, undisturbed)


def test_gone_when_a_job_ends(database, tmp_path, watch, fireworks_campaign, undisturbed):
    """The worker of FireWorks cannot say what it has done, and is lost: it is done once more."""
    path, store = fireworks_campaign(database.uri())
    for file in ("my_launchpad.yaml", "jobflow.yaml"):  # not to wait half a minute for each
        impatient(tmp_path / file)
    watch.hold("decode", "computed")
    worker = rlaunch(tmp_path)
    _, held = watch.wait_for_held()
    database.kill()
    watch.release()
    worker.wait(300)
    database.start()
    found = wait_until(lambda: reasons(path), 60)
    assert found["decode"].startswith("lost: no sign of life") or "Timeout" in found["decode"]
    assert crystens("retry", path).returncode == 0
    ends_well(path, tmp_path)
    assert crystens("build", "--store", store).returncode == 0
    what = "FireWorks, no database when a job ends"
    survived(what, path, watch, store, undisturbed, again={held["job"]})


def test_killed_and_started_again_under_jobflow_remote(
    database, tmp_path, watch, jf_campaign, undisturbed
):
    """The runner asks again after two minutes; it need not be started again."""
    path, store = jf_campaign(database.uri())
    watch.hold("screen", "computed")
    with running(tmp_path):
        watch.wait_for_held()
        database.kill()
        down = crystens("status", path)
        assert down.returncode == 1
        assert "Traceback" not in down.stderr
        database.start()
        watch.release()
        wait_until_ended(path, tmp_path)
    assert reasons(path) == {}
    assert crystens("build", "--store", store).returncode == 0
    what = "jobflow-remote, SIGKILL of the database in screen"
    survived(what, path, watch, store, undisturbed)


def test_a_store_that_refuses_writes(database, tmp_path, watch, fireworks_campaign, undisturbed):
    """The user of the workers may not write any more, for a while."""
    path, store = fireworks_campaign(database.uri())
    proxy = Refusing(database.port, "outputs")
    file = tmp_path / "jobflow.yaml"
    spec = yaml.safe_load(file.read_text())
    spec["JOB_STORE"]["docs_store"]["port"] = proxy.port
    file.write_text(yaml.safe_dump(spec))
    with contextlib.closing(proxy):
        watch.hold("screen", "computed")
        worker = rlaunch(tmp_path)
        _, held = watch.wait_for_held()
        proxy.refuses.set()
        watch.release()
        worker.wait(600)
        found = reasons(path)
        assert "not authorized to write" in found["screen"]
        assert {"select", "tune", "collect"} <= found.keys()
        counts = {each["stage"]: each["finished"] for each in status(path)["stages"]}
        assert counts["screen"] == counts["select"] == 0
        proxy.refuses.clear()
        retried = crystens("retry", path)
        assert "  not " not in retried.stderr, retried.stderr
        computed = {job for job, n in watch.counts("computed").items() if n}
        stored = {job for job, n in watch.counts("stored").items() if n}
        all_rockets(tmp_path)
    assert crystens("build", "--store", store).returncode == 0
    what = "FireWorks, a store that refuses writes"
    again = (computed - stored) | {held["job"]}
    survived(what, path, watch, store, undisturbed, again=again)


def ends_well(path, folder):
    """Start workers, as a queue does, as long as there is something to do."""
    for _ in range(3):
        all_rockets(folder)
        if all(not each["waiting"] for each in status(path)["stages"]):
            break
        found = wait_until(lambda: reasons(path), 60)
        assert all("lost" in each for each in found.values())
        assert crystens("retry", path).returncode == 0


def impatient(file):
    text = yaml.safe_load(file.read_text())
    kwargs = {"serverSelectionTimeoutMS": 1000}
    if "JOB_STORE" in text:
        spec = text["JOB_STORE"]
        for each in (spec["docs_store"], *spec["additional_stores"].values()):
            each["mongoclient_kwargs"] = kwargs
    else:
        text["mongoclient_kwargs"] = kwargs
    file.write_text(yaml.safe_dump(text))

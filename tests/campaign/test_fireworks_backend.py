"""Campaigns on the launch pad of FireWorks, on a database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from campaign_managers import PAPER, PAPER_WORKERS, SMALL_PAPER, crystens, store_files

from crystens_flows.campaign.backends import JobStatus, find_backend
from crystens_flows.campaign.file import read_campaign
from crystens_flows.campaign.options import Part
from crystens_flows.campaign.stages import stage_of
from crystens_flows.campaign.status import campaign_status, failed_jobs
from crystens_flows.campaign.submission import extend_campaign, submit_campaign
from crystens_flows.errors import InputError
from crystens_flows.generators import SHIPPED_GENERATORS

pytest.importorskip("fireworks", reason="FireWorks runs the jobs")

pytestmark = [pytest.mark.mongo]


@pytest.fixture
def fireworks(mongo_uri, tmp_path):
    """Write the files of FireWorks and of jobflow; return the store and the launch pad."""
    from fireworks import LaunchPad

    store, spec, _ = store_files(mongo_uri, tmp_path)
    place = {key: spec["docs_store"][key] for key in ("host", "port")}
    pad = tmp_path / "my_launchpad.yaml"
    pad.write_text(yaml.safe_dump({**place, "name": spec["docs_store"]["database"]}))
    (tmp_path / "jobflow.yaml").write_text(yaml.safe_dump({"JOB_STORE": spec}))
    LaunchPad.from_file(str(pad)).reset("", require_password=False)
    return store, pad


def paper(store, pad, *settings):
    more = (f"store={store}", f"launchpad={pad}", "backend=fireworks")
    return read_campaign(PAPER, [*SMALL_PAPER, *more, *settings])


def rlaunch(pad, folder, *, category, seconds=1800):
    """Run all jobs that a worker takes, as `crystens init` writes workers: with a GPU, or not."""
    query = {} if category else {"spec._category": {"$ne": "gpu"}}
    worker = folder / f"worker-{category or 'cpu'}.yaml"
    worker.write_text(
        yaml.safe_dump(
            {"name": worker.stem, "category": category, "query": str(query).replace("'", '"')}
        )
    )
    place = folder / worker.stem
    place.mkdir(exist_ok=True)
    command = [str(Path(sys.executable).with_name("rlaunch")), "--loglvl", "CRITICAL"]
    run = subprocess.run(
        [*command, "-l", str(pad), "-w", str(worker), "rapidfire"],
        cwd=place,
        env={**os.environ, "JOBFLOW_CONFIG_FILE": str(folder / "jobflow.yaml")},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_submitted_routed_extended_and_paused(fireworks):
    store, pad = fireworks
    backend = find_backend(paper(store, pad))
    assert backend.parts() == []
    assert "16 samples from index 0" in submit_campaign(backend)
    assert backend.parts() == [Part(0, 16)]
    specs = [(fw["name"], fw["spec"]) for fw in backend.launchpad.fireworks.find({})]
    assert Counter(name for name, _ in specs)["crystens sample"] == 2
    for name, spec in specs:
        assert spec["_category"] == PAPER_WORKERS.get(stage_of(name), "local"), name
        assert spec["_tasks"][0]["store"] is None
    with pytest.raises(InputError, match="paper was submitted before, with 16 samples"):
        submit_campaign(backend)

    extend_campaign(backend, 5)
    assert backend.parts() == [Part(0, 16), Part(16, 5)]
    with pytest.raises(InputError, match="paper was submitted with another seed"):
        extend_campaign(find_backend(paper(store, pad, "seed=1")), 5)
    n_jobs = len(list(backend.jobs()))
    assert backend.pause() == n_jobs
    assert {job.status for job in backend.jobs()} == {JobStatus.PAUSED}
    assert backend.resume() == n_jobs
    assert {job.status for job in backend.jobs()} == {JobStatus.WAITING}


def test_what_fireworks_does_not_have(fireworks, tmp_path):
    store, pad = fireworks
    named = "stages={relax: {exec_config: vasp}}"
    with pytest.raises(InputError, match="FireWorks has no exec_config"):
        submit_campaign(find_backend(paper(store, pad, named)))
    with pytest.raises(InputError, match="there is no LaunchPad file"):
        submit_campaign(find_backend(paper(store, tmp_path / "absent.yaml")))


def test_failed_jobs_are_shown_and_tried_again(fireworks, tmp_path):
    """The checkpoint is away when it is to be sampled from, and back when that is retried."""
    store, pad = fireworks
    checkpoint = shutil.copytree(SHIPPED_GENERATORS["default"], tmp_path / "mine")
    settings = ("n_samples=2", f"generator={checkpoint}", "stages={}", "default={}", "tune=false")
    few = ("screening.selection.n_select=0", "screening.models=[cgcnn]")
    backend = find_backend(paper(store, pad, *settings, *few))
    submit_campaign(backend)
    away = checkpoint.rename(tmp_path / "away")
    rlaunch(pad, tmp_path, category="")
    failed = failed_jobs(backend.jobs(), "no generator")
    assert [job.name for job in failed] == ["crystens sample"]
    assert failed[0].reason.startswith(f"no generator '{checkpoint}'")
    assert Path(failed[0].folder).is_dir()
    shown = campaign_status(backend)
    assert ("sample", 1) in [(failure.stage, failure.n_jobs) for failure in shown.failures]

    away.rename(checkpoint)
    retried = backend.retry(failed_jobs(backend.jobs()))
    assert retried.keys[0] == failed[0].key
    assert retried.refused == {}
    rlaunch(pad, tmp_path, category="")
    assert {job.status for job in backend.jobs()} == {JobStatus.FINISHED}
    # what has begun relaxations does not run again
    sampled = [job for job in backend.jobs() if job.name == "crystens sample"]
    (why,) = backend.retry(sampled).refused.values()
    assert "which came after it, has started others" in why


@pytest.mark.slow
def test_the_paper_through_two_workers(fireworks, tmp_path, vasp_stand_in):
    """`crystens submit`, a worker for GPUs and one for the rest, `crystens build`."""
    store, pad = fireworks
    settings = [f"--set={each}" for each in (*SMALL_PAPER, f"store={store}", f"launchpad={pad}")]
    done = crystens("submit", "--backend", "fireworks", PAPER, *settings)
    assert done.returncode == 0, done.stderr
    backend = find_backend(paper(store, pad))
    rlaunch(pad, tmp_path, category="gpu")
    sampled = Counter((stage_of(job.name), job.status) for job in backend.jobs())
    assert sampled["sample", JobStatus.FINISHED] == 2
    assert sum(n for (_, status), n in sampled.items() if status is JobStatus.FINISHED) == 2
    rlaunch(pad, tmp_path, category="")
    jobs = list(backend.jobs())
    assert [job for job in jobs if job.status is not JobStatus.FINISHED] == []
    steps = [job for job in jobs if stage_of(job.name) == "relax"]
    assert sorted(job.name for job in steps) == [f"crystens relax {k}" for k in (1, 2, 3, 4)]
    # jobs that were started by others are routed too
    for firework in backend.launchpad.fireworks.find({}, ["name", "spec._category"]):
        stage = stage_of(firework["name"])
        assert firework["spec"]["_category"] == PAPER_WORKERS.get(stage, "local"), firework
    assert len(vasp_stand_in.read_text().splitlines()) == 4
    built = crystens("build", "--store", store, "--accept-stand-in")
    assert built.returncode == 0, built.stderr
    found = crystens("candidates", "query", "--store", store, "--status", "relaxed")
    assert found.stdout.count("c-") == 1, found.stdout + found.stderr

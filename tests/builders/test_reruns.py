"""Jobs that run again, under the same uuid and index, after their output has been read."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from jobflow import Flow, job

from crystens_flows.builders import CandidateBuilder
from crystens_flows.builders.merge import replaces
from crystens_flows.schemas import ScreenDocument
from crystens_flows.stores import open_stores
from stage_jobs import (
    contents,
    decode,
    energy_of,
    ids,
    provenance,
    relax,
    run_jobs,
    screen,
    select,
    structure_of,
)


@pytest.fixture(params=["embedded", pytest.param("mongo", marks=pytest.mark.mongo)])
def stores(request, tmp_path):
    if request.param == "mongo":
        return open_stores(request.getfixturevalue("mongo_uri"))
    return open_stores(tmp_path / "store")


def build(stores):
    builder = CandidateBuilder(stores.job_store, stores.candidates)
    builder.run_incrementally()
    return builder.summary


def run_in_place(old, new, stores, completed_at=None):
    """Run a job in place of one, as a rerun of FireWorks or jobflow-remote does."""
    new.set_uuid(old.uuid)
    new.index = old.index
    run_jobs([new], stores.job_store)
    assert stores.job_store.count({"uuid": old.uuid}) == 1
    if completed_at is not None:
        doc = stores.job_store.query_one({"uuid": old.uuid})
        stores.job_store.docs_store.update(
            {**doc, "completed_at": completed_at}, key=["uuid", "index"]
        )


@pytest.mark.parametrize("completed_at", [None, "2001-01-01T00:00:00"], ids=["later", "slow clock"])
def test_a_run_in_place_of_one_that_was_read_is_read(stores, completed_at):
    prov = provenance()
    screening = screen(prov, 0, 6)
    run_jobs([decode(prov, 0, 6), screening], stores.job_store)
    watching = CandidateBuilder(stores.job_store, stores.candidates)
    assert watching.run_incrementally() == 6
    first, *_, last = ids(prov, 0, 6)
    run_in_place(screening, screen(prov, 0, 5, shift=1.0), stores, completed_at)
    assert watching.run_incrementally() == 6
    assert watching.summary.n_jobs == 1
    doc = stores.candidates.get(first)
    assert doc.formation_energy_per_atom == pytest.approx(energy_of(0) + 1)
    assert doc.jobs["cgcnn"] == f"{screening.uuid}:1"
    # the new run says nothing of the last
    assert stores.candidates.get(last).screens == {}
    assert "cgcnn" not in stores.candidates.get(last).completed_at
    assert watching.run_incrementally() == 0
    assert build(stores).n_jobs == 0


def test_a_relaxation_that_had_failed_is_read_again(stores):
    prov = provenance()
    (first,) = ids(prov, 0, 1)
    failed = relax(first, structure_of(0), steps=2)
    run_jobs([decode(prov, 0, 1), select(prov, 1), failed], stores.job_store)
    build(stores)
    assert stores.candidates.get(first).reason == "step 3: forces exploded"
    run_in_place(failed, relax(first, structure_of(0)), stores)
    summary = build(stores)
    assert (summary.n_jobs, summary.n_changed) == (1, 1)
    doc = stores.candidates.get(first)
    assert (doc.status, doc.reason) == ("relaxed", None)
    assert doc.energy_per_atom == pytest.approx(-4.0)


def test_decoding_in_place_removes_what_is_not_made_any_more(stores):
    prov = provenance()
    decoding = decode(prov, 0, 4)
    run_jobs([decoding, screen(prov, 0, 4)], stores.job_store)
    build(stores)
    run_in_place(decoding, decode(prov, 0, 3), stores)
    summary = build(stores)
    assert (summary.n_removed, stores.candidates.count()) == (1, 3)
    assert all("cgcnn" in doc["jobs"] for doc in stores.candidates.query())
    summary = build(stores)
    assert (summary.n_jobs, summary.n_changed, summary.n_removed) == (0, 0, 0)


def test_the_same_as_built_at_once(stores, tmp_path):
    """After any reruns the candidates are those that a first build would make."""
    prov = provenance()
    jobs = [decode(prov, 0, 8), screen(prov, 0, 8), select(prov, 8)]
    run_jobs(jobs, stores.job_store)
    build(stores)
    run_in_place(jobs[1], screen(prov, 2, 4, shift=0.3), stores)
    build(stores)
    run_in_place(jobs[2], select(prov, 5, n_select=1), stores)
    run_in_place(jobs[0], decode(prov, 1, 7), stores)
    build(stores)
    fresh = open_stores(tmp_path / "fresh")
    CandidateBuilder(stores.job_store, fresh.candidates).run_incrementally()
    assert contents(stores.candidates.store) == contents(fresh.candidates.store)


def test_which_run_counts():
    run = ("2026-01-02", "a", 1)
    assert replaces(run, None)
    assert not replaces(run, run)
    assert replaces(("2025-01-01", "a", 1), run)  # the same job, by another clock
    assert replaces(("2025-01-01", "a", 2), run)
    assert not replaces(("2027-01-01", "a", 0), run)
    assert replaces(("2027-01-01", "b", 1), run)
    assert not replaces(("2025-01-01", "b", 1), run)
    assert replaces(run, ("", "b", 1))  # of an earlier schema version


@job(output_schema=ScreenDocument)
def screen_by_file(prov, n: int, file: str, after=None) -> ScreenDocument:
    """Shift the energies by the number in a file, which may not be there."""
    return screen.original(prov, 0, n, shift=float(Path(file).read_text()))


@pytest.mark.mongo
def test_reruns_of_fireworks_are_read(mongo_uri, tmp_path):
    fireworks = pytest.importorskip("fireworks", reason="the extra fireworks brings it")
    from fireworks.core.rocket_launcher import rapidfire
    from jobflow.managers.fireworks import flow_to_workflow

    stores = open_stores(mongo_uri)
    launchpad = fireworks.LaunchPad(
        host=mongo_uri, name=mongo_uri.rpartition("/")[2], uri_mode=True
    )
    launchpad.reset("", require_password=False)
    prov, file = provenance(), tmp_path / "shift"
    decoding = decode(prov, 0, 3)
    screening = screen_by_file(prov, 3, str(file), after=decoding.output.stage)
    workflow = flow_to_workflow(Flow([decoding, screening]), store=stores.job_store)
    ids_of = launchpad.add_wf(workflow)
    by_name = {launchpad.get_fw_by_id(new).name: new for new in (ids_of or {}).values()}

    def launch():
        with contextlib.chdir(tmp_path), contextlib.redirect_stdout(io.StringIO()):
            rapidfire(launchpad, strm_lvl="CRITICAL")
        return launchpad.get_fw_by_id(by_name["screen_by_file"]).state

    (first, *_) = ids(prov, 0, 3)
    assert launch() == "FIZZLED"
    build(stores)
    assert stores.candidates.get(first).status == "decoded"
    for shift in (1.0, 2.0):  # what had failed, and what had been read
        file.write_text(str(shift))
        launchpad.rerun_fw(by_name["screen_by_file"])
        assert launch() == "COMPLETED"
        assert build(stores).n_jobs == 1
        doc = stores.candidates.get(first)
        assert doc.formation_energy_per_atom == pytest.approx(energy_of(0) + shift)
        assert doc.jobs["cgcnn"] == f"{screening.uuid}:1"

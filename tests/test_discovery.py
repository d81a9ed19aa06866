"""A whole run in one folder: killed and continued, and the same for any chunk size."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from crystens_flows.campaign.options import DiscoveryOptions
from crystens_flows.discovery import prepare_folder, run_discovery
from crystens_flows.errors import OutputFolderError, StoreError
from crystens_flows.generators import SHIPPED_GENERATORS
from crystens_flows.report import render_report
from crystens_flows.stores import open_stores

ARGUMENTS = ["-n", "10", "--seed", "3", "--pool", "6", "--select", "2", "--chunk-size", "4"]
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore"}


def command(folder, *arguments):
    crystens = Path(sys.executable).with_name("crystens")
    return [str(crystens), "discover", "-o", str(folder), *ARGUMENTS, *arguments]


def discover(folder, *arguments, threads=1):
    return subprocess.run(
        command(folder, *arguments),
        env={**ENVIRONMENT, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )


def candidates(store):
    """Return the candidates of a store, without what says when and by which job."""
    stores = open_stores(store, create=False)
    documents = [d.model_dump(mode="json") for d in stores.candidates.documents()]
    stores.close()
    for document in documents:
        for field in ("last_updated", "jobs", "completed_at", "versions"):
            document.pop(field, None)
        if document["relaxation"]:
            for field in ("dir_name", "step_uuids", "versions"):
                document["relaxation"].pop(field)
    return documents


def finished_jobs(folder):
    """Return how often each job of a run finished, by name and uuid."""
    stores = open_stores(folder / "store", create=False)
    jobs = Counter(
        (document["name"], document["uuid"], document["index"])
        for document in stores.job_store.query(properties=["name", "uuid", "index"])
    )
    stores.close()
    return jobs


def tuned(folder):
    """Tell whether what comes next is to relax."""
    try:
        return any(name == "crystens tune" for name, *_ in finished_jobs(folder))
    except StoreError:
        return False


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = discover(folder)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_a_run_says_what_was_made_and_where(whole_run):
    folder, result = whole_run
    assert "sampled 10 of 10" in result.stderr
    assert "selected 2, relaxed 2" in result.stderr
    summary = json.loads((folder / "summary.json").read_text())
    found = [document["status"] for document in candidates(folder / "store")]
    assert summary["funnel"]["sampled"] == len(found) == 10
    assert summary["funnel"]["relaxed"] == found.count("relaxed") == 2
    assert list(summary["funnel"].values()) == sorted(summary["funnel"].values(), reverse=True)
    rejected = sum(sum(reasons.values()) for reasons in summary["rejected"].values())
    assert rejected == found.count("rejected")
    assert len(summary["best"]) == 2
    assert all(len(best["energies"]) == 5 for best in summary["best"])
    assert all(len(best["pressures"]) == 4 for best in summary["best"])
    assert len(list((folder / "relaxed").glob("*.cif"))) == 2
    assert (folder / "candidates.csv").read_text().count("\n") == 11
    report = (folder / "report.html").read_text()
    assert all(best["candidate_id"] in report for best in summary["best"])
    assert "with CHGNet" in report
    assert "default-src 'none'" in report


def test_what_is_asked_for_holds_for_every_candidate(crystens, tmp_path):
    folder = tmp_path / "asked"
    few = ("discover", "-o", folder, "-n", 3, "--pool", 0, "--select", 0)
    result = crystens(*few, "--formula", "CaTiO3")
    assert result.code == 0, result.err
    found = candidates(folder / "store")
    assert [document["formula"] for document in found] == ["CaTiO3"] * 3
    assert found[0]["provenance"]["conditions"] == {"formula": "CaTiO3"}
    other = crystens(*few, "--formula", "NaF")
    assert other.code == 1
    assert "conditions" in other.err.splitlines()[-1]


def test_killed_and_started_again_it_goes_on(whole_run, tmp_path):
    """After SIGKILL no finished job runs twice and the candidates are the same."""
    folder = tmp_path / "killed"
    with subprocess.Popen(
        command(folder),
        env={**ENVIRONMENT, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        began = time.monotonic()
        while not tuned(folder):
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() - began < 300
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
    before = finished_jobs(folder)
    stamps = completion_times(folder)
    assert not any(name == "crystens collect" for name, *_ in before)
    assert not (folder / "summary.json").exists()

    result = discover(folder)
    assert result.returncode == 0, result.stderr
    after = finished_jobs(folder)
    assert before.keys() < after.keys()
    assert set(after.values()) == {1}
    again = completion_times(folder)
    assert {job: again[job] for job in stamps} == stamps, "a finished job ran again"
    names = Counter(name for name, *_ in after)
    assert names == Counter(name for name, *_ in finished_jobs(whole_run[0]))
    assert candidates(folder / "store") == candidates(whole_run[0] / "store")


def completion_times(folder):
    stores = open_stores(folder / "store", create=False)
    times = {
        (document["uuid"], document["index"]): document["completed_at"]
        for document in stores.job_store.query(properties=["uuid", "index", "completed_at"])
    }
    stores.close()
    return times


def test_a_finished_run_started_again_does_nothing_twice(whole_run, crystens):
    folder, _ = whole_run
    jobs = finished_jobs(folder)
    before = candidates(folder / "store")
    result = crystens("discover", "-o", folder, *ARGUMENTS)
    assert result.code == 0, result.err
    assert finished_jobs(folder) == jobs
    assert candidates(folder / "store") == before


def without_relaxation(documents):
    """Split what single precision decides in the last digits, relaxed energies, from the rest."""
    energies = [document.pop("energy_per_atom") for document in documents]
    for document in documents:
        document.pop("relaxed_structure")
        document.pop("relaxation")
    return documents, energies


def assert_near(ours, others, tolerance=1e-4):
    """Networks in single precision give energies that depend on threads in the last digits."""
    if isinstance(ours, dict):
        assert ours.keys() == others.keys()
        for key, value in ours.items():
            assert_near(value, others[key])
    elif isinstance(ours, list):
        assert len(ours) == len(others)
        for one, other in zip(ours, others, strict=True):
            assert_near(one, other)
    elif isinstance(ours, float):
        assert ours == pytest.approx(others, rel=tolerance, abs=tolerance)
    elif not isinstance(ours, str) or "eV/atom" not in ours:  # a sentence rounds the energy
        assert ours == others


def test_chunk_size_and_worker_do_not_matter(whole_run, tmp_path):
    """Other chunks, in another process with other threads, give the same candidates."""
    folder = tmp_path / "other"
    result = discover(folder, "--chunk-size", "64", threads=2)
    assert result.returncode == 0, result.stderr
    ours, energies = without_relaxation(candidates(whole_run[0] / "store"))
    others, other_energies = without_relaxation(candidates(folder / "store"))
    assert_near(ours, others)
    assert [e is None for e in energies] == [e is None for e in other_energies]
    differences = [abs(a - b) for a, b in zip(energies, other_energies, strict=True) if a]
    assert len(differences) == 2
    assert max(differences) < 1e-3


def test_the_same_candidates_on_mongodb(whole_run, crystens, tmp_path, mongo_uri):
    result = crystens("discover", "-o", "run", *ARGUMENTS, "--store", mongo_uri)
    assert result.code == 0, result.err
    assert candidates(mongo_uri) == candidates(whole_run[0] / "store")
    assert not (tmp_path / "run" / "store").exists()


def test_two_runs_in_one_store_are_told_apart(whole_run, crystens, tmp_path):
    """The summary of a run counts its own samples, not those of another seed in the store."""
    store = whole_run[0] / "store"
    before = len(candidates(store))
    second = ("--store", store, "--seed", 9, "-n", 2)
    result = crystens("discover", "-o", "second", *ARGUMENTS, *second)
    assert result.code == 0, result.err
    assert "sampled 2 of 2" in result.err
    assert (tmp_path / "second" / "candidates.csv").read_text().count("\n") == 3
    assert len(candidates(store)) == before + 2
    stores = open_stores(store)
    stores.candidates.store.remove_docs({"provenance.seed": 9})
    stores.job_store.remove_docs({"metadata.campaign": "default", "output.provenance.seed": 9})
    stores.close()


def test_a_checkpoint_may_be_named_by_a_relative_path(crystens, tmp_path):
    shutil.copytree(SHIPPED_GENERATORS["default"], tmp_path / "mine")
    few = ("-n", 2, "--pool", 0, "--select", 0)
    result = crystens("discover", *few, "--generator", "mine", "-o", "run")
    assert result.code == 0, result.err
    assert "sampled 2 of 2" in result.err


def test_a_wrong_store_does_not_take_the_folder(tmp_path):
    folder = tmp_path / "run"
    options = DiscoveryOptions(n_samples=1, store=str(tmp_path / "absent.yaml"))
    with pytest.raises(StoreError):
        run_discovery(options, folder)
    assert not folder.exists()
    prepare_folder(folder, DiscoveryOptions(n_samples=1))


def test_a_run_in_which_all_jobs_fail_is_a_failure(tmp_path):
    """The generator is gone by the time the jobs run."""
    checkpoint = shutil.copytree(SHIPPED_GENERATORS["default"], tmp_path / "mine")
    options = DiscoveryOptions(n_samples=2, generator=str(checkpoint))

    def lose_the_checkpoint(*_):
        shutil.rmtree(checkpoint, ignore_errors=True)

    summary = run_discovery(options, tmp_path / "run", progress=lose_the_checkpoint)
    assert summary.funnel["sampled"] == 0
    assert any("sample" in job for job in summary.failed_jobs)


def test_what_a_kill_left_of_the_options_is_no_obstacle(tmp_path):
    (tmp_path / ".options.yaml.tmp").write_text("n_sam")
    prepare_folder(tmp_path, DiscoveryOptions(n_samples=1))
    assert (tmp_path / "options.yaml").is_file()


def test_other_options_do_not_enter_the_same_folder(whole_run, crystens):
    folder, _ = whole_run
    result = crystens("discover", "-o", folder, *ARGUMENTS, "--seed", 4)
    assert result.code == 1
    assert "in use by a run with seed 3, not 4" in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(OutputFolderError, match="holds no run"):
        prepare_folder(tmp_path, DiscoveryOptions(n_samples=1))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_damaged_options_file_is_named(tmp_path):
    (tmp_path / "options.yaml").write_text("a: b: c")
    with pytest.raises(OutputFolderError, match=r"options\.yaml cannot be read"):
        prepare_folder(tmp_path, DiscoveryOptions(n_samples=1))


def test_the_report_escapes_what_it_shows():
    hostile = "<script>alert(1)</script>"
    page = render_report(
        {"campaign": hostile, "screening": {"models": [hostile, "m3gnet"]}},
        {
            "campaign": hostile,
            "n_samples": 1,
            "funnel": {"relaxed": 1},
            "rejected": {hostile: {hostile: 1}},
            "failed_jobs": {hostile: hostile},
            "best": [
                {
                    "candidate_id": hostile,
                    "formula": hostile,
                    "n_sites": 2,
                    "rank": 1,
                    "formation_energy_per_atom": -1.0,
                    "energy_above_hull": 0.0,
                    "engine": hostile,
                    "energies": [None] * 5,
                    "pressures": [None] * 4,
                }
            ],
            "store": hostile,
        },
    )
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") >= 8
    assert "<td>screening.models</td>" in page

"""Small whole campaigns that things happen to, and what must be true of them afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import yaml
from campaign_managers import crystens

from crystens_flows.campaign.backends import JobStatus, find_backend
from crystens_flows.campaign.file import read_campaign
from crystens_flows.campaign.stages import STAGES
from crystens_flows.stores import open_stores

KILLED_IN = [stage for stage in STAGES if stage != "train"]
SMALL = {
    "campaign": "small",
    "n_samples": 6,
    "seed": 3,
    "chunk_size": 3,
    "screening": {
        "models": ["cgcnn"],
        "known": None,
        "selection": {"n_pool": 3, "n_select": 2, "max_per_chemical_system": None},
    },
    "tune": True,
    "relaxer": {"engine": "chgnet", "steps": 2},
}
"""Real samples of the generator that ships, in two chunks, to the end in some ten seconds."""

SURVIVED: list[tuple[str, int, int, int]] = []
"""Of each fault: candidates lost, candidates twice, jobs calculated again."""

_OF_A_RUN = ("jobs", "completed_at", "last_updated", "versions", "_id")


class Watch:
    """What the jobs of a test's processes say, and which of them are to wait."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        site = folder / "site"
        site.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("watched_site.py"), site / "sitecustomize.py")
        monkeypatch.setenv("PYTHONPATH", str(site))
        monkeypatch.setenv("CRYSTENS_TEST_WATCH", str(folder))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def lines(self):
        file = self.folder / "jobs.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def counts(self, what):
        return Counter(line["job"] for line in self.lines() if line["what"] == what)

    def hold_runner(self):
        (self.folder / "hold-runner").touch()

    def hold(self, stage, what="begins"):
        (self.folder / f"hold-{stage}-{what}").touch()

    def held(self):
        """Return the jobs that wait now, by their processes."""
        found = [json.loads(file.read_text() or "null") for file in self.folder.glob("held-*")]
        return {each["pid"]: each for each in found if each}

    def wait_for_held(self, seconds=240):
        wait_until(self.held, seconds, self.last_words)
        return next(iter(self.held().items()))

    def release(self):
        for file in self.folder.glob("held-*"):
            file.unlink()

    def last_words(self):
        return json.dumps(self.lines()[-3:])

    def kill_held(self, seconds=240):
        """Kill the process of the job that waits; return the job."""
        pid, job = self.wait_for_held(seconds)
        os.kill(pid, signal.SIGKILL)
        self.release()
        return job["job"]


def wait_until(true, seconds=240, words=lambda: ""):
    began = time.monotonic()
    while not (found := true()):
        assert time.monotonic() - began < seconds, words()
        time.sleep(0.1)
    return found


def write_campaign(place, **changes):
    path = place / "campaign.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return path


def start(*arguments, **options):
    """Start a command of this package, which hears SIGINT even where the tests do not."""
    command = [str(Path(sys.executable).with_name("crystens")), *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def status(path, *arguments):
    done = crystens("status", path, "--format", "json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def reasons(path, *arguments):
    """Return why jobs failed, by stage, as `crystens status` shows it."""
    return {each["stage"]: each["example"] for each in status(path, *arguments)["failures"]}


def candidates(store):
    """Return candidates without what differs from one run to another: when, where, by which job."""
    stores = open_stores(store, create=False)
    with contextlib.closing(stores):
        docs = list(stores.candidates.store.query())
    found = {}
    for doc in docs:
        plain = {name: value for name, value in doc.items() if name not in _OF_A_RUN}
        found.setdefault(doc["candidate_id"], []).append(_plain(plain))
    return found


def _plain(value):
    if isinstance(value, dict):
        left_out = ("uuid", "step_uuids", "dir_name", "folder", "last_updated", "completed_at")
        return {name: _plain(each) for name, each in value.items() if name not in left_out}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def survived(what, path, watch, store, expected, *, again=(), not_kept=()):
    """
    Check that nothing was lost, nothing is there twice, and nothing was calculated again.

    Jobs in `again` were killed, or could not write, with their output in hand; those in `not_kept`
    had written it to a store that then refused it.
    """
    jobs = list(find_backend(read_campaign(path)).jobs())
    left = [job for job in jobs if job.status is not JobStatus.FINISHED]
    assert left == []
    found = candidates(store)
    lost = len(expected.keys() - found.keys())
    twice = sum(len(docs) - 1 for docs in found.values()) + len(found.keys() - expected.keys())
    stored, computed = watch.counts("stored"), watch.counts("computed")
    repeated = {job: n - 1 for job, n in stored.items() if n > 1 and job not in not_kept}
    may = {*again, *not_kept}
    repeated |= {job: n - 1 for job, n in computed.items() if n > 1 and job not in may}
    SURVIVED.append((what, lost, twice, sum(repeated.values())))
    assert (lost, twice, repeated) == (0, 0, {})
    for identifier, docs in expected.items():
        assert found[identifier] == docs
    return found


def comes_late(what, path, watch, expected, store, run):
    """Try again samples that the selection went on without: they are selected from on their own."""
    before = watch.counts("stored")
    retried = crystens("retry", path)
    assert "come after the selection: submitted once more" in retried.stderr, retried.stderr
    assert "  not " not in retried.stderr
    assert reasons(path) == {}
    run()
    assert reasons(path) == {}
    assert crystens("build", "--store", store).returncode == 0
    stored = watch.counts("stored")
    again = sum(stored[job] - n for job, n in before.items())
    found = candidates(store)
    twice = sum(len(docs) - 1 for docs in found.values())
    lost = len(expected.keys() - found.keys())
    SURVIVED.append(
        (f"{what}, sample fails and is retried after the selection", lost, twice, again)
    )
    assert (lost, twice, again) == (0, 0, 0)
    assert found.keys() == expected.keys()
    for identifier, (doc,) in found.items():
        (other,) = expected[identifier]
        same = ("index", "structure", "screens", "provenance", "consistency")
        assert [doc[name] for name in same] == [other[name] for name in same]
        assert doc["selection"] is not None
    assert sum(doc["status"] == "relaxed" for (doc,) in found.values()) == 4  # two of each
    assert status(path)["n_samples"] == 6
    assert "0 failed jobs found" in crystens("retry", path).stderr


def step_failed(path, store, expected):
    """Check that status and candidate say which step of the one relaxation failed."""
    assert "relax" in reasons(path)
    done = {each["stage"]: each["finished"] for each in status(path)["stages"]}
    assert done["relax"] == 1
    assert crystens("build", "--store", store, "--accept-stand-in").returncode == 0
    (relaxed,) = (key for key, (doc,) in expected.items() if doc["status"] == "relaxed")
    (found,) = candidates(store)[relaxed]
    assert found["status"] == "rejected"
    assert found["reason"].startswith("relaxation failed: step 2 of 4")


def told(watch):
    """Return the jobs that put together what became of relaxations; they do so once more."""
    names = ("crystens relax summary", "crystens collect", "store_inputs")
    return {line["job"] for line in watch.lines() if line["name"] in names}

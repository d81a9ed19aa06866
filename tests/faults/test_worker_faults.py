"""Workers that lack something: an extra, room on the disk, the right time, the checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from campaign_managers import crystens
from fault_campaigns import reasons, start, status, survived, write_campaign
from fault_workers import all_rockets, rlaunch
from safetensors.numpy import load_file

from crystens_flows.campaign.backends import find_backend
from crystens_flows.campaign.backends.local import INTERRUPTED
from crystens_flows.campaign.file import read_campaign
from crystens_flows.campaign.status import failed_jobs
from crystens_flows.generators import SHIPPED_GENERATORS, generator_sha256
from crystens_flows.generators.checkpoints import write_checkpoint

pytestmark = [pytest.mark.slow]

LIBRARY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) { const char *s = getenv("CRYSTENS_TEST_CLOCK"); return s ? atol(s) : 0; }
int clock_gettime(clockid_t id, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(id, t);
  if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += shift();
  return result;
}
int gettimeofday(struct timeval *t, void *zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) *t = now.tv_sec;
  return now.tv_sec;
}
"""
"""What a machine with another clock says of the time."""


@pytest.mark.mongo
def test_a_worker_without_an_extra(
    mongo_uri, tmp_path, watch, fireworks_campaign, undisturbed, monkeypatch
):
    path, store = fireworks_campaign(mongo_uri)
    monkeypatch.setenv("CRYSTENS_TEST_HIDDEN", "chgnet")
    all_rockets(tmp_path)
    found = reasons(path)
    assert "chgnet is needed for" in found["tune"]
    assert "pip install 'crystens-flows[" in found["tune"]
    monkeypatch.delenv("CRYSTENS_TEST_HIDDEN")
    assert "  not " not in crystens("retry", path, "--reason", "chgnet").stderr
    all_rockets(tmp_path)
    assert crystens("build", "--store", store).returncode == 0
    survived("FireWorks, a worker without CHGNet", path, watch, store, undisturbed)


def test_this_machine_without_an_extra(tmp_path, watch, undisturbed, monkeypatch):
    path = write_campaign(tmp_path, folder=str(tmp_path / "run"))
    monkeypatch.setenv("CRYSTENS_TEST_HIDDEN", "chgnet")
    crystens("submit", path)
    assert "chgnet is needed for" in reasons(path)["tune"]
    monkeypatch.delenv("CRYSTENS_TEST_HIDDEN")
    assert crystens("retry", path, "--reason", "chgnet").returncode == 0
    store = tmp_path / "run" / "store"
    survived("local, a machine without CHGNet", path, watch, store, undisturbed)


@pytest.fixture
def small_disk(tmp_path):
    """A place of 8 MiB, and what fills it."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk is a mount, which is not allowed here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place):
    with (place / "filler").open("ab", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass


@pytest.mark.parametrize("stage", ["decode", "relax"])
def test_a_full_disk_where_a_campaign_runs(stage, tmp_path, watch, undisturbed, small_disk):
    """Folder and progress of the run; the store is elsewhere."""
    folder, store = small_disk / "run", tmp_path / "store"
    path = write_campaign(tmp_path, folder=str(folder), store=str(store))
    watch.hold(stage, "computed")
    process = start("submit", path)
    watch.wait_for_held()
    fill(small_disk)
    watch.release()
    while process.poll() is None:
        fill(small_disk)
        time.sleep(0.02)
    _, printed = process.communicate()
    assert process.returncode == 1
    assert "No space left on device" in printed
    assert "Traceback" not in printed
    # the last block of the progress has room for some jobs more
    interrupted = failed_jobs(find_backend(read_campaign(path)).jobs())
    assert [job.reason for job in interrupted] in ([], [INTERRUPTED])
    (small_disk / "filler").unlink()
    assert crystens("submit", path).returncode == 0
    what = f"local, a full disk in {stage}"
    survived(what, path, watch, store, undisturbed, not_kept={job.key for job in interrupted})


@pytest.mark.parametrize("stage", ["sample", "select"])
def test_a_full_disk_where_the_store_is(stage, tmp_path, watch, undisturbed, small_disk):
    store = small_disk / "store"
    path = write_campaign(tmp_path, folder=str(tmp_path / "run"), store=str(store))
    watch.hold(stage, "computed")
    process = start("submit", path)
    watch.wait_for_held()
    fill(small_disk)
    watch.release()
    process.communicate(timeout=240)
    (small_disk / "filler").unlink()
    found = reasons(path)
    assert "full" in found[stage] or "No space left" in found[stage], found
    failed = {job.key for job in failed_jobs(find_backend(read_campaign(path)).jobs())}
    assert crystens("submit", path).returncode == 0
    what = f"local, a full store in {stage}"
    survived(what, path, watch, store, undisturbed, not_kept=failed)


def test_a_store_that_may_only_be_read(tmp_path, watch, undisturbed):
    """What was killed is started again where the store is mounted to be read alone."""
    folder = tmp_path / "run"
    path = write_campaign(tmp_path, folder=str(folder))
    watch.hold("screen")
    process = start("submit", path)
    killed = watch.kill_held()
    process.wait(60)
    store = str(folder / "store")
    if subprocess.run(["mount", "--bind", store, store], check=False).returncode:
        pytest.skip("a store to be read alone is a mount, which is not allowed here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", store], check=True)
        refused = crystens("submit", path)
        assert "Traceback" not in refused.stderr
        assert "readonly" in reasons(path)["screen"]
        failed = {job.key for job in failed_jobs(find_backend(read_campaign(path)).jobs())}
    finally:
        subprocess.run(["umount", "-l", store], check=True)
    assert crystens("submit", path).returncode == 0
    what = "local, a store that may only be read"
    not_kept = failed | {killed}
    survived(what, path, watch, folder / "store", undisturbed, not_kept=not_kept)


@pytest.mark.mongo
def test_clocks_an_hour_ahead_and_behind(
    mongo_uri, tmp_path, watch, fireworks_campaign, undisturbed, monkeypatch
):
    """Workers in turn, and a build after each: no increment leaves out what is dated before it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build a clock that is wrong")
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(LIBRARY)
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    path, store = fireworks_campaign(mongo_uri)
    hour = 3600
    monkeypatch.setenv("LD_PRELOAD", str(library))
    for turn in range(20):
        monkeypatch.setenv("CRYSTENS_TEST_CLOCK", str(-hour if turn % 2 else hour))
        if turn == 0:
            said = [sys.executable, "-c", "import time; print(time.time())"]
            shifted = float(subprocess.run(said, capture_output=True, check=True).stdout)
            assert shifted - float(os.popen("env -u LD_PRELOAD date +%s").read()) > hour - 60
        worker = rlaunch(tmp_path, few=4)
        assert worker.wait(600) == 0
        monkeypatch.setenv("CRYSTENS_TEST_CLOCK", "0")
        assert crystens("build", "--store", store).returncode == 0
        if not any(each["waiting"] for each in status(path)["stages"]):
            break
    assert crystens("build", "--store", store).returncode == 0
    survived("FireWorks, clocks an hour ahead and behind", path, watch, store, undisturbed)


@pytest.mark.mongo
def test_a_checkpoint_that_is_replaced(mongo_uri, tmp_path, watch, fireworks_campaign, undisturbed):
    """Between two jobs that sample; one is refused, and runs when the checkpoint is back."""
    checkpoint = shutil.copytree(SHIPPED_GENERATORS["default"], tmp_path / "mine")
    path, store = fireworks_campaign(mongo_uri, generator=str(checkpoint))
    while not watch.counts("stored"):
        assert rlaunch(tmp_path, few=1).wait(300) == 0
    before = generator_sha256(checkpoint)
    kept = shutil.copytree(checkpoint, tmp_path / "kept")
    header = json.loads((checkpoint / "config.json").read_text())
    weights = load_file(checkpoint / "weights.safetensors")
    weights = {name: np.asarray(each * 1.001, each.dtype) for name, each in weights.items()}
    write_checkpoint(checkpoint, header["kind"], header["config"], {}, weights)
    assert generator_sha256(checkpoint) != before
    while "sample" not in reasons(path):
        assert rlaunch(tmp_path, few=1).wait(300) == 0
    assert (
        f"has SHA-256 {generator_sha256(checkpoint)}, not the {before}" in reasons(path)["sample"]
    )
    shutil.rmtree(checkpoint)
    kept.rename(checkpoint)
    retried = crystens("retry", path)
    assert "  not " not in retried.stderr, retried.stderr
    all_rockets(tmp_path)
    assert crystens("build", "--store", store).returncode == 0
    what = "FireWorks, a checkpoint that is replaced"
    survived(what, path, watch, store, undisturbed)

"""What is said of jobs that the queue has ended, and of rockets that are lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from crystens_flows.campaign.backends.lost_rockets import LostRockets
from crystens_flows.campaign.backends.queue_ends import (
    end_of,
    error_file,
    jobs_in_queue,
    killed_with_batch,
    why_ended,
)

# as SLURM 22.05 writes them
TIMEOUT = (
    "slurmstepd: error: *** JOB 3 ON vm CANCELLED AT 2026-11-21T20:43:28 DUE TO TIME LIMIT ***"
)
CANCELLED = "slurmstepd: error: *** JOB 14 ON vm CANCELLED AT 2026-11-21T20:43:28 ***"
PREEMPTED = CANCELLED.removesuffix("***") + "DUE TO PREEMPTION ***"
STEP = "slurmstepd: error: *** STEP 14.2 ON vm CANCELLED AT 2026-11-21T20:43:28 ***"
OOM = "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.batch."
PBS = "=>> PBS: job killed: walltime 3612 exceeded limit 3600"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"a warning\n{TIMEOUT}\n", "walltime used up: SLURM ended job 3 due to time limit"),
        (f"{CANCELLED}\nTerminated", "cancelled in the queue: SLURM ended job 14"),
        (PREEMPTED, "preempted: SLURM ended job 14 due to preemption"),
        (OOM, f"out of memory: {OOM}"),
        (PBS, f"walltime used up: {PBS}"),
        (STEP, None),
        ("Traceback\nValueError: the walltime is short", None),
        ("", None),
        (None, None),
    ],
)
def test_why_the_queue_ended_a_job(text, reason):
    assert why_ended(text) == reason


LOG = """\
2026-11-21 20:42:01,220 [INFO] jobflow_remote.jobs.run: Completed job with id 0a-9 and index 1
2026-11-21 20:43:27,281 [WARNING] jobflow_remote.jobs.run: Process for job with id 0a-1 and index 1
2026-11-21 20:43:27,281 [INFO] jobflow_remote.jobs.run: Completed job with id 0a-1 and index 1
"""


@pytest.mark.parametrize(
    ("job", "log", "error", "together"),
    [
        (("0a-1", 1), LOG, f"a warning\n{TIMEOUT}", True),
        (("0a-9", 1), LOG, TIMEOUT, False),  # failed by itself, a minute and a half before
        (("0a-1", 2), LOG, TIMEOUT, False),
        (("0a-1", 1), LOG, OOM, False),
        (("0a-1", 1), LOG, "", False),
        (("0a-1", 1), "", TIMEOUT, False),
        (("0a-1", 1), LOG.replace("2026-11", "2026/11"), TIMEOUT, False),
    ],
)
def test_a_job_ends_with_its_batch_or_by_itself(job, log, error, together):
    assert killed_with_batch(*job, log, error) is together


def test_the_end_of_a_file_is_read(tmp_path):
    file = tmp_path / "queue.err"
    file.write_text("x" * 100_000 + TIMEOUT)
    assert len(end_of(file)) < 10_000
    assert why_ended(end_of(file)) is not None
    assert end_of(tmp_path / "absent") == ""


def test_the_file_of_the_queue_is_beside_the_rocket_or_above_it(tmp_path):
    rocket = tmp_path / "launcher_1" / "launcher_2"
    rocket.mkdir(parents=True)
    assert error_file(rocket) is None
    above = tmp_path / "launcher_1" / "crystens-gpu-7.error"
    above.touch()
    assert error_file(rocket) == ("7", above)
    for number in (9, 10):
        (rocket / f"crystens_relax_1-{number}.error").touch()
    assert error_file(rocket) == ("10", rocket / "crystens_relax_1-10.error")
    assert error_file(tmp_path / "absent" / "launcher") is None


def launch(folder, hours=0.0, state="RUNNING"):
    pinged = datetime.now(tz=UTC) - timedelta(hours=hours)
    before = {"state": "RESERVED", "updated_on": (pinged - timedelta(hours=9)).isoformat()}
    history = [before, {"state": state, "updated_on": pinged.isoformat()}]
    return {"launch_dir": str(folder), "state_history": history}


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Put a squeue on PATH that lists some jobs; without, there is none."""

    def make(*jobs):
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "squeue").write_text(f"#!/bin/sh\nprintf '%s\\n' {' '.join(jobs)}\n")
        (programs / "squeue").chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return make


def test_rockets_of_jobs_that_have_left_the_queue_are_lost(tmp_path, queue):
    queue("5", "6")
    assert jobs_in_queue() == {"5", "6"}
    error = tmp_path / "crystens-cpu-5.error"
    error.write_text(TIMEOUT)
    lost = LostRockets()
    # of a job that still ends, and one that has ended
    assert lost.why("RUNNING", launch(tmp_path, hours=20)) is None
    error.rename(tmp_path / "crystens-cpu-4.error")
    assert lost.why("RUNNING", launch(tmp_path)) == f"lost: {why_ended(TIMEOUT)}"
    assert lost.why("RESERVED", launch(tmp_path, state="RESERVED")).startswith("lost: walltime")
    assert lost.why("COMPLETED", launch(tmp_path)) is None
    (tmp_path / "crystens-cpu-4.error").write_text("slurm_script: line 20: 12 Killed  rlaunch\n")
    why = lost.why("RUNNING", launch(tmp_path))
    assert why == "lost: job 4 of the queue has ended: slurm_script: line 20: 12 Killed  rlaunch"


def test_without_a_queue_a_rocket_is_lost_when_it_is_silent(tmp_path, queue):
    pytest.importorskip("fireworks", reason="it says how long a rocket may be silent")
    assert jobs_in_queue() is None
    lost = LostRockets()
    assert lost.why("RUNNING", launch(tmp_path, hours=3.9)) is None
    assert lost.why("RUNNING", launch(tmp_path, hours=4.2)).startswith("lost: no sign of life for")
    assert lost.why("RESERVED", launch(tmp_path, hours=4.2, state="RESERVED")) is None
    assert lost.why("RUNNING", {}) is None
    (tmp_path / "a-3.error").write_text(TIMEOUT)
    assert lost.why("RUNNING", launch(tmp_path)).startswith("lost: walltime used up")

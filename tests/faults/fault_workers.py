"""The programs that run jobs on a database, as processes that can be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from fault_campaigns import wait_until

from crystens_flows.campaign.backends import JobStatus, find_backend
from crystens_flows.campaign.file import read_campaign

PROGRAMS = Path(sys.executable).parent


def rlaunch(folder, few=None):
    """Start a worker of FireWorks that takes jobs as long as there are any, or a few."""
    place = folder / "rockets"
    place.mkdir(exist_ok=True)
    command = [str(PROGRAMS / "rlaunch"), "-l", str(folder / "my_launchpad.yaml"), "rapidfire"]
    command += [] if few is None else ["--nlaunches", str(few)]
    with (folder / "rlaunch.log").open("a") as log:
        return subprocess.Popen(command, cwd=place, stdout=log, stderr=subprocess.STDOUT)


def all_rockets(folder):
    """Let a worker of FireWorks run all that can run."""
    process = rlaunch(folder)
    assert process.wait(900) == 0, (folder / "rlaunch.log").read_text()[-3000:]


def jf_runner(folder):
    """Start the runner of jobflow-remote, with what it starts in a group of its own."""
    with (folder / "runner.log").open("a") as log:
        return subprocess.Popen(
            [str(PROGRAMS / "jf"), "runner", "run"],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # workers here are processes of the runner's, and look for `jf` where it does
            env={**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"},
        )


@contextlib.contextmanager
def running(folder):
    """Have a runner of jobflow-remote as long as the context lasts."""
    process = jf_runner(folder)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait_until_ended(path, folder, seconds=900):
    """Wait until no job of a campaign waits or runs any more."""
    backend = find_backend(read_campaign(path))
    ended = (JobStatus.FINISHED, JobStatus.FAILED)
    log = folder / "runner.log"
    wait_until(
        lambda: all(job.status in ended for job in backend.jobs()),
        seconds,
        lambda: log.read_text()[-3000:] if log.exists() else "",
    )

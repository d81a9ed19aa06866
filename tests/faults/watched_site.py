"""What the processes of a test import as ``sitecustomize``: jobs say that they begin and end.

Each job writes a line to ``jobs.jsonl`` in the folder that ``CRYSTENS_TEST_WATCH`` names when it
begins, when its function has ended and when its output is stored. Where a file there asks for it,
the next job of a stage waits, until the test has killed it or says that it may go on.
"""

import importlib.abc
import importlib.util
import json
import os
import sys
import time
from functools import partialmethod
from pathlib import Path

FOLDER = Path(os.environ.get("CRYSTENS_TEST_WATCH", ""))
HIDDEN = [each for each in os.environ.get("CRYSTENS_TEST_HIDDEN", "").split(",") if each]


def described(job):
    return {"job": f"{job.uuid}:{job.index}", "name": job.name, "pid": os.getpid()}


def note(job, what):
    file = os.open(FOLDER / "jobs.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, json.dumps({**described(job), "what": what}).encode() + b"\n")
    os.close(file)


def wait_if_asked(job, what):
    from crystens_flows.campaign.stages import stage_of

    held = FOLDER / f"held-{job.uuid}"
    for asked in (stage_of(job.name), job.name.rpartition(" ")[2]):
        try:
            (FOLDER / f"hold-{asked}-{what}").rename(held)  # one process alone can
            break
        except FileNotFoundError:
            continue
    else:
        return
    new = FOLDER / f"new-{job.uuid}"
    new.write_text(json.dumps(described(job)))
    new.replace(held)
    while held.exists():
        time.sleep(0.02)


def in_vain(output):
    """Say whether this is of a screen that had no candidates, as the job before it failed."""
    return getattr(output, "stage", "") == "screen" and not output.model


def watched(module):
    running = []
    run, returns = module.Job.run, module.Response.from_job_returns.__func__

    def watched_run(self, *arguments, **options):
        note(self, "begins")
        wait_if_asked(self, "begins")
        running.append(self)
        response = run(self, *arguments, **options)
        running.pop()
        if not in_vain(response.output):
            note(self, "stored")
        return response

    def watched_returns(cls, *arguments, **options):
        response = returns(cls, *arguments, **options)
        if running:
            if not in_vain(response.output):
                note(running[-1], "computed")
            wait_if_asked(running[-1], "computed")
        return response

    module.Job.run = watched_run
    module.Response.from_job_returns = classmethod(watched_returns)


def watched_runner(module):
    """Let a runner of jobflow-remote wait, where it is asked for, when it holds a job."""
    complete = module.JobController.complete_job

    def watched_complete(self, job_doc, *arguments, **options):
        asked, held = FOLDER / "hold-runner", FOLDER / "held-runner"
        if asked.exists():
            asked.unlink()
            held.write_text(json.dumps({"job": job_doc["uuid"], "name": "", "pid": os.getpid()}))
            while held.exists():
                time.sleep(0.02)
        return complete(self, job_doc, *arguments, **options)

    module.JobController.complete_job = watched_complete


def impatient(module):
    """Let custodian look more often than every ten seconds whether VASP has ended."""
    start = module.Custodian.__init__
    module.Custodian.__init__ = partialmethod(start, polling_time_step=0.2, monitor_freq=150)


CHANGED = {
    "jobflow.core.job": watched,
    "jobflow_remote.jobs.jobcontroller": watched_runner,
    "custodian.custodian": impatient,
}


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        change = CHANGED.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


if "CRYSTENS_TEST_WATCH" in os.environ:
    sys.meta_path.insert(0, Finder())

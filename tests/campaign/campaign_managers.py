"""Projects of jobflow-remote and launch pads of FireWorks on the database of a test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

from crystens_flows.testing import stand_in_command, write_potcars

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "workflows" / "paper.yaml"
SMALL_PAPER = [
    *("train=null", "n_samples=16", "chunk_size=8"),
    *("screening.selection.n_pool=5", "screening.selection.n_select=1"),
]
PAPER_WORKERS = {"sample": "gpu", "decode": "batch", "screen": "batch", "relax": "cpu"}
"""Workers of the stages in workflows/paper.yaml, without a training; of all others "local"."""


def store_files(uri, folder):
    """Write the stores of a database as a store file; return it and the specification."""
    server, _, database = uri.partition("?")[0].rpartition("/")
    host, _, port = server.removeprefix("mongodb://").partition(":")

    def store(kind, collection):
        return {
            "type": kind,
            "database": database,
            "collection_name": collection,
            "host": host,
            "port": int(port),
        }

    spec = {
        "docs_store": store("MongoStore", "outputs"),
        "additional_stores": {"data": store("GridFSStore", "data")},
    }
    file = folder / "store.yaml"
    file.write_text(yaml.safe_dump({"JOB_STORE": spec}))
    return file, spec, store("MongoStore", "jobs")


def write_project(uri, folder, workers, *, batch=()):
    """Write a project of jobflow-remote whose workers are processes here."""
    file, job_store, queue = store_files(uri, folder)
    described = {}
    for name in workers:
        described[name] = {
            "type": "local",
            "scheduler_type": "shell",
            "work_dir": str(folder / "work" / name),
            "timeout_execute": 300,
        }
        if name in batch:
            described[name]["max_jobs"] = 1
            described[name]["batch"] = {
                "jobs_handle_dir": str(folder / "handle" / name),
                "work_dir": str(folder / "batches" / name),
                "max_wait": 20,
                "sleep_time": 0.2,
            }
    often = ("checkout", "check_run_status", "advance_status", "update_batch")
    projects = folder / "projects"
    projects.mkdir()
    (projects / "crystens.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "crystens",
                "runner": {f"delay_{each}": 0.5 for each in often},
                "workers": described,
                "exec_config": {"vasp": {"export": {"CRYSTENS_TEST_EXEC_CONFIG": "vasp"}}},
                "queue": {"store": queue},
                "jobstore": job_store,
            }
        )
    )
    return file, projects


def jf(*arguments):
    """Run a command of jobflow-remote."""
    command = [str(Path(sys.executable).with_name("jf")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def crystens(*arguments):
    """Run a command of this package."""
    command = [str(Path(sys.executable).with_name("crystens")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_until(ended, log, seconds=3600):
    """Run `jf runner run` in the foreground of a process of its own until something is true."""
    programs = Path(sys.executable).parent
    with log.open("w") as stream:
        process = subprocess.Popen(
            [str(programs / "jf"), "runner", "run"],
            stdout=stream,
            stderr=subprocess.STDOUT,
            # workers here are processes of the runner's, and look for `jf` where it does
            env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        )
        try:
            began = time.monotonic()
            while not ended():
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() - began < seconds, log.read_text()[-3000:]
                time.sleep(0.5)
        finally:
            process.terminate()
            process.wait(timeout=60)


IMPATIENT = """
import importlib.abc, importlib.util, sys
from functools import partialmethod

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "custodian.custodian":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            start = module.Custodian.__init__
            patient = partialmethod(start, polling_time_step=0.2, monitor_freq=150)
            module.Custodian.__init__ = patient
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""
"""What lets custodian look more often than every ten seconds whether VASP has ended."""


def vasp_environment(folder, monkeypatch):
    """Let jobs find the stand-in for VASP, and POTCARs."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(IMPATIENT)
    monkeypatch.setenv("PYTHONPATH", str(site))
    calls = folder / "calls"
    monkeypatch.setenv("ATOMATE2_VASP_CMD", stand_in_command(calls=calls))
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(write_potcars(folder / "potcars").absolute()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return calls

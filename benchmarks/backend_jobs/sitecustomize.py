"""
What each process of benchmarks/backends.py notes of its jobs; Python imports it when it starts.

A line of JSON for each job goes to the file that CRYSTENS_BENCH_JOBS names: when `Job.run` began
and ended, when the job's own function did, and how many seconds were spent on importing what the
job is made of while it was decoded.
"""

import functools
import importlib.abc
import importlib.util
import json
import os
import sys
import time

NOTES = os.environ.get("CRYSTENS_BENCH_JOBS")


class Imports:
    """Seconds of imports while something is decoded, those within others counted once."""

    def __init__(self) -> None:
        self.decoding = 0
        self.importing = 0
        self.seconds = 0.0

    def taken(self) -> float:
        """Return the seconds since this was asked last."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds

    def watch_imports(self) -> None:
        """Time all imports from now on."""
        bootstrap = sys.modules["_frozen_importlib"]
        find_and_load = bootstrap._find_and_load

        def timed(name, import_):
            if not self.decoding or self.importing:
                return find_and_load(name, import_)
            self.importing += 1
            began = time.perf_counter()
            try:
                return find_and_load(name, import_)
            finally:
                self.importing -= 1
                self.seconds += time.perf_counter() - began

        bootstrap._find_and_load = timed

    def watch_decoding(self, decoder) -> None:
        """Note when the decoder of monty is at work."""
        decode = decoder.process_decoded

        @functools.wraps(decode)
        def watched(this, d):
            self.decoding += 1
            try:
                return decode(this, d)
            finally:
                self.decoding -= 1

        decoder.process_decoded = watched


class TimedFunction:
    """A job's function, as `Job.run` takes it apart, that puts the plain one back when it ends."""

    def __init__(self, job, spans) -> None:
        plain = job.function
        inner = getattr(plain, "original", plain)
        if (bound := getattr(plain, "__self__", None)) is not None:
            self.__self__ = bound
            inner = getattr(inner, "__func__", inner)

        def original(*args, **kwargs):
            job.function = plain
            spans["function_began"] = time.time()
            try:
                return inner(*args, **kwargs)
            finally:
                spans["function_ended"] = time.time()

        self.original = original


def watch_jobs(module) -> None:
    """Note the times of all jobs that this process runs."""
    from monty.json import MontyDecoder

    imports = Imports()
    imports.watch_imports()
    imports.watch_decoding(MontyDecoder)
    run = module.Job.run

    @functools.wraps(run)
    def timed(job, *args, **kwargs):
        spans = {"uuid": job.uuid, "name": job.name, "began": time.time()}
        spans["import_seconds"] = imports.taken()
        job.function = TimedFunction(job, spans)
        try:
            return run(job, *args, **kwargs)
        finally:
            spans["ended"] = time.time()
            spans["import_seconds"] += imports.taken()
            with open(NOTES, "a") as stream:  # noqa: PTH123 - nothing more is imported
                stream.write(json.dumps(spans) + "\n")

    module.Job.run = timed


class Finder(importlib.abc.MetaPathFinder):
    """Finds jobflow's jobs once, to change them as they are imported."""

    def find_spec(self, name, path, target=None):  # noqa: ARG002 - part of the interface
        """Find the module of jobs, to change it as it is loaded."""
        if name != "jobflow.core.job":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            watch_jobs(module)

        spec.loader.exec_module = exec_module
        return spec


if NOTES:
    sys.meta_path.insert(0, Finder())

"""Cheap jobs that write a line to a file each time they run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jobflow import Flow, JobConfig, OnMissing, Response, job

from crystens_flows.schemas import ArrayBlob

COLLECT = JobConfig(on_missing_references=OnMissing.NONE)


def note(path: str, name: str) -> None:
    with Path(path).open("a") as stream:
        stream.write(f"{name}\n")


@job
def add(path, name, *values):
    note(path, name)
    print(f"adding {name}")  # noqa: T201 - jobs do print
    return sum(values) + 1


@job(data=ArrayBlob)
def array(path, name, n):
    note(path, name)
    return {"blob": ArrayBlob(np.arange(n))}


@job
def array_sum(path, name, blob):
    note(path, name)
    return int(blob.array.sum())


@job
def fail(path, name, unless):
    note(path, name)
    if not Path(unless).exists():
        raise RuntimeError("two\nlines")
    return 100


@job(config=COLLECT)
def collect(path, name, values):
    note(path, name)
    return values


@job
def split(path, name, n, depth=0, after=None):
    """Replaces itself with n jobs and one that collects them, twice over."""
    note(path, name)
    jobs = [add(path, f"{name}.{k}", k) for k in range(n)]
    if depth:
        jobs.append(split(path, f"{name}.split", n, depth - 1))
    last = collect(path, f"{name}.collect", [each.output for each in jobs])
    return Response(replace=Flow([*jobs, last], output=last.output))


@job
def split_with_failure(path, name, unless):
    """Replaces itself with a job that ends well, one that fails, and one that collects them."""
    note(path, name)
    jobs = [add(path, f"{name}.good", 0), fail(path, f"{name}.bad", unless)]
    last = collect(path, f"{name}.collect", [each.output for each in jobs])
    return Response(replace=Flow([*jobs, last], output=last.output))


@job
def detour(path, name):
    note(path, name)
    return Response(
        output=5, detour=add(path, f"{name}.detour", 1), addition=add(path, f"{name}.addition", 2)
    )


@job
def stop(path, name, what):
    note(path, name)
    return Response(output=1, **{what: True})


def everything(path) -> Flow:
    """Arrays, a replacement within a replacement, a detour, and what comes after them."""
    path = str(path)
    first = array(path, "array", 10)
    total = array_sum(path, "sum", first.output["blob"])
    dynamic = split(path, "split", 2, 1)
    aside = detour(path, "aside")
    last = collect(path, "last", [total.output, dynamic.output, aside.output])
    flow = Flow([first, total, dynamic, aside, last], output=last.output)
    flow.update_metadata({"campaign": "c"})
    return flow

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from jobflow import Flow, JobStore, OnMissing, run_locally
from maggma.stores import MemoryStore

from crystens_flows import local
from crystens_flows.errors import OutputFolderError, StoreError
from crystens_flows.stores import open_stores
from local_jobs import (
    add,
    array,
    array_sum,
    collect,
    everything,
    fail,
    split,
    split_with_failure,
    stop,
)


def job_store(tmp_path: Path) -> JobStore:
    return open_stores(tmp_path / "store").job_store


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def outputs(store: JobStore) -> dict[str, list]:
    """Outputs by name of the job; the identifiers of jobs and blobs differ from run to run."""
    found: dict[str, list] = {}
    for doc in store.query({}, load=True):
        found.setdefault(doc["name"], []).append(without_uuids(doc["output"]))
    return {name: sorted(map(repr, values)) for name, values in found.items()}


def without_uuids(value):
    if isinstance(value, dict):
        left_out = ("uuid", "blob_uuid")
        return {k: without_uuids(v) for k, v in value.items() if k not in left_out}
    return [without_uuids(v) for v in value] if isinstance(value, list) else value


def test_the_same_outputs_as_run_locally(tmp_path):
    memory = JobStore(MemoryStore(), additional_stores={"data": MemoryStore("data")})
    memory.connect()
    run_locally(everything(tmp_path / "theirs"), store=memory, log=False, ensure_success=True)
    store = job_store(tmp_path)
    flow = everything(tmp_path / "ours")
    summary = local.run(flow, store, tmp_path / "run")
    assert outputs(store) == outputs(memory)
    assert sorted(lines(tmp_path / "ours")) == sorted(lines(tmp_path / "theirs"))
    assert summary.n_run == summary.n_finished == store.count()
    assert (summary.n_skipped, summary.failed, summary.stopped) == (0, {}, False)
    assert all(doc["metadata"] == {"campaign": "c"} for doc in store.query({}))
    last = store.get_output(flow[-1].uuid)
    assert last == [45, [1, 2, [1, 2]], 5]


def test_jobs_run_in_folders_of_their_own_and_write_to_the_log(tmp_path, capsys):
    capsys.readouterr()
    handlers = list(logging.getLogger("jobflow").handlers)
    local.run(everything(tmp_path / "notes"), job_store(tmp_path), tmp_path / "run")
    assert len(list((tmp_path / "run" / "jobs").iterdir())) == len(lines(tmp_path / "notes")) + 2
    printed = capsys.readouterr()
    assert printed.out == printed.err == ""
    text = (tmp_path / "run" / "run.log").read_text()
    assert "adding split.0" in text
    assert "Finished job - add" in text
    assert logging.getLogger("jobflow").handlers == handlers


def test_a_second_start_runs_nothing(tmp_path):
    store = job_store(tmp_path)
    first = local.run(everything(tmp_path / "notes"), store, tmp_path / "run")
    before = lines(tmp_path / "notes")
    again = local.run(everything(tmp_path / "notes"), store, tmp_path / "run")
    assert lines(tmp_path / "notes") == before
    assert again.n_run == 0
    assert again.n_finished == first.n_finished


def test_a_failed_job_does_not_stop_the_others_and_is_tried_again(tmp_path):
    store = job_store(tmp_path)
    notes, repaired = tmp_path / "notes", tmp_path / "repaired"
    good = add(str(notes), "good", 1)
    bad = fail(str(notes), "bad", str(repaired))
    child = add(str(notes), "child", bad.output)
    grandchild = add(str(notes), "grandchild", child.output)
    gathered = collect(str(notes), "collect", [good.output, bad.output])
    late = add(str(notes), "late", 3)
    flow = Flow([good, bad, child, grandchild, gathered, late])
    summary = local.run(flow, store, tmp_path / "run")
    assert lines(notes) == ["good", "bad", "collect", "late"]
    assert (summary.n_run, summary.n_skipped) == (3, 2)
    assert summary.failed == {f"fail ({bad.uuid}:1)": "RuntimeError: two lines"}
    assert 'raise RuntimeError("two\\nlines")' in (tmp_path / "run" / "run.log").read_text()
    assert store.get_output(gathered.uuid) == [2, None]
    again = local.run(flow, store, tmp_path / "run")
    assert lines(notes)[4:] == ["bad"]
    assert len(again.failed) == 1
    repaired.touch()
    repaired_summary = local.run(flow, store, tmp_path / "run")
    assert lines(notes)[5:] == ["bad", "child", "grandchild", "collect"]
    assert (repaired_summary.n_finished, repaired_summary.failed) == (6, {})
    assert store.get_output(grandchild.uuid) == 102
    assert store.get_output(gathered.uuid) == [2, 100]  # which had got on without it
    assert store.query_one({"uuid": gathered.uuid, "index": 2})
    assert local.run(flow, store, tmp_path / "run").n_run == 0


def test_what_got_on_without_a_job_is_run_once_more_in_a_replacement_too(tmp_path):
    store = job_store(tmp_path)
    notes, repaired = str(tmp_path / "notes"), tmp_path / "repaired"
    dynamic = split_with_failure(notes, "split", str(repaired))
    last = collect(notes, "last", [dynamic.output])
    after = collect(notes, "after", [last.output])
    flow = Flow([dynamic, last, after])
    summary = local.run(flow, store, tmp_path / "run")
    assert store.get_output(after.uuid) == [[[1, None]]]
    (bad,) = summary.failed
    assert summary.errors == {bad.split("(")[1].split(":")[0]: "RuntimeError: two lines"}
    n_before = len(lines(tmp_path / "notes"))
    repaired.touch()
    again = local.run(flow, store, tmp_path / "run")
    assert lines(tmp_path / "notes")[n_before:] == ["split.bad", "split.collect", "last", "after"]
    assert store.get_output(after.uuid) == [[[1, 100]]]
    assert (again.failed, again.errors) == ({}, {})
    assert local.run(flow, store, tmp_path / "run").n_run == 0
    assert store.get_output(after.uuid) == [[[1, 100]]]


def test_what_a_job_has_started_does_not_change(tmp_path):
    """A selection that went on without a chunk is not made anew: what it chose is being relaxed."""
    store = job_store(tmp_path)
    notes, repaired = str(tmp_path / "notes"), tmp_path / "repaired"
    chunk, other = fail(notes, "chunk", str(repaired)), add(notes, "other", 1)
    screen = collect(notes, "screen", [chunk.output])
    screen_again = collect(notes, "screen again", [chunk.output, screen.output])
    screened = [screen.output, screen_again.output]
    chosen = collect(notes, "select", [chunk.output, other.output, *screened])
    started = split(notes, "split", 2)
    started.function_args = (notes, "split", 2)
    started.function_kwargs = {"after": chosen.output}
    last = collect(notes, "last", [started.output])
    flow = Flow([chunk, other, screen, screen_again, chosen, started, last])
    local.run(flow, store, tmp_path / "run")
    n_before = len(lines(tmp_path / "notes"))
    repaired.touch()
    assert local.run(flow, store, tmp_path / "run").n_run == 3
    # what had nothing from the chunk but that it failed has it now
    assert lines(tmp_path / "notes")[n_before:] == ["chunk", "screen", "screen again"]
    assert store.get_output(screen_again.uuid) == [100, [100]]
    assert store.get_output(chosen.uuid) == [None, 2, [None], [None, [None]]]
    assert local.run(flow, store, tmp_path / "run").n_run == 0


def test_some_of_what_failed_is_tried_again(tmp_path):
    """What comes after it is too; the others stay failed, with their reason."""
    store = job_store(tmp_path)
    notes, repaired = str(tmp_path / "notes"), tmp_path / "repaired"
    first, second = (fail(notes, name, str(repaired)) for name in ("first", "second"))
    after = fail(notes, "after", first.output)
    after.config.on_missing_references = OnMissing.NONE  # it runs, and fails, without it
    flow = Flow([first, second, after])
    assert len(local.run(flow, store, tmp_path / "run").failed) == 3
    repaired.touch()
    n_before = len(lines(tmp_path / "notes"))
    kept = local.run(flow, store, tmp_path / "run", retry=[])
    assert (kept.n_run, len(kept.failed)) == (0, 3)
    again = local.run(flow, store, tmp_path / "run", retry=[f"{first.uuid}:1"])
    assert lines(tmp_path / "notes")[n_before:] == ["first", "after"]
    assert again.errors[second.uuid] == "RuntimeError: two lines"
    assert first.uuid not in again.errors
    assert store.get_output(first.uuid) == 100


def test_a_job_fails_in_a_replacement(tmp_path):
    store = job_store(tmp_path)
    notes = str(tmp_path / "notes")
    dynamic = split(notes, "split", 2)
    dynamic.function_args = (notes, "split", 2)
    bad = fail(notes, "bad", str(tmp_path / "never"))
    last = collect(notes, "last", [dynamic.output, bad.output])
    local.run(Flow([dynamic, bad, last]), store, tmp_path / "run")
    assert store.get_output(last.uuid) == [[1, 2], None]


@pytest.mark.parametrize(
    ("what", "expected"),
    [("stop_children", ["stop", "other"]), ("stop_jobflow", ["stop"])],
)
def test_stopping(tmp_path, what, expected):
    store = job_store(tmp_path)
    notes = str(tmp_path / "notes")
    first = stop(notes, "stop", what)
    child = add(notes, "child", first.output)
    other = add(notes, "other", 1)
    flow = Flow([first, child, add(notes, "grandchild", child.output), other])
    summary = local.run(flow, store, tmp_path / "run")
    assert lines(Path(notes)) == expected
    assert summary.stopped is (what == "stop_jobflow")
    again = local.run(flow, store, tmp_path / "run")
    assert lines(Path(notes)) == expected
    assert again.stopped is summary.stopped


def test_jobs_run_in_the_order_of_the_flow(tmp_path):
    notes = str(tmp_path / "notes")
    jobs = []
    for k in range(12):
        first = add(notes, f"{k}", 1)
        jobs += [first, add(notes, f"{k} then", first.output)]
    local.run(Flow(jobs), job_store(tmp_path), tmp_path / "run")
    assert lines(Path(notes)) == [name for k in range(12) for name in (f"{k}", f"{k} then")]


def test_progress(tmp_path):
    seen = []
    local.run(
        everything(tmp_path / "notes"),
        job_store(tmp_path),
        tmp_path / "run",
        progress=lambda *each: seen.append(each),
    )
    done = [each[0] for each in seen]
    assert done == sorted(done)
    assert seen[0] == (0, 5, "array")
    assert seen[-1][0] == seen[-1][1] == len(lines(tmp_path / "notes")) + 2
    assert seen[-1][2] == ""


def test_inputs_do_not_stay_in_memory(tmp_path):
    notes = str(tmp_path / "notes")
    first = array(notes, "array", 1000)
    second = array_sum(notes, "sum", first.output["blob"])
    flow = Flow([first, second])
    local.run(flow, job_store(tmp_path), tmp_path / "run")
    assert "OutputReference" in json.dumps(flow.as_dict())


@pytest.fixture
def folder_in_memory():
    """
    A folder on no disk, where the system has one.

    What a process has written outlives it on a disk or not, and only the disk waits at each fsync.
    """
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


def run_until_event(tmp_path: Path, number: int) -> bool:
    """Run in a child process that kills itself at an event; return whether it came to the end."""
    pid = os.fork()
    if pid == 0:
        left = [number]

        def event() -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def after_event(function):
            def wrapped(*args, **kwargs):
                event()
                return function(*args, **kwargs)

            return wrapped

        # before every write to the disk, and between writing and telling the disk
        for owner, name in (
            (local.ProgressLog, "add"),
            (local._HoldingStore, "release"),
            (type(open_stores(tmp_path / "store").job_store.docs_store), "update"),
            (os, "fsync"),
            (Path, "replace"),
            (shutil, "rmtree"),
        ):
            setattr(owner, name, after_event(getattr(owner, name)))
        try:
            local.run(everything(tmp_path / "notes"), job_store(tmp_path), tmp_path / "run")
        except BaseException:  # noqa: BLE001 - the child must not go on as a second pytest
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


def finished_jobs(folder: Path) -> set[str]:
    path = folder / "progress.jsonl"
    records = []
    for line in lines(path):
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return {record["job"] for record in records if record["state"] == "finished"}


@pytest.mark.slow
def test_killed_at_every_write_and_started_again(folder_in_memory):
    whole = folder_in_memory / "whole"
    whole.mkdir()
    store = job_store(whole)
    local.run(everything(whole / "notes"), store, whole / "run")
    expected, expected_notes = outputs(store), sorted(lines(whole / "notes"))
    number = 0
    while True:
        folder = folder_in_memory / str(number)
        folder.mkdir()
        if run_until_event(folder, number):
            break
        ran_before = Counter(lines(folder / "notes"))
        n_finished = len(finished_jobs(folder / "run"))
        # what had finished does not run again; at most the one job in hand does
        store = job_store(folder)
        summary = local.run(everything(folder / "notes"), store, folder / "run")
        ran = Counter(lines(folder / "notes"))
        twice = [name for name in ran if ran[name] > 1]
        assert len(twice) <= 1, number
        assert all(ran_before[name] == 1 for name in twice)
        assert summary.n_run <= summary.n_finished - n_finished
        assert sorted(ran) == expected_notes
        assert outputs(store) == expected, number
        assert store.additional_stores["data"].count() == 1
        shutil.rmtree(folder)
        number += 1
    assert number > 60


def test_a_line_half_written_is_left_out(tmp_path):
    store = job_store(tmp_path)
    flow = everything(tmp_path / "notes")
    local.run(flow, store, tmp_path / "run")
    log = tmp_path / "run" / "progress.jsonl"
    whole = log.read_bytes()
    cut = whole[: whole.rindex(b'{"job"') + 20]  # the last job is "ran", not yet "finished"
    log.write_bytes(cut)
    assert local.run(flow, store, tmp_path / "run").n_run == 0
    assert log.read_bytes() == whole


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"job": "a:1"}', "3"])
def test_a_damaged_line_is_named(tmp_path, line):
    flow = add(tmp_path / "notes", "a", 1)
    local.run(flow, job_store(tmp_path), tmp_path / "run")
    with (tmp_path / "run" / "progress.jsonl").open("ab") as log:
        log.write(b"\xff" + line.encode() + b"\n" if line == "nonsense" else f"{line}\n".encode())
    with pytest.raises(OutputFolderError, match=r"run/progress\.jsonl cannot be read .*damaged"):
        local.run(flow, job_store(tmp_path), tmp_path / "run")


def test_killed_again_and_again_by_another_process(tmp_path):
    code = (
        "import sys; from local_jobs import everything; from crystens_flows import local;"
        "from crystens_flows.stores import open_stores; path = sys.argv[1];"
        "store = open_stores(path + '/store').job_store;"
        "local.run(everything(path + '/notes'), store, path + '/run')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    notes = tmp_path / "notes"
    for wait_for in (2, 5):
        process = subprocess.Popen(command, env=environment)
        deadline = time.monotonic() + 120
        while len(lines(notes)) < wait_for and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=environment, check=True, timeout=120)
    counts = Counter(lines(notes))
    assert sum(counts.values()) - len(counts) <= 2  # at most the job in hand, at each kill
    assert set(counts) >= {"array", "split.split.collect", "aside.addition", "last"}


def test_a_run_in_use(tmp_path):
    (tmp_path / "run").mkdir()
    code = (
        "import fcntl, sys; stream = open(sys.argv[1], 'w'); fcntl.lockf(stream, fcntl.LOCK_EX);"
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run" / "run.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(OutputFolderError, match="in use by another process"):
            local.run(add("x", "y", 1), job_store(tmp_path), tmp_path / "run")
        holder.stdin.close()


def test_wrong_folders(tmp_path):
    store = job_store(tmp_path)
    notes = str(tmp_path / "notes")
    (tmp_path / "file").touch()
    with pytest.raises(OutputFolderError, match="file"):
        local.run(add(notes, "a", 1), store, tmp_path / "file")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(OutputFolderError, match=r"in use for something else .*chapter\.tex"):
        local.run(add(notes, "a", 1), store, tmp_path / "thesis")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "flow.json").write_text("{")
    with pytest.raises(OutputFolderError, match="damaged"):
        local.run(add(notes, "a", 1), store, tmp_path / "damaged")
    assert not Path(notes).exists()


def test_other_settings(tmp_path):
    store = job_store(tmp_path)
    notes = str(tmp_path / "notes")
    local.run(add(notes, "a", 1), store, tmp_path / "run", settings={"n": 5, "seed": (1, 2)})
    local.run(add(notes, "b", 1), store, tmp_path / "run", settings={"n": 5, "seed": (1, 2)})
    with pytest.raises(OutputFolderError, match="started with n=5, not n=6"):
        local.run(add(notes, "b", 1), store, tmp_path / "run", settings={"n": 6, "seed": (1, 2)})
    assert lines(Path(notes)) == ["a"]


def test_another_store(tmp_path):
    notes = str(tmp_path / "notes")
    local.run(add(notes, "a", 1), job_store(tmp_path), tmp_path / "run")
    other = open_stores(tmp_path / "other").job_store
    with pytest.raises(StoreError, match="give the store it was started with"):
        local.run(add(notes, "a", 1), other, tmp_path / "run")


@pytest.mark.mongo
def test_on_mongodb(tmp_path, mongo_uri):
    store = open_stores(mongo_uri).job_store
    summary = local.run(everything(tmp_path / "notes"), store, tmp_path / "run")
    again = local.run(everything(tmp_path / "notes"), store, tmp_path / "run")
    assert summary.n_finished == again.n_finished == store.count()
    embedded = job_store(tmp_path)
    local.run(everything(tmp_path / "notes"), embedded, tmp_path / "run 2")
    assert outputs(store) == outputs(embedded)

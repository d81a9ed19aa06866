"""
The same campaign by the local runner, jobflow-remote and FireWorks: candidates, and overhead.

The shipped generator is sampled, and the candidates go through all stages, with the screens of
`make demo`: locally, by `jf runner run` with two jobs at a time, and by rapidfire of FireWorks,
whose queues are on the server of the tests. `crystens build` then fills a candidate store from
each, and their documents are compared in all fields but times and the uuids of jobs, exactly.

The overhead is the wall time, from when the flow is handed to the manager, which is there already,
until the last job is over, less what the jobs took:

run
    For each job, its own run time, as managers give it: `Job.run`, from the reading of its input to
    the storing of its output (which the local runner does after it), with all that its function
    imports (torch, matgl); and the time for importing the modules that the job is made of, as it
    is read.
work
    The same with the job's own function in place of `Job.run`: getting the input from the store,
    converting the output and storing it count as overhead too.

Neither has the start of a process and the import of the manager in it, waiting for the manager to
look again, reading the job, and what follows it. Where jobs ran side by side, what they took is the
shortest time in which as many workers could have done it, one job after another in the order in
which they began, each after those it needs.

It is divided by the overhead of as many jobs that do nothing, each after as many as that of the
campaign it stands for, on the same manager: the median of some flows of them, before the campaign
and after it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from servers import NOT_SET_UP, database, server

HERE = Path(__file__).parent
HOOKS = HERE / "backend_jobs"
PROGRAMS = Path(sys.executable).parent
GOAL = 1.3
AT_ONCE = {"local": 1, "jf": 2, "fireworks": 1}
Shape = list[dict[str, Any]]
"""The jobs of a flow: those before each, and those that it starts."""


def store_spec(uri: str) -> dict[str, Any]:
    """Return the stores of a database as store files have them."""
    name = uri.rpartition("/")[2]

    def store(kind: str, collection: str) -> dict[str, Any]:
        common = {"database": name, "collection_name": collection}
        if kind == "GridFSStore":
            common["compression"] = True
        host, _, port = uri.partition("//")[2].partition("/")[0].partition(":")
        return {"type": kind, **common, "host": host, "port": int(port)}

    return {
        "jobs": {
            "docs_store": store("MongoStore", "outputs"),
            "additional_stores": {"data": store("GridFSStore", "data")},
        },
        "queue": store("MongoStore", "jobs"),
    }


class Run:
    """A campaign and flows of empty jobs on one manager."""

    kind = ""
    repeats = 3
    """Flows of empty jobs before the campaign, and after it."""

    def __init__(self, folder: Path, campaign: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.campaign = {**campaign, "backend": self.kind, **self.places()}
        self.file = folder / "campaign.yaml"
        self.file.write_text(yaml.safe_dump(self.campaign))

    def places(self) -> dict[str, Any]:
        """Set the manager up, and return what campaign files say of it."""
        return {}

    @property
    def store(self) -> Path:
        """Where outputs and candidates are."""
        return self.folder / "store.yaml"

    def work(self, what: str, shape: Shape | None) -> float:
        """Run the campaign, or the empty jobs, and return the seconds until all are over."""
        raise NotImplementedError

    def environment(self, notes: Path) -> dict[str, str]:
        """Return the environment of the processes that run jobs."""
        modules = [str(HOOKS), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ,
            "CRYSTENS_BENCH_JOBS": str(notes),
            "PYTHONPATH": os.pathsep.join(modules),
            "PATH": os.pathsep.join([str(PROGRAMS), os.environ["PATH"]]),
            "JOBFLOW_CONFIG_FILE": str(self.folder / "jobflow.yaml"),
            "OMP_NUM_THREADS": "1",
        }

    def measure(self, what: str, shape: Shape | None = None) -> dict[str, Any]:
        """Run something, and return its wall time and its jobs."""
        notes = self.folder / "jobs.jsonl"
        notes.write_text("")
        wall = self.work(what, shape)
        jobs: list[dict[str, Any]] = []
        for line in notes.read_text().splitlines():
            note = json.loads(line)
            if "name" in note:
                jobs.append({"store_seconds": 0.0, **note})
            else:  # of the job that the local runner has just run
                jobs[-1] |= note
        print(f"  {self.kind}, {what}: {len(jobs)} jobs in {wall:.1f} s", flush=True)
        return {"wall": wall, "jobs": jobs, "before": self.before()}

    def before(self) -> dict[str, list[str]]:
        """Return the uuids of the jobs before each, where several run at once."""
        return {}

    @contextlib.contextmanager
    def runner(self) -> Iterator[None]:
        """Let run what hands out jobs, where something does."""
        yield


class Local(Run):
    """The local runner, in a process of its own."""

    kind = "local"

    @property
    def store(self) -> Path:
        """Where outputs and candidates are."""
        return self.folder / "store"

    def work(self, what: str, shape: Shape | None) -> float:
        """Let a process run all jobs."""
        (self.folder / "shape.json").write_text(json.dumps(shape))
        command = [sys.executable, str(HERE / "backends.py"), "--worker", self.kind]
        done = subprocess.run(
            [*command, "--what", what, "--folder", str(self.folder)],
            env=self.environment(self.folder / "jobs.jsonl"),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])["seconds"]


class FireWorks(Local):
    """A launch pad, and one process that takes jobs until there are none."""

    kind = "fireworks"
    uri = ""

    @property
    def store(self) -> Path:
        """Where outputs and candidates are."""
        return self.folder / "store.yaml"

    def places(self) -> dict[str, Any]:
        """Write the files of the manager."""
        spec = store_spec(self.uri)
        self.store.write_text(yaml.safe_dump({"JOB_STORE": spec["jobs"]}))
        (self.folder / "jobflow.yaml").write_text(self.store.read_text())
        place = {key: spec["queue"][key] for key in ("host", "port")}
        pad = self.folder / "my_launchpad.yaml"
        pad.write_text(yaml.safe_dump({**place, "name": spec["queue"]["database"]}))
        return {"store": str(self.store), "launchpad": str(pad)}


class JobflowRemote(Run):
    """A project whose one worker runs two jobs at a time, and its runner."""

    kind = "jf"
    repeats = 1
    uri = ""
    delay = 1.0

    def places(self) -> dict[str, Any]:
        """Write the files of the manager."""
        spec = store_spec(self.uri)
        self.store.write_text(yaml.safe_dump({"JOB_STORE": spec["jobs"]}))
        projects = self.folder / "projects"
        projects.mkdir()
        worker = {"type": "local", "scheduler_type": "shell", "max_jobs": AT_ONCE[self.kind]}
        often = ("checkout", "check_run_status", "advance_status")
        project = {
            "name": "crystens",
            "runner": {f"delay_{each}": self.delay for each in often},
            "workers": {"local": {**worker, "work_dir": str(self.folder / "work")}},
            "queue": {"store": spec["queue"]},
            "jobstore": spec["jobs"],
        }
        (projects / "crystens.yaml").write_text(yaml.safe_dump(project))
        # read when jobflow-remote is imported, here and in the runner
        os.environ["JFREMOTE_PROJECTS_FOLDER"] = str(projects)
        os.environ["JFREMOTE_PROJECT"] = "crystens"
        return {"store": str(self.store), "default": {"worker": "local"}}

    @contextlib.contextmanager
    def runner(self) -> Iterator[None]:
        """Let the runner run, from when it looks for jobs."""
        from jobflow_remote import JobController

        JobController.from_project_name().reset()
        log = self.folder / "runner.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [str(PROGRAMS / "jf"), "runner", "run"],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=self.environment(self.folder / "jobs.jsonl"),
            )
            try:
                while "running" not in log.read_text().lower() and process.poll() is None:
                    time.sleep(0.2)
                yield
            finally:
                process.terminate()
                process.wait(timeout=60)

    def before(self) -> dict[str, list[str]]:
        """Return the uuids of the jobs before each."""
        from jobflow_remote import JobController

        jobs = JobController.from_project_name().jobs.find({}, ["uuid", "parents"])
        return {job["uuid"]: job["parents"] for job in jobs}

    def work(self, what: str, shape: Shape | None) -> float:
        """Hand a flow to the runner, and wait until all its jobs have ended."""
        from jobflow_remote import JobController, submit_flow

        jobs = JobController.from_project_name().jobs
        before = jobs.count_documents({})
        flow = campaign_flow(self.file) if what == "campaign" else empty_flow(shape)
        began = time.perf_counter()
        submit_flow(flow, worker="local", project="crystens")
        over = {"state": {"$in": ["COMPLETED", "FAILED", "REMOTE_ERROR", "STOPPED"]}}
        while jobs.count_documents(over) < jobs.count_documents({}):
            time.sleep(0.2)
        seconds = time.perf_counter() - began
        bad = {"state": {"$nin": ["COMPLETED"]}}
        if jobs.count_documents({}) == before or jobs.count_documents(bad):
            sys.exit(f"jobs of jobflow-remote failed: {jobs.find_one(bad)}")
        return seconds


RUNS: tuple[type[Run], ...] = (Local, FireWorks, JobflowRemote)


def campaign_flow(file: Path) -> Any:
    """Make the flow of a campaign, as `crystens submit` does."""
    from crystens_flows.campaign.file import read_campaign
    from crystens_flows.campaign.options import make_flow, parts
    from crystens_flows.campaign.submission import with_checkpoint

    options = with_checkpoint(read_campaign(file).options())
    return make_flow(options, parts(options)[0])


def shape_of(flow: Any, started: dict[str, list[list[int]]]) -> Shape:
    """Return which jobs come before each, and what those started that started some."""
    place: dict[str, int] = {}
    shape = []
    for job, parents in flow.iterflow():
        place[job.uuid] = len(place)
        shape.append(
            {"before": [place[uuid] for uuid in parents], "starts": started.get(job.uuid, [])}
        )
    return shape


def empty_flow(shape: Shape | None) -> Any:
    """Make a flow of empty jobs of a shape."""
    from jobflow import Flow

    sys.path.insert(0, str(HOOKS))
    from empty_jobs import empty, start_empty

    jobs: list[Any] = []
    for each in shape or []:
        before = [jobs[k].output for k in each["before"]]
        jobs.append(start_empty(before, each["starts"]) if each["starts"] else empty(before))
    return Flow(jobs, output=jobs[-1].output, name="empty jobs")


def started_by(folder: Path) -> dict[str, list[list[int]]]:
    """Return, by uuid of the job, those that jobs of a local run started and which come before."""
    from monty.json import MontyDecoder

    found = {}
    for line in (folder / "progress.jsonl").read_text().splitlines():
        record = json.loads(line)
        if (record.get("response") or {}).get("replace"):
            flow = MontyDecoder().process_decoded(record["response"]["replace"])
            jobs = [(job, up) for job, up in flow.iterflow() if job.name != "store_inputs"]
            place = {job.uuid: k for k, (job, _) in enumerate(jobs)}
            found[record["job"].partition(":")[0]] = [
                [place[uuid] for uuid in up if uuid in place] for _, up in jobs
            ]
    return found


def time_stores(notes: Path) -> None:
    """Note how long outputs are stored by the local runner, which does it after `Job.run`."""
    from crystens_flows import local

    release = local._HoldingStore.release

    def timed(store: Any) -> None:
        began = time.perf_counter()
        release(store)
        seconds = time.perf_counter() - began
        with notes.open("a") as stream:
            stream.write(json.dumps({"store_seconds": seconds}) + "\n")

    local._HoldingStore.release = timed  # type: ignore[method-assign]


def run_here(kind: str, what: str, folder: Path) -> dict[str, Any]:
    """Run jobs in this process, by the local runner or by rapidfire of FireWorks."""
    shape = json.loads((folder / "shape.json").read_text())
    flow = campaign_flow(folder / "campaign.yaml") if what == "campaign" else empty_flow(shape)
    if kind == "local":
        from crystens_flows.local import run
        from crystens_flows.stores import open_stores

        time_stores(folder / "jobs.jsonl")
        stores = open_stores(folder / "store")
        place = folder / f"run-{what}-{time.time_ns()}"
        began = time.perf_counter()
        summary = run(flow, stores.job_store, place)
        seconds = time.perf_counter() - began
        if summary.failed:
            sys.exit(f"jobs failed: {summary.failed}")
        if what != "campaign":
            return {"seconds": seconds}
        (folder / "shape.json").write_text(json.dumps(shape_of(flow, started_by(place))))
        return {"seconds": seconds}
    from fireworks import LaunchPad
    from fireworks.core.rocket_launcher import rapidfire
    from jobflow.managers.fireworks import flow_to_workflow

    pad = LaunchPad.from_file(str(folder / "my_launchpad.yaml"))
    pad.reset("", require_password=False)
    place = folder / f"launches-{time.time_ns()}"
    place.mkdir()
    began = time.perf_counter()
    pad.add_wf(flow_to_workflow(flow))
    with contextlib.chdir(place), contextlib.redirect_stdout(sys.stderr):
        rapidfire(pad, strm_lvl="CRITICAL")
    seconds = time.perf_counter() - began
    states = {each["state"] for each in pad.fireworks.find({}, ["state"])}
    if states != {"COMPLETED"}:
        sys.exit(f"jobs of FireWorks are {', '.join(sorted(states))}")
    return {"seconds": seconds}


def work_of(found: dict[str, Any], measure: str, at_once: int) -> float:
    """Return the shortest time in which so many workers could have done the work of jobs."""
    names = ("function_began", "function_ended") if measure == "work" else ("began", "ended")
    free = [0.0] * at_once
    ended: dict[str, float] = {}
    for job in sorted(found["jobs"], key=lambda job: job["began"]):
        before = found["before"].get(job["uuid"], ())
        ready = max((ended.get(uuid, 0.0) for uuid in before), default=0.0)
        worker = min(range(at_once), key=lambda k: free[k])
        seconds = job[names[1]] - job[names[0]] + job["import_seconds"]
        if measure == "run":
            seconds += job["store_seconds"]
        ended[job["uuid"]] = free[worker] = max(free[worker], ready) + seconds
    return max(ended.values())


def plain(value: Any) -> Any:
    """Return what is of the candidates and not of one run: without times and uuids of jobs."""
    of_runs = ("jobs", "completed_at", "last_updated", "uuid", "step_uuids", "_id")
    if isinstance(value, dict):
        return {k: plain(each) for k, each in value.items() if k not in of_runs}
    return [plain(each) for each in value] if isinstance(value, list) else value


def candidates_of(run: Run) -> dict[str, Any]:
    """Let `crystens build` fill the candidate store, and return the candidates by identifier."""
    from crystens_flows.stores import open_stores

    command = [str(PROGRAMS / "crystens"), "build", "--store", str(run.store)]
    subprocess.run(command, check=True, capture_output=True)
    stores = open_stores(run.store)
    found = {doc["candidate_id"]: plain(doc) for doc in stores.candidates.query()}
    stores.close()
    return found


def summary_of(run: Run, empty: list[dict[str, Any]], campaign: dict[str, Any]) -> dict[str, Any]:
    """Put the overheads of a campaign and of empty jobs side by side."""
    result: dict[str, Any] = {
        "jobs": len(campaign["jobs"]),
        "empty_jobs": len(empty[0]["jobs"]),
        "wall": campaign["wall"],
        "load": os.getloadavg()[0],
        "import_seconds": sum(job["import_seconds"] for job in campaign["jobs"]),
        "empty_wall": [each["wall"] for each in empty],
    }
    for measure in ("work", "run"):
        at_once = AT_ONCE[run.kind]
        over = campaign["wall"] - work_of(campaign, measure, at_once)
        nothing = [each["wall"] - work_of(each, measure, at_once) for each in empty]
        ratio = over / statistics.median(nothing)
        result[measure] = {"overhead": over, "empty_overhead": nothing, "ratio": ratio}
    return result


def compare(kinds: list[str], campaign: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run the campaign and empty jobs on each manager, the local one first."""
    shape: Shape = []
    result: dict[str, Any] = {}
    candidates: dict[str, dict[str, Any]] = {}
    for each in RUNS:
        if each.kind not in kinds:
            continue
        run = each(folder / each.kind, campaign)
        with run.runner():
            # the shape is known once the campaign has run somewhere
            empty = [run.measure("empty", shape) for _ in range(each.repeats) if shape]
            first = run.measure("campaign")
            shape = shape or json.loads((run.folder / "shape.json").read_text())
            empty += [run.measure("empty", shape) for _ in range(each.repeats)]
        result[each.kind] = summary_of(run, empty, first)
        show(each.kind, result[each.kind])
        candidates[each.kind] = candidates_of(run)
    by_kind = list(candidates.values())
    differing = {
        identifier
        for others in by_kind[1:]
        for identifier in by_kind[0].keys() | others.keys()
        if by_kind[0].get(identifier) != others.get(identifier)
    }
    statuses: dict[str, int] = {}
    for doc in by_kind[0].values():
        statuses[doc["status"]] = statuses.get(doc["status"], 0) + 1
    counts = {kind: len(found) for kind, found in candidates.items()}
    return {
        "candidates": counts,
        "differing": len(differing),
        "statuses": statuses,
        "backends": result,
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", "--number", type=int, default=200, help="samples")
    parser.add_argument("--chunk-size", type=int, help="samples of a job; by default by the number")
    parser.add_argument(
        "--part", nargs="*", choices=[each.kind for each in RUNS], help="all if not given"
    )
    parser.add_argument("--models", nargs="*", help="energy models; by default those of the demo")
    parser.add_argument("--pool", type=int, help="candidates that the selection looks at")
    parser.add_argument("--select", type=int, help="candidates that are relaxed")
    parser.add_argument("--delay", type=float, default=1.0, help="seconds between looks of jf")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--what", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(run_here(arguments.worker, arguments.what, arguments.folder)))
        return
    selection = {"n_pool": arguments.pool, "n_select": arguments.select}
    campaign = {
        "campaign": "backends",
        "n_samples": arguments.number,
        "chunk_size": arguments.chunk_size,
        "screening": {
            **({"models": arguments.models} if arguments.models is not None else {}),
            "selection": {k: v for k, v in selection.items() if v is not None},
        },
    }
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as uri:
        if uri is None:
            sys.exit(NOT_SET_UP)
        JobflowRemote.delay = arguments.delay
        JobflowRemote.uri, FireWorks.uri = database(uri), database(uri)
        kinds = ["local", *(arguments.part or [each.kind for each in RUNS])]
        result = compare(kinds, campaign, Path(name) / "runs")
    counts = ", ".join(f"{kind} {n}" for kind, n in result["candidates"].items())
    print(f"candidates: {counts}; differing {result['differing']}; {result['statuses']}")
    print(json.dumps(result))


def show(kind: str, found: dict[str, Any]) -> None:
    """Print the figures of one manager."""
    print(f"{kind:10s} {found['jobs']} jobs in {found['wall']:.1f} s", end="")
    print(f", {found['import_seconds']:.1f} s of them imports of jobs")
    for measure in ("run", "work"):
        each = found[measure]
        empty = ", ".join(f"{seconds:.2f}" for seconds in each["empty_overhead"])
        print(
            f"{'':10s} overhead less {measure:4s} {each['overhead']:8.2f} s; empty jobs {empty} s: "
            f"ratio {each['ratio']:.2f} (goal {GOAL:g})",
            flush=True,
        )


if __name__ == "__main__":
    main()

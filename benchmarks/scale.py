"""
Peak memory of each kind of job, and sizes of documents, in campaigns of several sizes.

The flow is that of the package, with chunks of the same size whatever the campaign's. Each job runs
in a process of its own on the embedded store, and the peak is that of its resident memory, the
interpreter and the packages included. The generator, the decoding, the screens that are named, the
selection: all are the real ones. What is left out by default are the screens with potentials
(M3GNet, CHGNet, SevenNet), which take hours of one core for 10,000 candidates and see one chunk at
a time like the others, and the relaxations. With --crystals the candidates are crystals that ship
with the package, some of them twice, in place of samples, which take a core a quarter of an hour
for 10,000.

With --stages a part of the campaign is run, e.g. `--stages sample decode`; with --few only so many
jobs of each kind, the first, the last and some between, which say the same of memory: each job sees
its chunk alone.

The selection in parts is held against the selection from all candidates in one job, whose memory is
in the table too. The documents of managers are those of the flow with all screens; they are made
here, and nothing is submitted. The last line is JSON.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCREENS = ("validity", "cgcnn", "hull")
STAGES = ("sample", "decode", "screen", "select")
IN_ONE = "crystens select in one job"


def peak_mb() -> float:
    """Return the peak resident memory of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("/proc does not say how much memory was used")


def run_one(folder: Path, number: int, told) -> None:
    """Run one job of a campaign, and tell its peak of memory and its seconds."""
    from monty.json import MontyDecoder

    from crystens_flows.stores import open_stores

    stores = open_stores(folder / "store")
    job = MontyDecoder().decode((folder / "jobs" / f"{number}.json").read_text())
    before, began = peak_mb(), time.process_time()
    job.run(stores.job_store, job_dir=folder)
    told.put((before, peak_mb(), time.process_time() - began))
    stores.close()


def run_kind(kind: str, folder: Path, numbers: list[int]) -> None:
    """Run jobs of one kind, each in a process forked from this one; print what they took."""
    import crystens_flows.flows  # noqa: F401 - once, not in each process

    if kind in ("crystens sample", "crystens cgcnn"):
        import torch  # noqa: F401

    context = multiprocessing.get_context("fork")
    found = []
    for number in numbers:
        told = context.Queue()
        process = context.Process(target=run_one, args=(folder, number, told))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(f"job {number} failed")
        found.append(told.get())
    before, peak, seconds = zip(*found, strict=True)
    print(json.dumps({"before_mb": min(before), "peak_mb": max(peak), "seconds": sum(seconds)}))


def make_flow(
    n_samples: int,
    chunk_size: int | None,
    screens: tuple[str, ...] | None,
    *,
    crystals: bool = False,
):
    """Make the flow of a campaign; the selection is in parts however small it is."""
    import crystens_flows.flows.discovery as discovery
    from crystens_flows.jobs import prefilter_makers

    makers = prefilter_makers()
    if screens is not None:
        makers = [maker for maker in makers if maker.screen().name in screens]
    discovery.ALL_AT_ONCE = 0
    maker = discovery.DiscoveryFlowMaker(screen_makers=makers, chunk_size=chunk_size)
    if not crystals:
        return maker.make(n_samples, seed=1, campaign="scale")
    from crystens_flows.datasets import shipped

    dataset = shipped()
    distinct = min(len(dataset), n_samples * 9 // 10)
    structures = list(dataset.structures(list(range(distinct))))
    return maker.make_from_structures(
        [structures[i % distinct] for i in range(n_samples)], campaign="scale"
    )


def in_one_job(flow):
    """Make the job that selects from all chunks at once."""
    from crystens_flows.jobs import SelectMaker

    shortlists = [j for j, _ in flow.iterflow() if j.name == "crystens select shortlist"]
    job = SelectMaker(name=IN_ONE).make(
        [each.function_args[0] for each in shortlists],
        [each.function_args[1] for each in shortlists],
    )
    job.update_metadata({"campaign": "scale"})
    return job


def campaign(n_samples: int, chunk_size: int, folder: Path, options: argparse.Namespace) -> dict:
    """Run a campaign up to the records of its selection, or a part of it."""
    from monty.json import MontyEncoder

    from crystens_flows.campaign.stages import stage_of

    flow = make_flow(n_samples, chunk_size, tuple(options.screens), crystals=options.crystals)
    jobs = [job for job, _ in flow.iterflow() if stage_of(job.name) in options.stages]
    if "select" in options.stages:
        jobs.append(in_one_job(flow))
    (folder / "jobs").mkdir(parents=True)
    kinds: dict[str, list[int]] = {}
    for number, job in enumerate(jobs):
        (folder / "jobs" / f"{number}.json").write_text(json.dumps(job, cls=MontyEncoder))
        kinds.setdefault(job.name, []).append(number)
    found = {}
    for kind, all_numbers in kinds.items():
        numbers = spread(all_numbers, options.few)
        command = [sys.executable, __file__, "--kind", kind, "--folder", str(folder)]
        command += ["--jobs", *map(str, numbers)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[kind] = {"jobs": len(numbers), **json.loads(done.stdout.splitlines()[-1])}
        print(f"  {kind}: {json.dumps(found[kind])}", flush=True)
    found |= {kind: {**found[kind], **sizes} for kind, sizes in stored_sizes(folder).items()}
    compared = compare(folder) if "select" in options.stages else {}
    return {"n_samples": n_samples, "kinds": found, **compared}


def spread(numbers: list[int], few: int | None) -> list[int]:
    """Return some of the numbers, evenly from the first to the last."""
    if few is None or few >= len(numbers):
        return numbers
    last = len(numbers) - 1
    return [numbers[round(k * last / max(few - 1, 1))] for k in range(few)]


def stored_sizes(folder: Path) -> dict[str, dict]:
    """Return the largest document and the largest array, in kB of BSON, by kind of job."""
    import bson

    from crystens_flows.stores import open_stores

    stores = open_stores(folder / "store")
    sizes: dict[str, dict] = {}
    names = {}
    for doc in stores.job_store.query({}, properties=["uuid"], load=False):
        (whole,) = stores.job_store.query({"uuid": doc["uuid"]}, load=False)
        names[doc["uuid"]] = whole["name"]
        kept = sizes.setdefault(whole["name"], {"document_kb": 0.0, "array_kb": 0.0})
        kept["document_kb"] = max(kept["document_kb"], len(bson.encode(whole)) / 1e3)
    data = stores.job_store.additional_stores["data"]
    for found in list(data.query({}, properties=["blob_uuid", "job_uuid"])):
        blob = data.query_one({"blob_uuid": found["blob_uuid"]})
        kept = sizes[names[blob["job_uuid"]]]
        kept["array_kb"] = max(kept["array_kb"], len(bson.encode(blob)) / 1e3)
    stores.close()
    return sizes


def compare(folder: Path) -> dict:
    """Hold the selection in parts against that from all candidates at once."""
    from crystens_flows.stores import open_stores

    stores = open_stores(folder / "store")
    query = {"output.stage": "select"}
    documents = list(stores.job_store.query(query, properties=["name", "output"], load=False))
    (whole,) = [doc["output"] for doc in documents if doc["name"] == IN_ONE]
    (top,) = [doc["output"] for doc in documents if doc["name"] == "crystens select"]
    parts = [doc["output"] for doc in documents if doc["name"] == "crystens select records"]
    records = {r["candidate_id"]: r for part in parts for r in part["records"]}
    expected = {r["candidate_id"]: r for r in whole["records"]}
    decisions: dict[str, int] = {}
    for record in expected.values():
        decisions[record["decision"]] = decisions.get(record["decision"], 0) + 1
    stores.close()
    return {
        "passed_all_screens": len(expected),
        "decisions": decisions,
        "records_that_differ": sum(records.get(k) != each for k, each in expected.items())
        + len(records.keys() - expected.keys()),
        "same_selected": top["selected"] == whole["selected"],
    }


def manager_documents(n_samples: int, chunk_size: int | None) -> dict:
    """Return the sizes of the documents that managers keep of a flow, in kB of BSON."""
    import bson
    from jobflow import JobStore
    from jobflow.managers.fireworks import flow_to_workflow
    from maggma.stores import MemoryStore
    from monty.json import jsanitize

    flow = make_flow(n_samples, chunk_size, None)
    jobs = list(flow.iterflow())
    sizes = [
        len(bson.encode(jsanitize(j.as_dict(), strict=True, enum_values=True))) for j, _ in jobs
    ]
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    workflow = flow_to_workflow(flow, store=store)
    for number, firework in enumerate(workflow.fws, start=1):
        firework.fw_id = number
    found = {
        "n_samples": n_samples,
        "jobs": len(jobs),
        "most_inputs_of_a_job": max(len(parents) for _, parents in jobs),
        "largest_job_kb": max(sizes) / 1e3,
        "fireworks_workflow_kb": len(bson.encode(jsanitize(workflow.to_db_dict()))) / 1e3,
    }
    try:
        from jobflow_remote.jobs.data import get_initial_flow_doc_dict
    except ImportError:
        return found
    documents = [
        {"db_id": str(k), "uuid": job.uuid, "index": job.index, "parents": parents}
        for k, (job, parents) in enumerate(jobs)
    ]
    document = get_initial_flow_doc_dict(flow, documents)
    return {**found, "jobflow_remote_flow_kb": len(bson.encode(document)) / 1e3}


def main() -> None:
    """Run the campaigns and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--chunk-size", type=int, default=512)
    parser.add_argument("--screens", nargs="*", default=list(SCREENS))
    parser.add_argument("--crystals", action="store_true", help="crystals in place of samples")
    parser.add_argument("--documents", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--stages", nargs="*", choices=STAGES, default=list(STAGES))
    parser.add_argument("--few", type=int, help="jobs of each kind; not with the selection")
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--jobs", type=int, nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.jobs:
        run_kind(arguments.kind, arguments.folder, arguments.jobs)
        return
    if arguments.few is not None and "select" in arguments.stages:
        parser.error("--few: the selection needs all jobs before it; give --stages without it")
    documents = [manager_documents(n, None) for n in arguments.documents]
    for each in documents:
        print(json.dumps(each), flush=True)
    campaigns = []
    for n_samples in arguments.samples:
        print(f"{n_samples} samples", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            found = campaign(n_samples, arguments.chunk_size, Path(folder) / "run", arguments)
        campaigns.append(found)
    kinds = [each["kinds"] for each in campaigns]
    for kind in kinds[0] if kinds else ():
        peaks = "  ".join(f"{k[kind]['peak_mb']:8.0f}" for k in kinds)
        sizes = "  ".join(f"{k[kind].get('document_kb', 0):8.0f}" for k in kinds)
        arrays = "  ".join(f"{k[kind].get('array_kb', 0):8.0f}" for k in kinds)
        print(f"{kind:28s} peak MB {peaks}   document kB {sizes}   array kB {arrays}")
    print(json.dumps({"documents": documents, "campaigns": campaigns}))


if __name__ == "__main__":
    main()

"""
The explorer over 100,000 candidates: pages asked over HTTP, beside pymongo on the same filters.

The candidates are the synthetic ones of `benchmarks/queries.py`, in an embedded store. The explorer
runs as `crystens explore` in a process of its own, whose memory is that at the end. Each filter is
asked as a browser does, whole pages of 50 rows with their count; its peer finds and counts the same
with pymongo on the server of the tests, by the indexes of the store, in turn in the same run. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from queries import fill
from servers import NOT_SET_UP, database, server

GOAL_MS, GOAL_MB = 300, 500
FILTERS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "formula": {"formula": "ClNa"},
    "chemical system": {"chemsys": "O-Ti-Na", "sort": "energy_above_hull"},
    "elements, status": {
        "elements": "Li,O",
        "without_elements": "S",
        "status": "screened",
        "sort": "energy_above_hull",
    },
    "energy range": {"max_energy_above_hull": 0.05, "sort": "energy_above_hull"},
    "energy range, highest first": {
        "min_formation_energy_per_atom": -2,
        "max_formation_energy_per_atom": -1,
        "sort": "formation_energy_per_atom",
        "descending": 1,
    },
    "deep page": {"sort": "energy_above_hull", "page": 1000},
}


def page(address: str) -> str:
    with urllib.request.urlopen(address, timeout=600) as answer:
        return answer.read().decode()


def peer(collection: Any, asked: dict[str, Any]) -> int:
    """Find and count with pymongo what a page shows."""
    from werkzeug.datastructures import MultiDict

    from crystens_flows.candidate_filters import filter_criteria
    from crystens_flows.explore.asked import read

    wanted = read(MultiDict({name: str(value) for name, value in asked.items()}))
    criteria = filter_criteria(**wanted.filters)
    order = -1 if wanted.descending else 1
    sort = [(wanted.sort or "campaign", order), ("candidate_id", order)]
    found = collection.find(criteria).sort(sort).skip((wanted.page - 1) * 50).limit(50)
    list(found)
    return collection.count_documents(criteria)


def milliseconds(work: Any, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def memory_mb(process: subprocess.Popen[str]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("-n", type=int, default=100_000, help="candidates")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    from crystens_flows.stores import ensure_indexes, open_stores

    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as uri:
        if uri is None:
            sys.exit(NOT_SET_UP)
        embedded = open_stores(Path(folder) / "store")
        print(f"filling two stores with {options.n} candidates", flush=True)
        fill(embedded.candidates.store, options.n)
        mongo = open_stores(database(uri))
        fill(mongo.candidates.store, options.n)
        ensure_indexes(mongo)
        collection = mongo.candidates.store._collection
        command = [str(Path(sys.executable).with_name("crystens")), "explore", "--port", "0"]
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--store", str(Path(folder) / "store")], stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            address = re.search(r"http://\S+", process.stderr.readline())[0]  # type: ignore[index]
            answered = time.perf_counter() - began
            while "Reading the store" in page(address):
                time.sleep(0.5)
            read = time.perf_counter() - began
            print(f"first answer after {answered:.1f} s, all read after {read:.0f} s")
            print(f"{'filter':30} {'explorer, ms':>13} {'pymongo, ms':>13} {'ratio':>7}")
            rows = {}
            for name, asked in FILTERS.items():
                url = f"{address}?{urlencode(asked)}"
                count = int(re.search(r"<strong>(\d+)</strong>", page(url))[1])  # type: ignore[index]
                assert count == peer(collection, asked), f"{name}: the counts differ"
                ours = milliseconds(lambda url=url: page(url), options.repeats)
                theirs = milliseconds(lambda asked=asked: peer(collection, asked), options.repeats)
                rows[name] = {"explorer_ms": ours, "pymongo_ms": theirs, "found": count}
                print(f"{name:30} {ours:13.0f} {theirs:13.0f} {ours / theirs:7.2f}")
            memory = memory_mb(process)
        finally:
            process.terminate()
            process.wait()
    slowest = max(row["explorer_ms"] for row in rows.values())
    print(
        f"slowest median {slowest:.0f} ms (goal {GOAL_MS}), memory {memory:.0f} MB (goal {GOAL_MB})"
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        json.dumps(
            {"read_s": read, "memory_mb": memory, "peak_mb": peak, "n": options.n, "filters": rows}
        )
    )


if __name__ == "__main__":
    main()

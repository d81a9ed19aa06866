"""
The explorer over 100,000 candidates: pages asked over HTTP, beside pandas on the same candidates.

The candidates are the synthetic ones of `benchmarks/queries.py`, in an embedded store. The explorer
runs as `crystens explore` in a process of its own, whose memory is that at the end. Each filter is
asked as a browser does, whole pages of 50 rows with their count. Its peer has the table of the same
candidates in memory, as one who exported it has, and finds, counts and sorts them with pandas, by
masks that are written by hand; both are asked in turn in the same run, and the counts and the first
rows must agree. The last line is JSON.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd
from queries import candidates, fill

GOAL_MS, GOAL_MB = 300, 500
COLUMNS = (
    *("candidate_id", "campaign", "index", "formula", "chemsys", "elements", "status"),
    *("formation_energy_per_atom", "energy_above_hull"),
)
PAGE = 50
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
    "page in the middle": {"sort": "energy_above_hull"},
}


Table = pd.DataFrame


def by_sample(table: Table) -> Table:
    return table.sort_values(["campaign", "index", "candidate_id"])


def by_hull(table: Table) -> Table:
    return table.sort_values(["energy_above_hull", "candidate_id"])


PEERS: dict[str, Callable[[Table], Table]] = {
    "nothing": by_sample,
    "formula": lambda table: by_sample(table[table.formula == "NaCl"]),
    "chemical system": lambda table: by_hull(table[table.chemsys == "Na-O-Ti"]),
    "elements, status": lambda table: by_hull(
        table[
            (table.status == "screened")
            & table.elements.map(lambda found: {"Li", "O"} <= found and "S" not in found)
        ]
    ),
    "energy range": lambda table: by_hull(table[table.energy_above_hull <= 0.05]),
    "energy range, highest first": lambda table: table[
        table.formation_energy_per_atom.between(-2, -1)
    ].sort_values(["formation_energy_per_atom", "candidate_id"], ascending=False),
    "page in the middle": by_hull,
}


def frame(number: int) -> Table:
    """Return the table of the candidates, elements as sets."""
    rows = [[document[name] for name in COLUMNS] for document in candidates(number)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["elements"] = table.elements.map(frozenset)
    return table


def peer(table: Table, name: str) -> tuple[int, list[str]]:
    """Find and count what a page shows; return the count and the identifiers."""
    found = PEERS[name](table)
    first = (FILTERS[name].get("page", 1) - 1) * PAGE
    return len(found), list(found.candidate_id[first : first + PAGE])


def page(address: str) -> str:
    with urllib.request.urlopen(address, timeout=600) as answer:
        return answer.read().decode()


def shown(text: str) -> tuple[int, list[str]]:
    """Return the count and the identifiers on a page."""
    count = re.search(r"<strong>(\d+)</strong>", text)
    assert count is not None, "the page has no count"
    return int(count[1]), re.findall(r'name="id" value="([^"]+)"', text)


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
    from crystens_flows.stores import open_stores

    FILTERS["page in the middle"]["page"] = max(1, options.n // (2 * PAGE))
    with tempfile.TemporaryDirectory() as folder:
        embedded = open_stores(Path(folder) / "store")
        print(f"filling the store with {options.n} candidates", flush=True)
        fill(embedded.candidates.store, options.n)
        table = frame(options.n)
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
            print(f"{'filter':30} {'explorer, ms':>13} {'pandas, ms':>13} {'ratio':>7}")
            rows = {}
            for name, asked in FILTERS.items():
                url = f"{address}?{urlencode(asked)}"
                found = shown(page(url))
                assert found == peer(table, name), f"{name}: other candidates are shown"
                ours = milliseconds(lambda url=url: page(url), options.repeats)
                theirs = milliseconds(lambda name=name: peer(table, name), options.repeats)
                rows[name] = {"explorer_ms": ours, "pandas_ms": theirs, "found": found[0]}
                print(f"{name:30} {ours:13.0f} {theirs:13.0f} {ours / theirs:7.2f}", flush=True)
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

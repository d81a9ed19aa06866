"""
Queries on 100,000 candidates: the CandidateStore beside a bare find of pymongo on the same index.

The candidates are synthetic: one document of the size of a screened candidate with 8 sites, written
over and over with other compositions, energies and ranks; nothing was sampled or calculated. They
are in the embedded store and on the server of the tests, which the benchmark starts.

Each query is one that `crystens candidates query` offers. Its peer has the MongoDB filter, sort,
skip, limit and projection written by hand, and lists what comes; both read the same documents from
the same server by the same indexes, in turn, and must return the same. (The CandidateStore puts
candidates without a value last; where they may be, and the page is not full without them, it needs
a second find, which these queries do not.) The embedded store, which
scans what is not asked for by key, is measured against the same peer, for what a server is worth.
`documents` is the same query with pydantic documents and pymatgen structures made of what comes.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from servers import NOT_SET_UP, database, server

GOAL = 3.0
ELEMENTS = (
    "Li",
    "Na",
    "K",
    "Mg",
    "Ca",
    "Al",
    "Ti",
    "Fe",
    "Cu",
    "Zn",
    "Si",
    "P",
    "N",
    "O",
    "S",
    "Cl",
)
FIELDS = ("formula", "energy_above_hull", "selection.rank")
DEEP = 0.5
"""So far into the collection the deep page is."""


def template() -> dict[str, Any]:
    """Return the document of a candidate that passed the screens."""
    from pymatgen.core import Lattice, Structure

    from crystens_flows.schemas import (
        CandidateDocument,
        CandidateStatus,
        Provenance,
        ScreenRecord,
        SelectRecord,
    )

    lattice = Lattice.orthorhombic(5.1, 6.2, 7.3)
    sites = [[k / 8, (k * 3 % 8) / 8, 0.1 * k] for k in range(8)]
    record = ScreenRecord(candidate_id="c", passed=True, formation_energy_per_atom=-1.0)
    names = ("validity", "novelty", "cgcnn", "m3gnet", "chgnet", "hull")
    document = CandidateDocument(
        candidate_id="c",
        campaign="bench",
        index=0,
        status=CandidateStatus.SCREENED,
        structure=Structure(lattice, ["Na", "Cl"] * 4, sites),
        consistency=dict.fromkeys((f"variance_{k}" for k in range(8)), 0.1),
        screens=dict.fromkeys(names, record),
        selection=SelectRecord(candidate_id="c", decision="ranked", reason="rank", rank=1),
        provenance=Provenance(campaign="bench", generator="wyckoff", checkpoint_sha256="ab" * 32),
        jobs=dict.fromkeys(names, "01234567-89ab-cdef-0123-456789abcdef:1"),
        completed_at=dict.fromkeys(names, "2026-01-01T00:00:00"),
    )
    return document.model_dump(mode="json")


def candidates(number: int) -> Iterator[dict[str, Any]]:
    """Yield synthetic candidates, some without energies, as rejected ones are."""
    from pymatgen.core import Composition

    chance = random.Random(0)
    kept = template()
    for index in range(number):
        elements = sorted(chance.sample(ELEMENTS, chance.choice((2, 3, 3, 4))))
        amounts = [chance.choice((1, 1, 2, 3)) for _ in elements]
        rejected = index % 10 == 0
        energy = None if rejected else round(chance.gauss(-1.0, 0.8), 6)
        hull = None if rejected else round(abs(chance.gauss(0.0, 0.3)), 6)
        yield {
            **kept,
            "candidate_id": f"c-{index * 7919 % 2**64:020x}",
            "index": index,
            "campaign": f"bench-{index % 4}",
            "status": "rejected" if rejected else "screened",
            "formula": Composition(dict(zip(elements, amounts, strict=True))).reduced_formula,
            "chemsys": "-".join(elements),
            "elements": elements,
            "n_elements": len(elements),
            "n_sites": sum(amounts),
            "space_group": chance.randint(1, 230),
            "formation_energy_per_atom": energy,
            "energy_above_hull": hull,
            "selection": {**kept["selection"], "rank": None if rejected else index + 1},
            "last_updated": datetime(2026, 1, 1, tzinfo=UTC),
        }


def fill(store: Any, number: int) -> float:
    """Put candidates into a maggma store without indexes; return the seconds that took."""
    if is_mongo(store):
        store._collection.drop_indexes()
    began = time.perf_counter()
    part: list[dict[str, Any]] = []
    for doc in candidates(number):
        part.append(doc)
        if len(part) == 1000:
            insert(store, part)
            part = []
    insert(store, part)
    return time.perf_counter() - began


def insert(store: Any, docs: list[dict[str, Any]]) -> None:
    """Put new documents into a store, as quickly as it takes them."""
    if not docs:
        return
    if is_mongo(store):
        store._collection.insert_many([dict(doc) for doc in docs])
    else:
        store.update(docs, key="candidate_id")


def is_mongo(store: Any) -> bool:
    """Say whether a store is a MongoStore."""
    return hasattr(store, "mongoclient_kwargs")


Query = dict[str, Any]


def queries(number: int) -> dict[str, tuple[Query, Query]]:
    """Return the queries: how the CandidateStore is asked, and how pymongo is."""
    by_hull = [("energy_above_hull", 1), ("candidate_id", 1)]
    known = {"energy_above_hull": {"$ne": None}}
    some = {"sort": "energy_above_hull", "limit": 20}
    deep = int(DEEP * number)
    return {
        "formula": (
            {
                "formula": "ClNa",
                "sort": "formation_energy_per_atom",
                "descending": True,
                "limit": 20,
            },
            {
                "filter": {"formula": "NaCl"},
                "sort": [("formation_energy_per_atom", -1), ("candidate_id", -1)],
                "limit": 20,
            },
        ),
        "chemical system": (
            {"chemsys": "O-Ti-Na", "energy_above_hull": (None, 1.0), **some},
            {
                "filter": {"chemsys": "Na-O-Ti", "energy_above_hull": {"$lte": 1.0}},
                "sort": by_hull,
                "limit": 20,
            },
        ),
        "elements, status": (
            {"elements": ["Li", "O"], "without_elements": ["S"], "status": "screened", **some},
            {
                "filter": {
                    "elements": {"$all": ["Li", "O"], "$nin": ["S"]},
                    "status": "screened",
                    **known,
                },
                "sort": by_hull,
                "limit": 20,
            },
        ),
        "energy range": (
            {"energy_above_hull": (None, 0.05), "sort": "energy_above_hull", "limit": 100},
            {"filter": {"energy_above_hull": {"$lte": 0.05}}, "sort": by_hull, "limit": 100},
        ),
        "energy range, highest": (
            {
                "formation_energy_per_atom": (-2.0, -1.0),
                "sort": "formation_energy_per_atom",
                "descending": True,
                "limit": 100,
            },
            {
                "filter": {"formation_energy_per_atom": {"$gte": -2.0, "$lte": -1.0}},
                "sort": [("formation_energy_per_atom", -1), ("candidate_id", -1)],
                "limit": 100,
            },
        ),
        "deep page": (
            {"sort": "energy_above_hull", "skip": deep, "limit": 50},
            {"filter": known, "sort": by_hull, "skip": deep, "limit": 50},
        ),
        "projection": (
            {
                "energy_above_hull": (None, 0.05),
                "sort": "energy_above_hull",
                "limit": 1000,
                "properties": FIELDS,
            },
            {
                "filter": {"energy_above_hull": {"$lte": 0.05}},
                "sort": by_hull,
                "limit": 1000,
                "projection": ["candidate_id", *FIELDS],
            },
        ),
        "samples in order": (
            {"campaign": "bench-1", "limit": 100},
            {
                "filter": {"campaign": "bench-1"},
                "sort": [("campaign", 1), ("index", 1), ("candidate_id", 1)],
                "limit": 100,
            },
        ),
    }


def timed(ask: Callable[[], list[Any]]) -> tuple[float, list[Any]]:
    """Return the milliseconds that a query took, and what it found."""
    began = time.perf_counter()
    found = ask()
    return 1000 * (time.perf_counter() - began), found


def same(found: list[dict], expected: list[dict]) -> bool:
    """Say whether documents are the same, apart from the keys of the database."""
    return [{k: v for k, v in doc.items() if k != "_id"} for doc in found] == [
        {k: v for k, v in doc.items() if k != "_id"} for doc in expected
    ]


def measure(stores: dict[str, Any], number: int, repeats: int) -> dict[str, Any]:
    """Ask each query of the peer and of the stores in turn, and return the medians."""
    bare = stores["mongo"].candidates.store._collection
    result: dict[str, Any] = {}
    for name, (ours, theirs) in queries(number).items():
        asked: dict[str, Callable[[], list[Any]]] = {
            "pymongo": lambda q=theirs: list(bare.find(**q))
        }
        for kind, each in stores.items():
            asked[kind] = lambda q=ours, s=each.candidates: list(s.query(**q))
        if "properties" not in ours:
            asked["documents"] = lambda q=ours: list(stores["mongo"].candidates.documents(**q))
        times: dict[str, list[float]] = {kind: [] for kind in asked}
        results: dict[str, list[Any]] = {}
        for kind in list(asked) * repeats:
            # once is enough for what takes seconds
            if kind == "embedded" and times[kind] and times[kind][0] > 1000:
                continue
            milliseconds, results[kind] = timed(asked[kind])
            times[kind].append(milliseconds)
        medians = {kind: statistics.median(each) for kind, each in times.items()}
        result[name] = {
            "found": len(results["pymongo"]),
            "milliseconds": medians,
            "ratio": medians["mongo"] / medians["pymongo"],
            "same": all(same(results[kind], results["pymongo"]) for kind in stores)
            and [doc.candidate_id for doc in results.get("documents", [])]
            == [doc["candidate_id"] for doc in results["pymongo"] if "documents" in results],
        }
        shown = ", ".join(f"{kind} {value:.1f}" for kind, value in medians.items())
        agree = "the same" if result[name]["same"] else "NOT THE SAME"
        print(
            f"{name:22s} {result[name]['found']:5d} found, {agree}; ms: {shown}; ratio "
            f"{result[name]['ratio']:.2f}",
            flush=True,
        )
    return result


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", "--number", type=int, default=100_000, help="candidates")
    parser.add_argument("--repeats", type=int, default=7, help="times that each is asked")
    parser.add_argument("--part", choices=("mongo", "both"), default="both", help="stores")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as uri:
        if uri is None:
            sys.exit(NOT_SET_UP)
        from crystens_flows.stores import ensure_indexes, open_stores

        places = {"mongo": database(uri)}
        if arguments.part == "both":
            places["embedded"] = str(Path(folder) / "store")
        stores = {}
        for kind, place in places.items():
            stores[kind] = open_stores(place)
            seconds = fill(stores[kind].candidates.store, arguments.number)
            ensure_indexes(stores[kind])
            print(f"{kind}: {arguments.number} synthetic candidates in {seconds:.0f} s", flush=True)
        result = measure(stores, arguments.number, arguments.repeats)
        for each in stores.values():
            each.close()
    ratios = [each["ratio"] for each in result.values()]
    print(
        f"CandidateStore beside a bare find: median ratio {statistics.median(ratios):.2f}, highest "
        f"{max(ratios):.2f} (goal {GOAL:g}); load {os.getloadavg()[0]:.1f}"
    )
    print(json.dumps({"candidates": arguments.number, "load": os.getloadavg()[0], **result}))


if __name__ == "__main__":
    main()

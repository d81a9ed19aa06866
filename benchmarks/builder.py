"""Candidates built from 10,000 outputs, and rebuilt after 100 more; last line JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
import uuid
from datetime import datetime, timedelta
from pathlib import Path

from monty.json import jsanitize
from pymatgen.core import Lattice, Structure
from servers import NOT_SET_UP, database, server

from crystens_flows.builders import CandidateBuilder
from crystens_flows.schemas import (
    DecodedCandidate,
    DecodeDocument,
    Provenance,
    RelaxDocument,
    ScreenDocument,
    ScreenRecord,
    SelectDocument,
    SelectRecord,
    candidate_id,
)
from crystens_flows.stores import Stores, open_stores

SITES = 8
CHUNK = 5
PER_CHUNK = 5
"""Outputs of one chunk: sample, decode, two screens, one relaxation."""


def structure_of(index: int) -> Structure:
    lattice = Lattice.orthorhombic(5 + 0.001 * (index % 997), 6, 7)
    coords = [[k / SITES, (k * 3 % SITES) / SITES, 0.1 * k] for k in range(SITES)]
    return Structure(lattice, ["Na", "Cl", "O", "Fe"] * (SITES // 4), coords)


def outputs_of(start: int, prov: Provenance) -> list:
    """Return what the jobs of one chunk return."""
    ids = [candidate_id(prov, start + k) for k in range(CHUNK)]
    decoded = [
        DecodedCandidate(
            candidate_id=each, index=start + k, structure=structure_of(start + k), space_group=1
        )
        for k, each in enumerate(ids)
    ]
    screens = [
        ScreenDocument(
            screen=name,
            model={"name": name},
            records=[
                ScreenRecord(
                    candidate_id=each, passed=True, formation_energy_per_atom=-0.001 * (start + k)
                )
                for k, each in enumerate(ids)
            ],
        )
        for name in ("cgcnn", "m3gnet")
    ]
    relaxed = RelaxDocument(
        candidate_id=ids[0],
        structure=structure_of(start),
        energy=-30.0,
        energies=[-29.0, -29.5, -29.7, -29.9, -30.0],
        pressures=[1.0] * 4,
        converged=[True] * 4,
        n_sites=SITES,
        engine="CHGNet",
        completed_steps=4,
    )
    sample = {
        "stage": "sample",
        "provenance": prov.model_dump(),
        "start": start,
        "n_samples": CHUNK,
        "crystens": {"@class": "ArrayBlob", "blob_uuid": f"blob-{start}", "store": "data"},
        "versions": {},
    }
    return [sample, DecodeDocument(provenance=prov, candidates=decoded), *screens, relaxed]


def selection(n: int, prov: Provenance) -> SelectDocument:
    records = [
        SelectRecord(
            candidate_id=candidate_id(prov, k), decision="ranked", reason="rank", rank=k + 1
        )
        for k in range(n)
    ]
    return SelectDocument(settings={}, records=records, selected=[])


def write(stores: Stores, outputs: list, began: datetime) -> None:
    """Write outputs as jobflow writes those of finished jobs."""
    docs = [
        {
            "uuid": str(uuid.uuid4()),
            "index": 1,
            "output": jsanitize(output, strict=True, enum_values=True),
            "completed_at": (began + timedelta(milliseconds=k)).isoformat(),
            "metadata": {},
            "hosts": [],
            "name": "job",
        }
        for k, output in enumerate(outputs)
    ]
    for start in range(0, len(docs), 500):
        stores.job_store.docs_store.update(docs[start : start + 500], key=["uuid", "index"])


def build(place: str | Path) -> tuple[float, CandidateBuilder]:
    """Build with a new builder on new connections, as `crystens build` does."""
    stores = open_stores(place)
    seconds = -time.perf_counter()
    builder = CandidateBuilder(stores.job_store, stores.candidates)
    builder.run_incrementally()
    return seconds + time.perf_counter(), builder


def measure(place: str | Path, n_outputs: int, n_new: int) -> dict[str, float]:
    """Fill a store, build, build again, add outputs, and build twice more."""
    prov = Provenance(campaign="bench", generator="wyckoff", checkpoint_sha256="ab" * 32, seed=0)
    n_chunks = n_outputs // PER_CHUNK
    stores = open_stores(place)
    outputs = [each for k in range(n_chunks) for each in outputs_of(k * CHUNK, prov)]
    write(stores, [*outputs, selection(n_chunks * CHUNK, prov)], datetime(2026, 1, 1))
    first, builder = build(place)
    n_first, n_candidates = builder.summary.n_jobs, builder.candidates.count()
    nothing, again = build(place)
    new = range(n_chunks, n_chunks + n_new // PER_CHUNK)
    write(stores, [each for k in new for each in outputs_of(k * CHUNK, prov)], datetime(2026, 1, 2))
    watching = -time.perf_counter()
    again.run_incrementally()
    watching += time.perf_counter()
    touched = {"outputs": again.summary.n_jobs, "candidates": again.summary.n_changed}
    write(
        stores,
        [each for k in new for each in outputs_of((k + len(new)) * CHUNK, prov)],
        datetime(2026, 1, 3),
    )
    fresh, last = build(place)
    return {
        "outputs": n_first,
        "candidates": n_candidates,
        "seconds": first,
        "nothing_new_seconds": nothing,
        "new_outputs": len(new) * PER_CHUNK,
        "outputs_read": touched["outputs"],
        "candidates_written": touched["candidates"],
        "watching_seconds": watching,
        "new_process_outputs_read": last.summary.n_jobs,
        "new_process_candidates_written": last.summary.n_changed,
        "new_process_seconds": fresh,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=10_000, help="outputs")
    parser.add_argument("--new", type=int, default=100, help="outputs that come later")
    parser.add_argument("--store", choices=("embedded", "mongo", "both"), default="both")
    arguments = parser.parse_args()

    result = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        places: dict[str, str | Path | None] = {}
        if arguments.store != "mongo":
            places["embedded"] = Path(name) / "store"
        if arguments.store != "embedded":
            uri = stack.enter_context(server(Path(name)))
            places["mongo"] = None if uri is None else database(uri)
        for kind, place in places.items():
            if place is None:
                print(f"{kind:10s} {NOT_SET_UP}")
                continue
            found = result[kind] = measure(place, arguments.number, arguments.new)
            print(
                f"{kind:10s} {found['seconds']:7.1f} s for {found['candidates']} candidates from "
                f"{found['outputs']} outputs; {found['nothing_new_seconds']:.1f} s to find nothing "
                "new"
            )
            print(
                f"{'':10s} {found['watching_seconds']:7.1f} s after {found['new_outputs']} more: "
                f"{found['outputs_read']} outputs read, {found['candidates_written']} candidates "
                f"written; {found['new_process_seconds']:.1f} s in a new process "
                f"({found['new_process_outputs_read']} and "
                f"{found['new_process_candidates_written']})"
            )
    print(json.dumps(result))

"""
Peak memory of reading, encoding and iterating a data set, and of decoding and screening samples.

Each part runs in a process of its own. The peak is that of the process plus, for each worker, that
of the largest one; memory that they share is counted again. The last line is JSON.
"""

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_GB = 3.0
BATCH = 256
CHUNK = 64


def peak_gb(workers: int = 0) -> float:
    """Return the peak resident memory of this process and its workers, in GB."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest_worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + workers * largest_worker) * 1024 / 1e9


def prepare(target: Path, number: int, sources: list[str]) -> None:
    """Write a CSV of `number` CIFs: the rows of the sources, or crystals that ship, repeated."""
    import pandas as pd
    from pymatgen.io.cif import CifWriter

    from crystens_flows.datasets import shipped

    if sources:
        cifs = pd.concat([pd.read_csv(source, usecols=["cif"]) for source in sources])["cif"]
    else:
        dataset = shipped()
        chosen = range(0, len(dataset), 6)
        cifs = pd.Series([str(CifWriter(s)) for s in dataset.structures(chosen)])
    with gzip.open(target, "wt", compresslevel=1, encoding="utf-8") as stream:
        stream.write("material_id,cif\n")
        for i in range(number):
            stream.write(f'm-{i},"{cifs.iloc[i % len(cifs)]}"\n')


def dataset_part(source: Path, workers: int) -> dict[str, float]:
    """Read a source, save and load the data set, and iterate over its CrysTens once."""
    from crystens_flows.datasets import Dataset, build_dataset

    began = time.perf_counter()
    dataset, rejected = build_dataset(
        source, {"train": 0.95, "validation": 0.05}, workers=workers, progress=False
    )
    read = time.perf_counter()
    file = dataset.save(source.with_name("dataset.npz"))
    del dataset
    dataset = Dataset.load(file)
    loaded = time.perf_counter()
    seen = sum(
        len(batch)
        for rows in dataset.split.values()
        for batch in dataset.crystens_batches(rows, batch_size=BATCH)
    )
    return {
        "structures": seen,
        "rejected": len(rejected),
        "read_seconds": read - began,
        "encoded_per_second": seen / (time.perf_counter() - loaded),
        "file_mb": file.stat().st_size / 1e6,
        "peak_gb": peak_gb(workers),
    }


def decode_part(number: int) -> dict[str, float]:
    """Decode CrysTens with a little noise and screen the structures, a chunk at a time."""
    import numpy as np

    from crystens_flows.datasets import shipped
    from crystens_flows.representation import decode
    from crystens_flows.screening.cgcnn import predict_formation_energies

    dataset = shipped()
    random = np.random.default_rng(0)
    rows = np.resize(random.permutation(len(dataset)), number)
    began = time.perf_counter()
    decoded = screened = 0
    for tensors in dataset.crystens_batches(rows, batch_size=CHUNK):
        noise = random.normal(0, 0.005, tensors.shape).astype(np.float32)
        structures = [d.structure for d in decode(tensors + noise) if d.structure is not None]
        decoded += len(structures)
        energies = predict_formation_energies(structures)
        screened += sum(e.formation_energy_per_atom is not None for e in energies)
    return {
        "samples": number,
        "decoded": decoded,
        "screened": screened,
        "seconds": time.perf_counter() - began,
        "peak_gb": peak_gb(),
    }


def run_part(*arguments: str) -> dict[str, float]:
    """Run one part of this file in a process of its own and return what it measured."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=50_000)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", nargs="*", default=[], help="CSV files with a column 'cif'")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    match arguments.part:
        case ["prepare", target]:
            prepare(Path(target), arguments.structures, arguments.data)
            print(json.dumps({}))
            return
        case ["dataset", source]:
            print(json.dumps(dataset_part(Path(source), arguments.workers)))
            return
        case ["decode", number]:
            print(json.dumps(decode_part(int(number))))
            return

    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(folder) / "structures.csv.gz")
        structures = ["--structures", str(arguments.structures), "--data", *arguments.data]
        run_part("--part", "prepare", source, *structures)
        dataset = run_part("--part", "dataset", source, "--workers", str(arguments.workers))
    result["dataset"] = dataset
    print(f"{dataset['structures']} structures read, encoded and iterated (", end="")
    print(f"{dataset['rejected']} rejected): peak {dataset['peak_gb']:.2f} GB", end="")
    print(f" (goal: under {LIMIT_GB:g}); read in {dataset['read_seconds']:.0f} s")
    few, many = max(arguments.samples // 5, 1), arguments.samples
    decoded = {n: run_part("--part", "decode", str(n)) for n in (few, many)}
    result["decode"] = decoded
    for n, measured in decoded.items():
        print(f"{n} samples decoded and screened: peak {measured['peak_gb']:.2f} GB", end="")
        print(f" (goal: under {LIMIT_GB:g}); {measured['seconds']:.0f} s")
    growth = decoded[many]["peak_gb"] - decoded[few]["peak_gb"]
    result["growth_gb"] = growth
    print(f"from {few} to {many} samples the peak grows by {growth:.3f} GB (goal: flat)")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Speed of M3GNet's formation energies beside matgl's own way, and errors; last line JSON."""

import argparse
import json
import time
import warnings

import matgl
import numpy as np
import torch

from crystens_flows.datasets import shipped
from crystens_flows.screening.cgcnn import predict_formation_energies
from crystens_flows.screening.m3gnet.folder import model_folder
from crystens_flows.screening.m3gnet.model import load_m3gnet

REPEATS = 3


def seconds(function, *arguments):
    """Return the shortest of a few times, and what was computed."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        found = function(*arguments)
        times.append(time.perf_counter() - began)
    return min(times), found


def numbers(predictions):
    return np.array([p.formation_energy_per_atom for p in predictions], dtype=float)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=1000)
    parser.add_argument("--model", default="default")
    parser.add_argument("--matgl", type=int, default=200, help="structures for matgl's own way")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    dataset = shipped()
    model = load_m3gnet(arguments.model)
    network = matgl.load_model(model_folder(arguments.model))
    references = model.target.references.energies
    rows = np.linspace(0, len(dataset) - 1, arguments.number).astype(int)
    structures = list(dataset.structures(rows))
    model.predict(structures[:50])

    def by_matgl(some):
        found = [float(network.predict_structure(s)) * model.target.std for s in some]
        return np.array(found) + [references[list(s.atomic_numbers)].mean() for s in some]

    torch.set_num_threads(1)
    every = max(1, len(structures) // arguments.matgl)
    some = structures[::every]
    peer_seconds, peer = seconds(by_matgl, some)
    some_seconds, found = seconds(model.predict, some)
    difference = np.nanmax(np.abs(numbers(found) - peer))
    one_seconds, found = seconds(model.predict, structures)
    torch.set_num_threads(2)
    two_seconds, found_by_two = seconds(model.predict, structures)
    threads_difference = np.nanmax(np.abs(numbers(found) - numbers(found_by_two)))

    result = {
        "structures": len(structures),
        "sites_each": float(np.mean([len(s) for s in structures])),
        "per_second": len(structures) / one_seconds,
        "matgl_per_second": len(some) / peer_seconds,
        "ratio": peer_seconds / some_seconds,
        "two_threads": one_seconds / two_seconds,
        "largest_difference": float(max(difference, threads_difference)),
    }
    print(f"M3GNet         {result['per_second']:8.0f} structures/s, one thread")
    print(f"matgl          {result['matgl_per_second']:8.0f} structures/s, one at a time")
    print(f"ratio          {result['ratio']:8.2f} on the same {len(some)} structures")
    print(f"two threads    {result['two_threads']:8.2f} times one")
    print(f"difference     {result['largest_difference']:8.1e} eV/atom at most")
    for split in ("holdout_a", "holdout_b"):
        rows = dataset.split[split]
        structures = list(dataset.structures(rows))
        known = dataset.formation_energy_per_atom[rows]
        ours = np.abs(numbers(model.predict(structures)) - known)
        theirs = np.abs(numbers(predict_formation_energies(structures)) - known)
        both = np.isfinite(ours) & np.isfinite(theirs)
        result[split] = {
            "structures": int(both.sum()),
            "m3gnet_mae": float(ours[both].mean()),
            "cgcnn_mae": float(theirs[both].mean()),
        }
        print(
            f"{split}      M3GNet {ours[both].mean():.4f}, CGCNN {theirs[both].mean():.4f} "
            f"eV/atom, mean absolute error on {both.sum()} of {len(rows)}"
        )
    print(json.dumps(result))

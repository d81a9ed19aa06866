"""Potentials: speed in batches beside one at a time, and errors on held-out crystals; last JSON."""

import argparse
import contextlib
import io
import json
import time
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from chgnet.model import CHGNet
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystens_flows.datasets import shipped
from crystens_flows.screening.potentials import available_potentials, predict
from crystens_flows.screening.potentials.registry import load_potential


def milliseconds(
    ask: Callable[[list[Structure], str], Any], structures: list[Structure], potential: str
) -> tuple[float, Any]:
    """Return processor time a structure, which other processes disturb less, and the result."""
    began = time.process_time()
    result = ask(structures, potential)
    return (time.process_time() - began) / len(structures) * 1e3, result


def predict_one_by_one(structures: list[Structure], potential: str) -> None:
    """Predict each structure by itself."""
    for structure in structures:
        predict([structure], potential)


@lru_cache(maxsize=1)
def chgnet() -> CHGNet:
    """Load CHGNet as its own package does, with its own layers."""
    with contextlib.redirect_stdout(io.StringIO()):
        return CHGNet.load(use_device="cpu", verbose=False)


def one_at_a_time(structures: list[Structure], potential: str) -> list[float]:
    """Ask as the potential's own package does: CHGNet for energies, SevenNet's ASE calculator."""
    if potential == "chgnet":
        return [float(chgnet().predict_structure(s, task="e")["e"]) for s in structures]
    calculator = load_potential(potential).calculator()
    energies = []
    for structure in structures:
        atoms = AseAtomsAdaptor.get_atoms(structure)
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy() / len(structure))
    return energies


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=60, help="structures to time")
    parser.add_argument("--held-out", type=int, default=300, help="crystals of each split")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dataset = shipped()
    splits = ("holdout_a", "holdout_b")
    rows = {
        split: np.random.default_rng(0).permutation(dataset.split[split])[: arguments.held_out]
        for split in splits
    }
    timed = list(dataset.structures(rows["holdout_a"][: arguments.number]))
    result: dict[str, Any] = {"sites_each": float(np.mean([len(s) for s in timed]))}
    formation: dict[str, dict[str, np.ndarray]] = {}
    for name in available_potentials():
        for _ in range(3):  # the first calls compile
            predict(timed[:5], name)
            one_at_a_time(timed[:5], name)
        batched, predictions = milliseconds(predict, timed, name)
        alone, expected = milliseconds(one_at_a_time, timed, name)
        each, _ = milliseconds(predict_one_by_one, timed, name)
        difference = np.subtract([p.energy_per_atom for p in predictions], expected)
        formation[name] = {
            split: np.array(
                [
                    p.formation_energy_per_atom
                    for p in predict(list(dataset.structures(chosen)), name)
                ],
                dtype=float,
            )
            for split, chosen in rows.items()
        }
        errors = {
            split: np.abs(formation[name][split] - dataset.formation_energy_per_atom[chosen])
            for split, chosen in rows.items()
        }
        result[name] = {
            "batched_ms": batched,
            "one_by_one_ms": each,
            "package_one_by_one_ms": alone,
            "ratio": alone / batched,
            "largest_difference": float(np.abs(difference).max()),
            "mae": {split: float(np.nanmean(error)) for split, error in errors.items()},
            "median": {split: float(np.nanmedian(error)) for split, error in errors.items()},
        }
        found = result[name]
        print(f"{name}")
        print(f"  batched        {batched:8.1f} ms a structure, processor time, one thread")
        print(f"  one at a time  {each:8.1f} ms; by the package itself {alone:.1f} ms")
        print(f"  ratio          {found['ratio']:8.1f} to the package itself")
        print(f"  difference     {found['largest_difference']:8.1e} eV/atom at most")
        for split in splits:
            print(
                f"  {split}      {found['mae'][split]:8.4f} eV/atom mean absolute error, "
                f"median {found['median'][split]:.4f}"
            )
    if len(formation) > 1:
        first, second = formation.values()
        apart = np.concatenate([np.abs(first[split] - second[split]) for split in splits])
        result["disagreement"] = {
            "mean": float(np.nanmean(apart)),
            "percentile_95": float(np.nanpercentile(apart, 95)),
        }
        print(f"disagreement     {result['disagreement']['mean']:8.4f} eV/atom, mean absolute")
    print(json.dumps(result))

"""Four relaxations of generated crystals with CHGNet, beside atomate2's maker; last line JSON."""

import argparse
import contextlib
import io
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pymatgen.core import Structure

from crystens_flows.generators import load_generator
from crystens_flows.jobs import BatchRelaxMaker, QuadrupleRelaxMaker
from crystens_flows.relaxation import summarise_relaxation
from crystens_flows.representation import decode
from crystens_flows.schemas import RelaxDocument
from crystens_flows.screening.potentials import predict
from crystens_flows.screening.potentials.registry import load_potential


def crystals(n: int) -> list[Structure]:
    """Sample some and return those of the lowest predicted formation energy, as a run does."""
    samples = decode(load_generator("default").sample(8 * n, seed=0))
    structures = [decoded.structure for decoded in samples if decoded.structure is not None]
    energies = [found.formation_energy_per_atom for found in predict(structures)]
    order = sorted((energy, i) for i, energy in enumerate(energies) if energy is not None)
    return [structures[i] for _, i in order[:n]]


def batched(structures: list[Structure]) -> list[RelaxDocument]:
    """Run the batched job; in a worker of its own it would load the model."""
    load_potential.cache_clear()
    maker = BatchRelaxMaker()
    return BatchRelaxMaker.make.original(maker, structures).relaxations


def one_by_one(structures: list[Structure]) -> list[RelaxDocument]:
    """Run atomate2's four jobs for each, with the settings of the batched one."""
    documents = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for structure in structures:
            maker = QuadrupleRelaxMaker()
            tasks, start = [], structure
            for number in (1, 2, 3, 4):
                step = getattr(maker, f"relax_maker_{number}")
                tasks.append(type(step).make.original(step, start))
                start = tasks[-1].structure
            documents.append(summarise_relaxation(tasks, structure=structure))
    return documents


def timed(
    relax: Callable[[list[Structure]], list[RelaxDocument]], structures: list[Structure]
) -> tuple[dict[str, float], list[RelaxDocument]]:
    """Return processor and wall-clock seconds, and the documents."""
    wall, processor = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        documents = relax(structures)
    return {
        "processor": time.process_time() - processor,
        "wall": time.perf_counter() - wall,
    }, documents


def largest(ours: list[RelaxDocument], theirs: list[RelaxDocument], key: str) -> float:
    """Return the largest difference of a quantity over all structures and relaxations."""
    return max(
        float(np.abs(np.subtract(getattr(a, key), getattr(b, key))).max())
        / (a.n_sites if key == "energies" else 1)
        for a, b in zip(ours, theirs, strict=True)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=6, help="crystals")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    structures = crystals(arguments.number)
    print(
        "crystals        ",
        ", ".join(f"{s.composition.reduced_formula} ({len(s)})" for s in structures),
    )
    warm = structures[:1]
    for relax in (batched, one_by_one):  # imports are made once in a worker
        timed(relax, warm)
    result: dict[str, Any] = {"sites": [len(structure) for structure in structures]}
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        ours_s, ours = timed(batched, structures)
        theirs_s, theirs = timed(one_by_one, structures)
        found: dict[str, Any] = {
            "batched_s": ours_s,
            "atomate2_s": theirs_s,
            "ratio": {key: theirs_s[key] / ours_s[key] for key in ours_s},
            "energy_difference": largest(ours, theirs, "energies"),
            "pressure_difference": largest(ours, theirs, "pressures"),
            "ionic_steps": [sum(step.n_ionic_steps or 0 for step in each.steps) for each in ours],
        }
        result[f"threads_{threads}"] = found
        print(f"{threads} thread(s)")
        for label, seconds in (("batched", ours_s), ("atomate2's, one by one", theirs_s)):
            print(
                f"  {label:24s} {seconds['processor']:7.1f} s processor, {seconds['wall']:.1f} wall"
            )
        ratio = found["ratio"]
        print(f"  ratio {ratio['processor']:25.2f} processor, {ratio['wall']:.2f} wall")
        print(
            f"  energies differ by       {found['energy_difference']:.1e} eV/atom at most, "
            f"pressures by {found['pressure_difference']:.1e} kbar"
        )
    print(json.dumps(result))

"""
How many samples lie near the hull, beside random elements in known crystals; ends with JSON.

Energies are those of the screens, as sampled, on the hull that ships.
"""

import argparse
import json
from collections import Counter

import numpy as np
from pymatgen.core import Structure

from crystens_flows.datasets import Dataset, shipped
from crystens_flows.evaluation.energies import energies
from crystens_flows.evaluation.evaluation import METASTABLE
from crystens_flows.generators import load_generator
from crystens_flows.representation import decode


def random_elements(train: Dataset, number: int, seed: int) -> list[Structure]:
    """
    Put random elements into known crystals, each element as often as the crystals have it.

    The volume is the known one times the ratio of the sums of the elements' volumes.
    """
    volumes = load_generator("substitution").volumes
    rng = np.random.default_rng([seed, 1])
    rows = rng.integers(0, len(train.n_sites), number)
    known = list(train.structures(range(len(train.n_sites))))
    frequency = Counter(z for each in known for z in {e.Z for e in each.composition})
    elements = np.array(sorted(frequency))
    share = np.array([frequency[z] for z in elements]) / sum(frequency.values())
    made = []
    for row in rows:
        structure = known[row].copy()
        old = sorted({site.specie.Z for site in structure})
        new = rng.choice(elements, size=len(old), replace=False, p=share)
        before = structure.volume, volumes[np.array(structure.atomic_numbers)].sum()
        place = dict(zip(old, new.tolist(), strict=True))
        numbers = [place[site.specie.Z] for site in structure]
        structure = Structure(structure.lattice, numbers, structure.frac_coords)
        structure.scale_lattice(before[0] / before[1] * volumes[np.array(numbers)].sum())
        made.append(structure)
    return made


def sampled(name: str, number: int, seed: int) -> list[Structure]:
    tensors = load_generator(name).sample(number, seed)
    return [each.structure for each in decode(tensors) if each.structure is not None]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generator", default="default")
    arguments = parser.parse_args()

    data = shipped()
    held_out = data.split["holdout_a"][: arguments.number]
    sources = {
        arguments.generator: sampled(arguments.generator, arguments.number, arguments.seed),
        "substitution": sampled("substitution", arguments.number, arguments.seed),
        "random elements": random_elements(
            data.subset(data.split["train"]), arguments.number, arguments.seed
        ),
        "held-out crystals": list(data.structures(held_out)),
    }
    result = {}
    for source, structures in sources.items():
        found = [each.energy_above_hull for each in energies(structures)]
        known = [each for each in found if each is not None]
        result[source] = {
            "structures": len(structures),
            "at_most_0.1_above_hull": sum(each <= METASTABLE for each in known) / len(structures),
            "median_above_hull": float(np.median(known)),
        }
        print(
            f"{source:20} {result[source]['at_most_0.1_above_hull']:6.1%} at most 0.1 eV/atom "
            f"above the hull, median {result[source]['median_above_hull']:.3f}",
            flush=True,
        )
    least = max(result["random elements"]["at_most_0.1_above_hull"], 1 / arguments.number)
    ratio = result[arguments.generator]["at_most_0.1_above_hull"] / least
    print(f"{ratio:.1f} times as many as with random elements (goal: 2)")
    print(json.dumps({**result, "ratio_to_random_elements": ratio}))

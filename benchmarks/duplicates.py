"""Duplicates beside pymatgen's group_structures, in processor time; the last line is JSON."""

import argparse
import json
import time
import warnings
from collections import Counter

import numpy as np
from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher
from pymatgen.core import Composition, Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.screening.duplicates import find_duplicates

SITES = (12, 52)
"""Of the real crystals whose formulas are taken."""


def random_structure(rng: np.random.Generator, composition: Composition) -> Structure:
    """Make a structure of the volume atoms usually take, its atoms 1 A apart if that can be had."""
    species = [el.symbol for el, amount in composition.items() for _ in range(int(amount))]
    lattice = Lattice.from_parameters(*rng.uniform(0.7, 1.4, 3), *rng.uniform(65, 115, 3))
    lattice = lattice.scale(len(species) * rng.uniform(12, 25))
    structure = Structure(lattice, species, rng.random((len(species), 3)))
    for _ in range(50):
        if structure.is_valid(1.0):
            break
        structure = Structure(lattice, species, rng.random((len(species), 3)))
    return structure


def copy_of(rng: np.random.Generator, structure: Structure, kind: int) -> Structure:
    """Describe the same crystal otherwise: displaced, strained, as a supercell, from elsewhere."""
    copy = structure.copy()
    if kind == 0:
        copy.perturb(0.1, min_distance=0)
    elif kind == 1:
        copy = copy.apply_strain(rng.uniform(-0.03, 0.03, 3), inplace=False)
    elif kind == 2 and len(copy) <= 26:
        copy = copy * rng.permutation([1, 1, 2]).tolist()
    copy.translate_sites(range(len(copy)), rng.random(3))
    return Structure.from_sites([copy[i] for i in rng.permutation(len(copy))])


def mixed_set(
    rng: np.random.Generator, n_formulas: int, per_formula: int, copies: float
) -> list[Structure]:
    """Take the real crystals of some formulas, random ones of the same, and copies of both."""
    dataset = shipped()
    formulas = np.array(dataset.reduced_formulas)
    right_size = (dataset.n_sites >= SITES[0]) & (dataset.n_sites <= SITES[1])
    common = [name for name, _ in Counter(formulas[right_size].tolist()).most_common(200)]
    structures = []
    for name in rng.choice(common, n_formulas, replace=False):
        rows = np.flatnonzero((formulas == name) & right_size)
        own = list(dataset.structures(rows[:per_formula]))
        real = len(own)
        while len(own) < (1 - copies) * per_formula:
            own.append(random_structure(rng, own[int(rng.integers(real))].composition))
        structures += own
        structures += [
            copy_of(rng, own[int(rng.integers(len(own)))], k % 4)
            for k in range(per_formula - len(own))
        ]
    return [structures[i] for i in rng.permutation(len(structures))]


def real_set(rng: np.random.Generator, number: int, copies: float) -> list[Structure]:
    """Take real crystals, and copies of them."""
    dataset = shipped()
    own = round(number * (1 - copies))
    rows = rng.permutation(len(dataset))[: min(own, len(dataset))]
    crystals = list(dataset.structures(rows))
    more = [
        copy_of(rng, crystals[int(rng.integers(len(crystals)))], k % 4)
        for k in range(number - len(crystals))
    ]
    structures = crystals + more
    return [structures[i] for i in rng.permutation(len(structures))]


def as_groups(duplicate_of: list[int | None]) -> set[frozenset[int]]:
    groups: dict[int, set[int]] = {}
    for i, j in enumerate(duplicate_of):
        groups.setdefault(i if j is None else j, set()).add(i)
    return {frozenset(group) for group in groups.values()}


def seconds_of(structures: list[Structure]) -> tuple[float, list[int | None]]:
    started = time.process_time()
    found = find_duplicates(structures)
    return time.process_time() - started, found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--formulas", type=int, default=20)
    parser.add_argument("--per-formula", type=int, default=50)
    parser.add_argument("--copies", type=float, default=0.25, help="share of them in all sets")
    parser.add_argument("--one-formula", type=int, default=1000, help="random 20-atom cells of one")
    parser.add_argument("--sizes", type=int, nargs="*", default=[2500, 5000, 10_000])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(arguments.seed)

    structures = mixed_set(rng, arguments.formulas, arguments.per_formula, arguments.copies)
    find_duplicates(structures[:100])  # both find everything loaded
    seconds, found = seconds_of(structures)
    where = {id(structure): i for i, structure in enumerate(structures)}
    peer_seconds = -time.process_time()
    peer = StructureMatcher(comparator=ElementComparator()).group_structures(structures)
    peer_seconds += time.process_time()
    ours = as_groups(found)
    theirs = {frozenset(where[id(structure)] for structure in group) for group in peer}
    result = {
        "structures": len(structures),
        "groups": len(ours),
        "groups_that_differ": len(ours - theirs),
        "seconds": seconds,
        "group_structures_seconds": peer_seconds,
        "ratio": peer_seconds / seconds,
    }
    print(f"{len(structures)} structures of {arguments.formulas} formulas: {len(ours)} crystals")
    print(f"find_duplicates   {seconds:8.1f} s")
    print(f"group_structures  {peer_seconds:8.1f} s, ratio {result['ratio']:.0f}")
    print(f"groups that differ {len(ours - theirs):7d}", flush=True)
    for group in sorted(map(sorted, ours - theirs)):
        print(f"  {group}: {[structures[i].composition.formula for i in group]}")

    result["real"] = {n: seconds_of(real_set(rng, n, arguments.copies))[0] for n in arguments.sizes}
    for n, taken in result["real"].items():
        print(f"{n:6d} real crystals  {taken:8.1f} s", flush=True)
    if len(result["real"]) > 1:
        sizes, times = np.log(list(result["real"])), np.log(list(result["real"].values()))
        result["exponent"] = float(np.polyfit(sizes, times, 1)[0])
        print(f"exponent {result['exponent']:.2f}")

    alike = [random_structure(rng, Composition("Ca4Ti4O12")) for _ in range(arguments.one_formula)]
    result["one_formula"] = {
        n: seconds_of(alike[:n])[0] for n in (len(alike) // 4, len(alike) // 2, len(alike)) if n
    }
    for n, taken in result["one_formula"].items():
        print(f"{n:6d} random of one formula {taken:8.1f} s", flush=True)
    print(json.dumps(result))

"""Speed of finding duplicates beside pymatgen's group_structures; the last line is JSON."""

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

MAX_SITES = 24


def random_structure(rng: np.random.Generator, composition: Composition) -> Structure:
    """Make a structure of the volume an atom usually has, with atoms 1 A apart at least if it can be."""
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
    elif kind == 2 and len(copy) <= MAX_SITES:
        copy = copy * rng.permutation([1, 1, 2]).tolist()
    copy.translate_sites(range(len(copy)), rng.random(3))
    return Structure.from_sites([copy[i] for i in rng.permutation(len(copy))])


def mixed_set(rng: np.random.Generator, n_formulas: int, per_formula: int) -> list[Structure]:
    """Take the real crystals of some formulas, random ones of the same, and copies of both."""
    dataset = shipped()
    formulas = np.array(dataset.reduced_formulas)
    common = [name for name, _ in Counter(formulas[dataset.n_sites <= MAX_SITES]).most_common(200)]
    structures = []
    for name in rng.choice(common, n_formulas, replace=False):
        rows = np.flatnonzero((formulas == name) & (dataset.n_sites <= MAX_SITES))[: per_formula // 5]
        own = list(dataset.structures(rows))
        while len(own) < per_formula // 2:
            own.append(random_structure(rng, own[int(rng.integers(len(rows)))].composition))
        copies = [
            copy_of(rng, own[int(rng.integers(len(own)))], k % 4)
            for k in range(per_formula - len(own))
        ]
        structures += own + copies
    return [structures[i] for i in rng.permutation(len(structures))]


def as_groups(structures: list[Structure], duplicate_of: list[int | None]) -> set[frozenset[int]]:
    groups: dict[int, set[int]] = {}
    for i, j in enumerate(duplicate_of):
        groups.setdefault(i if j is None else j, set()).add(i)
    return {frozenset(group) for group in groups.values()}


def seconds_of(structures: list[Structure]) -> tuple[float, list[int | None]]:
    started = time.perf_counter()
    found = find_duplicates(structures)
    return time.perf_counter() - started, found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--formulas", type=int, default=20)
    parser.add_argument("--per-formula", type=int, default=50)
    parser.add_argument("--one-formula", type=int, default=1000, help="random 20-atom cells of one")
    parser.add_argument("--sizes", type=int, nargs="*", default=[2500, 5000, 10_000])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(arguments.seed)

    structures = mixed_set(rng, arguments.formulas, arguments.per_formula)
    seconds, found = seconds_of(structures)
    where = {id(structure): i for i, structure in enumerate(structures)}
    peer_seconds = -time.perf_counter()
    peer = StructureMatcher(comparator=ElementComparator()).group_structures(structures)
    peer_seconds += time.perf_counter()
    ours = as_groups(structures, found)
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

    # Real crystals; beyond the data set's end its crystals come again, as copies.
    dataset = shipped()
    rows = rng.permutation(len(dataset))
    many = [dataset.structure(int(rows[i % len(rows)])) for i in range(max(arguments.sizes or [0]))]
    many = [s if i < len(rows) else copy_of(rng, s, i % 4) for i, s in enumerate(many)]
    result["real"] = {n: seconds_of(many[:n])[0] for n in arguments.sizes}
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

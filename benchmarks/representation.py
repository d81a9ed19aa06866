"""
Round trip, robustness to noise and speed of encode and decode, beside a plain loop.

Everything runs on one thread; rates are by CPU time. The last line is JSON.
"""

import argparse
import json
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from threadpoolctl import threadpool_limits

from crystens_flows.representation import MAX_SITES, REFERENCE, decode, encode
from crystens_flows.representation.space_group import find_space_group

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "representation"))
import plain_loop

SIGMAS = (0.005, 0.01, 0.02)
GOALS = {0.005: 97, 0.01: 80, 0.02: 40}
FIRST_SITE = 12

FIRST_OF_MPTS_52 = 14258
"""Row of the shipped crystals where those of MPTS-52, of up to 52 sites, begin."""


def space_group_number(structure: Structure) -> int | None:
    return find_space_group(
        structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers
    )


def load(path: str | None, n: int) -> list[Structure]:
    if path is None:
        from crystens_flows.datasets import shipped

        return list(shipped().structures(range(FIRST_OF_MPTS_52, FIRST_OF_MPTS_52 + n)))
    import pandas as pd

    cifs = pd.read_csv(path, usecols=["cif"], nrows=n)["cif"]
    return [Structure.from_str(cif, fmt="cif") for cif in cifs]


def same(decoded: Structure | None, structure: Structure) -> bool:
    """Compare site by site, within 1e-3 A, 1e-3 degrees and 1e-3 in fractional coordinates."""
    if decoded is None or decoded.atomic_numbers != structure.atomic_numbers:
        return False
    lattice = np.subtract(decoded.lattice.parameters, structure.lattice.parameters)
    coordinates = decoded.frac_coords - structure.frac_coords
    return bool(max(np.abs(lattice).max(), np.abs(coordinates).max()) < 1e-3)


def best_of(repeats: int, call: Callable[[], Any]) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return min(seconds)


def grouped_perfectly(tensor: np.ndarray, numbers: list[int]) -> bool:
    """Tell whether the atomic numbers come out right when the atoms of an element are known."""
    sites = slice(FIRST_SITE, FIRST_SITE + len(numbers))
    copies = np.concatenate([tensor[:, 0, sites], tensor[:, sites, 0]]).astype(float)
    low, high = REFERENCE.ranges["atomic_number"]
    means = copies.mean(axis=0) * (high - low) + low
    elements, group = np.unique(numbers, return_inverse=True)
    return bool((np.rint(np.bincount(group, means) / np.bincount(group)) == elements).all())


def noise(
    structures: list[Structure], tensors: np.ndarray, sigma: float, seeds: int
) -> dict[str, float]:
    """Return percentages over all structures and seeds."""
    matcher = StructureMatcher()
    matched = sites = allowed = 0
    seconds = 0.0
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        noisy = tensors + sigma * generator.standard_normal(tensors.shape, dtype=np.float32)
        began = time.process_time()
        decoded = [result.structure for result in decode(noisy)]
        seconds += time.process_time() - began
        for found, structure, tensor in zip(decoded, structures, noisy, strict=True):
            sites += found is not None and len(found) == len(structure)
            matched += found is not None and bool(matcher.fit(found, structure))
            allowed += grouped_perfectly(tensor, structure.atomic_numbers)
    total = seeds * len(structures)
    return {
        "matched": 100 * matched / total,
        "right_number_of_sites": 100 * sites / total,
        "allowed_by_noise_in_z": 100 * allowed / total,
        "decoded_per_second": total / seconds,
    }


def speed(structures: list[Structure], groups: list[int], n_peer: int) -> dict[str, float]:
    """Return structures a second."""
    few = structures[:: max(len(structures) // n_peer, 1)]
    few_groups = groups[:: max(len(structures) // n_peer, 1)]
    ranges = REFERENCE.ranges
    tensors = encode(structures, groups)
    few_tensors = encode(few, few_groups)

    def plain_encode() -> None:
        for structure, group in zip(few, few_groups, strict=True):
            plain_loop.encode(structure, group, ranges)

    def plain_decode(elements: int | None, coordinates: int | None) -> None:
        for tensor in few_tensors:
            plain_loop.decode(tensor, ranges, elements, coordinates)

    n, m = len(structures), len(few)
    return {
        "encode": n / best_of(5, lambda: encode(structures, groups)),
        "encode_finding_space_groups": m / best_of(2, lambda: encode(few)),
        "spglib": m / best_of(2, lambda: [space_group_number(structure) for structure in few]),
        "encode_plain_loop": m / best_of(2, plain_encode),
        "decode": n / best_of(5, lambda: decode(tensors)),
        "decode_plain_loop": m / best_of(2, lambda: plain_decode(3, 6)),
        "decode_plain_loop_without_kmeans": m / best_of(2, lambda: plain_decode(None, None)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="CSV(.gz) with a column `cif`; default: MPTS-52 as shipped")
    parser.add_argument("-n", "--number", type=int, default=500, help="structures (default 500)")
    parser.add_argument("--n-noise", type=int, default=100, help="evenly spaced ones made noisy")
    parser.add_argument("--seeds", type=int, default=1, help="realisations of the noise")
    parser.add_argument("--n-peer", type=int, default=50, help="structures for the plain loop")
    arguments = parser.parse_args()
    print("command: python " + shlex.join(sys.argv))

    structures = load(arguments.data, arguments.number)
    structures = [structure for structure in structures if len(structure) <= MAX_SITES]
    groups = [space_group_number(structure) or 1 for structure in structures]
    n = len(structures)
    result: dict[str, Any] = {"data": arguments.data or "shipped", "structures": n}

    tensors = encode(structures, groups)
    decoded = decode(tensors)
    equal = sum(
        same(found.structure, structure) and found.space_group == group
        for found, structure, group in zip(decoded, structures, groups, strict=True)
    )
    result["round_trip_equal"] = equal
    print(f"round trip        {equal} of {n} equal (goal: all; reference code 243 of 500)")

    chosen = np.linspace(0, n, min(arguments.n_noise, n), endpoint=False).astype(int)
    result["noise"] = {}
    for sigma in SIGMAS:
        found = noise([structures[i] for i in chosen], tensors[chosen], sigma, arguments.seeds)
        result["noise"][str(sigma)] = found
        print(
            f"noise {sigma:<6}      {found['matched']:.1f} % equal (goal {GOALS[sigma]} %; atoms "
            f"grouped perfectly, this noise in Z allows {found['allowed_by_noise_in_z']:.1f} %); "
            f"{found['right_number_of_sites']:.1f} % right number of sites; "
            f"{found['decoded_per_second']:.0f}/s"
        )

    rates = speed(structures, groups, arguments.n_peer)
    result["per_second"] = rates
    result["encode_times_plain_loop"] = rates["encode"] / rates["encode_plain_loop"]
    result["decode_times_plain_loop"] = rates["decode"] / rates["decode_plain_loop"]
    print(
        f"encode            {rates['encode']:.0f}/s with space groups given (aim 10000), "
        f"{rates['encode_finding_space_groups']:.0f}/s without (aim 1500; spglib alone "
        f"{rates['spglib']:.0f}/s); plain loop "
        f"{rates['encode_plain_loop']:.0f}/s: {result['encode_times_plain_loop']:.0f} times "
        "(goal 40)"
    )
    print(
        f"decode            {rates['decode']:.0f}/s (aim 2000); plain loop "
        f"{rates['decode_plain_loop']:.0f}/s: {result['decode_times_plain_loop']:.0f} times "
        f"(goal 40); plain loop without K-means "
        f"{rates['decode_plain_loop_without_kmeans']:.0f}/s"
    )
    print(json.dumps(result))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of the CIF parser, about rounded coordinates
    with threadpool_limits(1):
        main()

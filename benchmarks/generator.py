"""Validity of samples of a generator, and how fast they are made; the last line is JSON."""

import argparse
import json
import time

from crystens_flows.datasets import shipped
from crystens_flows.generators import load_generator
from crystens_flows.representation import decode
from crystens_flows.screening.validity import smact_validity, structural_validity

CHUNK = 250


def share(values: list[bool]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generator", default="default")
    arguments = parser.parse_args()

    generator = load_generator(arguments.generator)
    decoded, seconds = [], 0.0
    for start in range(0, arguments.number, CHUNK):
        began = time.perf_counter()
        tensors = generator.sample(min(CHUNK, arguments.number - start), arguments.seed, start)
        seconds += time.perf_counter() - began
        decoded += decode(tensors)
    structures = [d.structure for d in decoded]
    structural = [s is not None and structural_validity(s) is None for s in structures]
    composition = [s is not None and bool(smact_validity(s)) for s in structures]
    both = [a and b for a, b in zip(structural, composition, strict=True)]
    formulas = {s.composition.reduced_formula for s in structures if s is not None}

    dataset = shipped()
    held_out = [bool(smact_validity(s)) for s in dataset.structures(dataset.split["holdout_a"])]
    result = {
        "samples": arguments.number,
        "seed": arguments.seed,
        "structurally_valid": share(structural),
        "smact_valid": share(composition),
        "both": share(both),
        "distinct_formulas": len(formulas) / arguments.number,
        "smact_valid_of_held_out_data": share(held_out),
        "samples_per_second": arguments.number / seconds,
        "checkpoint_sha256": generator.sha256,
    }
    print(f"structurally valid   {result['structurally_valid']:7.1%} (goal: 95 %)")
    print(f"valid composition    {result['smact_valid']:7.1%} (goal: 75 %; held-out data: ", end="")
    print(f"{result['smact_valid_of_held_out_data']:.1%})")
    print(f"both                 {result['both']:7.1%}")
    print(f"distinct formulas    {result['distinct_formulas']:7.1%}")
    print(f"speed                {result['samples_per_second']:7.1f} samples/s")
    print(json.dumps(result))

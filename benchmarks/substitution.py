"""Quality and speed of the generator that substitutes ions; the last line is JSON."""

import argparse
import json
import time

import numpy as np

from crystens_flows.datasets import Dataset, shipped
from crystens_flows.errors import InputError
from crystens_flows.evaluation.prediction import match_rate
from crystens_flows.evaluation.symmetry import coarse_space_group
from crystens_flows.generators import load_generator
from crystens_flows.generators.conditions import Conditions
from crystens_flows.representation import decode
from crystens_flows.screening.duplicates import find_duplicates
from crystens_flows.screening.novelty import KnownCrystals
from crystens_flows.screening.validity import smact_validity, structural_validity

SPEED_SAMPLES = 1000


def chosen(dataset: Dataset, split: str, number: int) -> np.ndarray:
    rows = np.random.default_rng(0).permutation(dataset.split[split])[:number]
    return np.sort(rows)


def volume_errors(generator, crystals) -> dict[str, float]:
    """Return mean absolute relative errors of the volume of an atom, by two estimates."""
    ratio, total = [], []
    for i, crystal in enumerate(crystals):
        asked = {
            "formula": crystal.composition.reduced_formula,
            "space_group": coarse_space_group(crystal),
        }
        try:
            tensors = generator.sample(1, 0, i, conditions=Conditions(**asked))
        except InputError:
            continue
        structure = decode(tensors)[0].structure
        true = crystal.volume / len(crystal)
        numbers = np.array(structure.atomic_numbers)
        ratio.append(structure.volume / len(numbers) / true - 1)
        total.append(generator.volumes[numbers].mean() / true - 1)
    return {
        "crystals": len(ratio),
        "template_times_ratio": float(np.abs(ratio).mean()),
        "sum_of_elements": float(np.abs(total).mean()),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=500, help="Samples.")
    parser.add_argument("--crystals", type=int, default=200, help="Of each hold-out.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generator", default="substitution")
    arguments = parser.parse_args()

    began = time.perf_counter()
    generator = load_generator(arguments.generator)
    loading = time.perf_counter() - began
    structures = [d.structure for d in decode(generator.sample(arguments.number, arguments.seed))]
    found = [s for s in structures if s is not None]
    dataset = shipped()
    train = dataset.subset(dataset.split["train"])
    formulas = set(train.reduced_formulas)
    known = KnownCrystals.from_dataset(train)
    structural = [structural_validity(s) is None for s in found]
    composition = [bool(smact_validity(s)) for s in found]
    n = arguments.number
    result: dict[str, object] = {
        "samples": n,
        "charge_balanced_templates": float(generator.roles.charged.mean()),
        "structurally_valid": sum(structural) / n,
        "composition_valid": sum(composition) / n,
        "both": sum(a and b for a, b in zip(structural, composition, strict=True)) / n,
        "unique": sum(copy is None for copy in find_duplicates(found)) / n,
        "novel": sum(match is None for match in known.find(found)) / n,
        "new_formula": sum(s.composition.reduced_formula not in formulas for s in found) / n,
        "loading_seconds": loading,
    }
    for name, conditions in (
        ("samples_per_second", None),
        ("samples_per_second_formula", Conditions(formula="SrTiO3")),
        ("samples_per_second_space_group", Conditions(space_group=62)),
        ("samples_per_second_space_group_225", Conditions(space_group=225)),
    ):
        began, cpu = time.perf_counter(), time.process_time()
        generator.sample(SPEED_SAMPLES, 1, conditions=conditions)
        result[name] = SPEED_SAMPLES / (time.perf_counter() - began)
        result[f"{name}_of_cpu_time"] = SPEED_SAMPLES / (time.process_time() - cpu)
    for split in ("holdout_a", "holdout_b"):
        rows = chosen(dataset, split, arguments.crystals)
        crystals = list(dataset.structures(rows))
        for given in (True, False):
            rate = match_rate(generator, crystals, arguments.seed, with_space_group=given)
            name = f"{split}, formula{' and space group' if given else ''}"
            result[name] = {
                "matched_of_all": rate.matched,
                "with_template": rate.answered,
                "matched_of_those": rate.matched / rate.answered,
                "rmse": rate.rmse,
            }
    result["volume"] = volume_errors(
        generator, list(dataset.structures(chosen(dataset, "validation", 300)))
    )
    for name, value in result.items():
        print(f"{name:45} {value if isinstance(value, (int, dict)) else round(value, 4)}")
    print(json.dumps(result))

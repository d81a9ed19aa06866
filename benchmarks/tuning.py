"""Disturbed crystals that get their space group back, with and without CHGNet; last line JSON."""

import argparse
import json
import time
import warnings

import numpy as np
import torch
from pymatgen.core import Element, Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from crystens_flows.datasets import shipped
from crystens_flows.representation.space_group import quiet_spglib
from crystens_flows.screening.potentials import predict
from crystens_flows.screening.symmetrize import space_group_number
from crystens_flows.screening.tuning import tune
from crystens_flows.screening.validity import smact_validity

SIZE = 0.02
"""Of a displacement, in fractional coordinates."""

LADDER = (0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 1.0)


def disturb(rng: np.random.Generator, structure: Structure, kind: str) -> Structure:
    """Displace sites in fractional coordinates, and each lattice parameter by 1 %."""
    if kind == "undisturbed":
        return structure
    shifts = rng.normal(size=(len(structure), 3))
    if kind == "length 0.02":
        shifts /= np.linalg.norm(shifts, axis=1, keepdims=True)
    parameters = np.array(structure.lattice.parameters) * (1 + 0.01 * rng.normal(size=6))
    coords = structure.frac_coords + SIZE * shifts
    return Structure(Lattice.from_parameters(*parameters), structure.species, coords)


def energies(structures: list[Structure]) -> list[float | None]:
    return [prediction.formation_energy_per_atom for prediction in predict(structures)]


def spglib_refined(structure: Structure, symprec: float) -> int:
    """Find the space group of what spglib makes of a structure at one tolerance."""
    with quiet_spglib():
        try:
            return space_group_number(
                SpacegroupAnalyzer(structure, symprec).get_refined_structure()
            )
        except Exception:  # noqa: BLE001
            return 1


def spoil(rng: np.random.Generator, structure: Structure) -> Structure | None:
    """Replace one element by its neighbour so that charges balance no more, if that can be."""
    numbers = sorted({site.specie.Z for site in structure})
    for z in rng.permutation(numbers):
        for step in rng.permutation([-1, 1]):
            if 1 <= z + step <= 83 and z + step not in numbers:
                spoiled = structure.copy()
                spoiled.replace_species({Element.from_Z(z): Element.from_Z(z + step)})
                if smact_validity(spoiled) is False:
                    return spoiled
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=300)
    parser.add_argument("--elements", type=int, default=100, help="crystals of a spoiled element")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rng = np.random.default_rng(arguments.seed)
    dataset = shipped()
    rows = rng.permutation(dataset.split["holdout_a"])
    crystals = list(dataset.structures(rows[: arguments.number]))
    own = [space_group_number(crystal) for crystal in crystals]
    operations = [
        len(SpacegroupAnalyzer(crystal).get_symmetry_operations()) for crystal in crystals
    ]
    result: dict = {"crystals": len(crystals)}

    for kind in ("gaussian 0.02", "length 0.02", "undisturbed"):
        disturbed = [disturb(rng, crystal, kind) for crystal in crystals]
        entry = {}
        for label, model in (("geometry alone", None), ("with CHGNet", energies)):
            started = time.process_time()
            tuned = tune(disturbed, model)
            seconds = time.process_time() - started
            after = [one.space_group_after or 1 for one in tuned]
            higher = [
                found != number
                and len(SpacegroupAnalyzer(one.structure).get_symmetry_operations()) > count
                for found, number, one, count in zip(after, own, tuned, operations, strict=True)
            ]
            entry[label] = {
                "back": float(np.mean([a == b for a, b in zip(after, own, strict=True)])),
                "higher": float(np.mean(higher)),
                "milliseconds_each": 1000 * seconds / len(crystals),
            }
            if kind == "undisturbed":
                moved = [one.max_displacement for one, up in zip(tuned, higher, strict=True) if up]
                entry[label]["higher_moved_by"] = sorted(round(m, 3) for m in moved)
        if kind != "undisturbed":
            entry["spglib"] = {
                symprec: float(
                    np.mean(
                        [
                            spglib_refined(structure, symprec) == number
                            for structure, number in zip(disturbed, own, strict=True)
                        ]
                    )
                )
                for symprec in LADDER
            }
        result[kind] = entry
        print(f"{kind}:")
        for label in ("geometry alone", "with CHGNet"):
            one = entry[label]
            print(
                f"  {label:15s} {one['back']:7.1%} have their space group, {one['higher']:.1%} a "
                f"higher one; {one['milliseconds_each']:.0f} ms each"
            )
        if kind == "undisturbed":
            print(f"  those moved by   {entry['with CHGNet']['higher_moved_by']} A")
        else:
            best = max(entry["spglib"], key=entry["spglib"].get)
            print(
                f"  spglib, refined {entry['spglib'][best]:7.1%} at best, at {best} A", flush=True
            )

    spoiled, spoiled_from = [], []
    for crystal in dataset.structures(rows):
        if len(spoiled) == arguments.elements:
            break
        if smact_validity(crystal) and (bad := spoil(rng, crystal)) is not None:
            spoiled.append(bad)
            spoiled_from.append(crystal)
    tuned = tune(spoiled, energies)
    result["spoiled"] = {
        "structures": len(spoiled),
        "possible_again": float(np.mean([bool(smact_validity(one.structure)) for one in tuned])),
        "as_they_were": float(
            np.mean(
                [
                    one.structure.composition == crystal.composition
                    for one, crystal in zip(tuned, spoiled_from, strict=True)
                ]
            )
        ),
    }
    print(
        f"{len(spoiled)} with one element spoiled: {result['spoiled']['possible_again']:.0%} are "
        f"possible again, {result['spoiled']['as_they_were']:.0%} with the element they had"
    )
    print(json.dumps(result))

"""Energies above hull beside pymatgen's PhaseDiagram, of held-out crystals; last line JSON."""

import argparse
import json
import time
import warnings

import numpy as np
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from crystens_flows.datasets import shipped
from crystens_flows.screening.hull import HullReference, HullShift


def peer_entries(reference: HullReference, names: list[str], excluded: str) -> list[PDEntry]:
    """Make the entries of a system as pymatgen wants them, total energies and all elements."""
    entries = [PDEntry(Composition(name), 0.0) for name in names]
    numbers = {0} | {Element(name).Z for name in names}
    for row in np.flatnonzero(np.isin(reference.numbers, list(numbers)).all(axis=1)):
        if reference.ids[row] != excluded:
            composition = Composition(reference.formulas[row])
            entries.append(PDEntry(composition, reference.energies[row] * composition.num_atoms))
    return entries


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=500)
    parser.add_argument("--many", type=int, default=5000)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    dataset = shipped()
    loading = -time.perf_counter()
    reference = HullReference.shipped()
    loading += time.perf_counter()
    held_out = np.concatenate([dataset.split["holdout_a"], dataset.split["holdout_b"]])
    held_out = held_out[np.isfinite(dataset.formation_energy_per_atom[held_out])]
    judged = reference.evaluate(
        [dataset.reduced_formulas[i] for i in held_out],
        dataset.formation_energy_per_atom[held_out],
    )
    known = np.array([one.reason is None for one in judged])
    unjudged = sorted({one.reason for one in judged if one.reason is not None})
    held_out, left_out = held_out[known], int((~known).sum())
    chosen = held_out[np.linspace(0, len(held_out) - 1, arguments.number).astype(int)]
    compositions = [structure.composition for structure in dataset.structures(chosen)]
    energies = dataset.formation_energy_per_atom[chosen].astype(float)
    ids = [dataset.material_ids[i] for i in chosen]

    # the entries of the peer are ready before its clock starts
    entries = [
        peer_entries(reference, [element.symbol for element in composition], name)
        for composition, name in zip(compositions, ids, strict=True)
    ]
    candidates = [
        PDEntry(composition, energy * composition.num_atoms)
        for composition, energy in zip(compositions, energies, strict=True)
    ]
    peer = []
    peer_seconds = -time.perf_counter()
    for candidate, others in zip(candidates, entries, strict=True):
        diagram = PhaseDiagram(others)
        peer.append(diagram.get_e_above_hull(candidate, allow_negative=True))
    peer_seconds += time.perf_counter()

    reference.evaluate(compositions[:1], energies[:1])
    fresh = HullReference.from_rows(
        reference.name,
        zip(reference.formulas, reference.ids, reference.formulas, reference.energies, strict=True),
    )
    fresh.evaluate(["H2O"], [0.0], exclude=[{"mp-149"}])
    seconds = -time.perf_counter()
    results = fresh.evaluate(compositions, energies, exclude=[{name} for name in ids])
    seconds += time.perf_counter()
    above = np.array([result.energy_above_hull for result in results])
    difference = np.abs(above - np.array(peer)).max()

    rows = [int(i) for i in held_out[np.arange(arguments.many) % len(held_out)]]
    rng = np.random.default_rng(0)
    many = [dataset.structure(i).composition for i in rows]
    many_energies = dataset.formation_energy_per_atom[rows] + rng.normal(0, 0.1, len(rows))
    many_seconds = -time.perf_counter()
    fresh.evaluate(many, many_energies, exclude=[{dataset.material_ids[i]} for i in rows])
    many_seconds += time.perf_counter()
    ranking = -time.perf_counter()
    fresh.rank_in_system(many, many_energies)
    ranking += time.perf_counter()

    theirs = {name: row for row, name in enumerate(reference.ids)}
    common = [i for i in held_out if dataset.material_ids[i] in theirs]
    before = dataset.formation_energy_per_atom[common].astype(float)
    target = reference.energies[[theirs[dataset.material_ids[i]] for i in common]]
    shifted = HullShift.shipped().apply(
        [structure.composition for structure in dataset.structures(common)], before
    )
    after = np.array([one.formation_energy_per_atom for one in shifted])

    result = {
        "crystals": len(chosen),
        "held_out": len(held_out),
        "not_judged": left_out,
        "entries": len(reference),
        "load_seconds": loading,
        "entries_each": float(np.mean([len(others) for others in entries])),
        "largest_difference": float(difference),
        "per_second": len(chosen) / seconds,
        "pymatgen_per_second": len(chosen) / peer_seconds,
        "ratio": peer_seconds / seconds,
        "elements_only": sum(one.elements_only for one in results),
        "many": arguments.many,
        "many_seconds": many_seconds,
        "rank_seconds": ranking,
        "held_out_in_both": len(common),
        "mean_difference_before_shift": float(np.abs(target - before).mean()),
        "mean_difference_after_shift": float(np.abs(target - after).mean()),
        "median_difference_before_shift": float(np.median(np.abs(target - before))),
        "median_difference_after_shift": float(np.median(np.abs(target - after))),
    }
    print(f"held out       {len(held_out):8d} crystals; {left_out} not judged: {unjudged}")
    print(f"hull           {result['per_second']:8.0f} crystals/s, each without its own entry")
    print(f"pymatgen       {result['pymatgen_per_second']:8.0f} crystals/s, a diagram for each")
    print(f"ratio          {result['ratio']:8.1f}")
    print(f"difference     {result['largest_difference']:8.1e} eV/atom at most")
    print(
        f"many           {many_seconds:8.1f} s for {arguments.many} candidates against "
        f"{len(reference)} entries; {ranking:.1f} s to rank them against each other too"
    )
    print(
        f"shift          {result['mean_difference_before_shift']:8.4f} before, "
        f"{result['mean_difference_after_shift']:.4f} eV/atom after, mean; "
        f"{result['median_difference_before_shift']:.4f} and "
        f"{result['median_difference_after_shift']:.4f} median, {len(common)} crystals held out"
    )
    print(json.dumps(result))

"""Predicted energies above hull of held-out crystals beside the data set's own; last line JSON."""

import argparse
import json
import warnings

import numpy as np
import torch

from crystens_flows.datasets import shipped
from crystens_flows.schemas import ScreenRecord
from crystens_flows.screening.consensus import combine
from crystens_flows.screening.hull import HullReference, HullShift
from crystens_flows.screening.pipeline import ScreeningOptions
from crystens_flows.screening.screens import Candidate

STABLE, FILTER = 0.0, 0.1


def energies_by_model(structures) -> dict[str, list[float | None]]:
    """Ask all energy models that are installed, and take their consensus."""
    options = ScreeningOptions(known=None)
    candidates = [Candidate(str(i), structure) for i, structure in enumerate(structures)]
    records: dict[str, list[ScreenRecord]] = {
        screen.name: screen.screen(candidates)
        for screen in options.screens()
        if screen.name in options.models
    }
    energies = {
        name: [record.formation_energy_per_atom for record in found]
        for name, found in records.items()
    }
    agreed = [
        combine({name: values[i] for name, values in energies.items()})
        for i in range(len(structures))
    ]
    consensus = [None if a is None else a.formation_energy_per_atom for a in agreed]
    return {**energies, "consensus": consensus}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)

    dataset = shipped()
    held_out = np.concatenate([dataset.split["holdout_a"], dataset.split["holdout_b"]])
    held_out = held_out[np.isfinite(dataset.energy_above_hull[held_out])]
    chosen = held_out[np.linspace(0, len(held_out) - 1, arguments.number).astype(int)]
    own = dataset.energy_above_hull[chosen]
    structures = list(dataset.structures(chosen))
    compositions = [structure.composition for structure in structures]
    ids = [{dataset.material_ids[row]} for row in chosen]
    reference, shift = HullReference.shipped(), HullShift.shipped()
    energies = energies_by_model(structures)
    energies["Materials Project"] = dataset.formation_energy_per_atom[chosen].astype(float).tolist()

    print(f"{len(chosen)} held-out crystals, own entry taken out of the hull; eV/atom")
    print(f"{'energy of':<18} {'MAE':>6} {'median':>7} {'kept':>10} {'of the stable':>14}")
    result = {"structures": len(chosen)}
    for name, values in energies.items():
        shifted = [each.formation_energy_per_atom for each in shift.apply(compositions, values)]
        found = reference.evaluate(compositions, shifted, exclude=ids)
        above = np.array([np.nan if r.reason else r.energy_above_hull for r in found], dtype=float)
        # the data set's own value of a crystal on the hull is zero, however far below the others
        error = np.abs(np.maximum(above, 0.0) - own)
        stable = own <= STABLE
        kept = above <= FILTER
        result[name] = {
            "mean_absolute_error": float(np.nanmean(error)),
            "median_absolute_error": float(np.nanmedian(error)),
            "not_judged": int(np.isnan(above).sum()),
            "kept": int(kept.sum()),
            "stable": int(stable.sum()),
            "stable_kept": int((kept & stable).sum()),
        }
        part = result[name]
        print(
            f"{name:<18} {part['mean_absolute_error']:6.3f} {part['median_absolute_error']:7.3f} "
            f"{part['kept']:10d} {part['stable_kept']:6d} of {part['stable']}"
        )
    print(json.dumps(result))

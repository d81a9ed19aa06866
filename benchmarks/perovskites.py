"""
Predicted energies above hull of hypothetical perovskites beside DFT's; last line JSON.

The data set is public: the test set of Perov-5, as CDVAE ships it, after I. E. Castelli et al.,
Energy Environ. Sci. 5, 9034 (2012). Its `heat_all` is an energy above competing phases.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from energy_above_hull import energies_by_model
from pymatgen.core import Structure
from scipy.stats import spearmanr

from crystens_flows.screening.hull import load_hull

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CSV with cif and heat_all")
    parser.add_argument("-n", "--number", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)

    table = pd.read_csv(arguments.data)
    table = table.iloc[np.linspace(0, len(table) - 1, arguments.number).astype(int)]
    structures = [Structure.from_str(cif, fmt="cif") for cif in table["cif"]]
    compositions = [structure.composition for structure in structures]
    own = table["heat_all"].to_numpy(dtype=float)

    print(
        f"{len(structures)} perovskites, {own.mean():.2f} eV/atom above competing phases; eV/atom"
    )
    print(f"{'energy of':<10} {'judged':>6} {'Spearman':>9} {'MAE':>6} {'mean difference':>16}")
    result = {"structures": len(structures), "mean_heat": float(own.mean())}
    for name, energies in energies_by_model(structures).items():
        found = load_hull().evaluate(compositions, energies)
        above = np.array([one.energy_above_hull for one, _ in found], dtype=float)
        judged = np.isfinite(above)
        difference = (above - own)[judged]
        result[name] = part = {
            "judged": int(judged.sum()),
            "spearman": float(spearmanr(above[judged], own[judged]).statistic),
            "mean_absolute_error": float(np.abs(difference).mean()),
            "mean_difference": float(difference.mean()),
        }
        print(
            f"{name:<10} {part['judged']:6d} {part['spearman']:9.3f} "
            f"{part['mean_absolute_error']:6.3f} {part['mean_difference']:16.3f}"
        )
    print(json.dumps(result))

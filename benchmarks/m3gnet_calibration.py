"""Figures of M3GNet: how far its uncertainties hold on the hold-outs, and its learning curve."""

import argparse
import csv
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm, spearmanr

from crystens_flows.datasets import shipped
from crystens_flows.screening.m3gnet.model import load_m3gnet

BINS = 10
LEVELS = np.linspace(0.02, 0.98, 49)


def errors_and_sigmas(model, split):
    """Return absolute errors and uncertainties of a split of the shipped crystals, eV/atom."""
    dataset = shipped()
    rows = dataset.split[split]
    found = model.predict(list(dataset.structures(rows)))
    values = np.array(
        [
            (abs(each.formation_energy_per_atom - known), each.uncertainty)
            for each, known in zip(found, dataset.formation_energy_per_atom[rows], strict=True)
            if each.reason is None
        ]
    )
    return values[:, 0], values[:, 1]


def draw_calibration(measured, path):
    figure, (coverage, binned) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    coverage.plot([0, 1], [0, 1], color="0.6", lw=1)
    top = 0.0
    for name, (errors, sigmas) in measured.items():
        within = [np.mean(errors <= sigmas * norm.ppf((1 + level) / 2)) for level in LEVELS]
        coverage.plot(LEVELS, within, label=name)
        groups = np.array_split(np.argsort(sigmas), BINS)
        x = [np.sqrt(np.mean(sigmas[g] ** 2)) for g in groups]
        y = [np.quantile(errors[g], norm.cdf(1) - norm.cdf(-1)) for g in groups]
        binned.plot(x, y, "o-", ms=4, label=name)
        top = max(top, *x, *y)
    binned.plot([0, top], [0, top], color="0.6", lw=1)
    coverage.set(xlabel="expected share of errors within", ylabel="observed share")
    binned.set(
        xlabel="uncertainty, a tenth of the crystals each (eV/atom)",
        ylabel="68 % of errors are below (eV/atom)",
    )
    coverage.legend(frameon=False)
    binned.legend(frameon=False)
    figure.savefig(path)
    plt.close(figure)


def draw_learning_curve(table, path):
    with table.open(newline="") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: int(row["n_train"]))
    sizes = [int(row["n_train"]) for row in rows]
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    for name in rows[0]:
        if name != "n_train":
            axes.loglog(sizes, [float(row[name]) for row in rows], "o-", label=name)
    axes.set(xlabel="training structures", ylabel="mean absolute error (eV/atom)")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the figures")
    parser.add_argument("--model", default="default")
    parser.add_argument(
        "--curve", type=Path, help="CSV file: n_train, and a column for each mean absolute error"
    )
    parser.add_argument("--format", choices=["svg", "png"], default="svg")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    plt.rcParams["svg.hashsalt"] = "m3gnet"

    model = load_m3gnet(arguments.model)
    measured = {split: errors_and_sigmas(model, split) for split in ("holdout_a", "holdout_b")}
    draw_calibration(measured, arguments.output / f"m3gnet-calibration.{arguments.format}")
    if arguments.curve is not None:
        path = arguments.output / f"m3gnet-learning-curve.{arguments.format}"
        draw_learning_curve(arguments.curve, path)
    result = {}
    for split, (errors, sigmas) in measured.items():
        result[split] = {
            "structures": len(errors),
            "mae": float(errors.mean()),
            "spearman": float(spearmanr(errors, sigmas).statistic),
            "within_1_sigma": float(np.mean(errors <= sigmas)),
            "within_2_sigma": float(np.mean(errors <= 2 * sigmas)),
            "rms_z": float(np.sqrt(np.mean((errors / sigmas) ** 2))),
            "mae_of_surest_half": float(errors[np.argsort(sigmas)[: len(errors) // 2]].mean()),
        }
        print(split, {k: round(v, 4) for k, v in result[split].items()})
    print(json.dumps(result))

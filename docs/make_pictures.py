"""
The pictures of docs/concepts.md, made with the package: ``python docs/make_pictures.py``.

With ``--run FOLDER`` the funnel of a run of ``crystens discover`` is drawn as well: that of the
page is ``make demo``'s. Same input, same files: no dates, no random names, and numbers are rounded.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pymatgen.core import Composition, Element, Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.relaxation.batch import relax_four_times
from crystens_flows.report.funnel import funnel_steps
from crystens_flows.representation import REFERENCE, decode, encode
from crystens_flows.representation.layout import FIRST_SITE, N_ATTRIBUTES
from crystens_flows.screening.hull import load_hull

FIGURES = Path(__file__).parent / "figures"
MAX_KB = 150
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7f7f7f"
STYLE = {
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "crystens",
    "lines.linewidth": 1.2,
}
OLIVINE, NOISE = "mp-18951", 0.01
GROUPS = {0: "Z", 2: "x, y, z", 5: "a, b, c", 8: "angles", 10: "space group"}
LAYERS = ("distance", "difference in x", "difference in y", "difference in z")


def crystal(material_id: str) -> Structure:
    """Return one of the crystals that ship."""
    dataset = shipped()
    return dataset.structure(list(dataset.material_ids).index(material_id))


def layers() -> Figure:
    """Draw the four layers of the CrysTens of LiFePO4."""
    structure = crystal(OLIVINE)
    (tensor,) = encode([structure])
    end = FIRST_SITE + len(structure)
    figure, axes = plt.subplots(2, 2, figsize=(8.2, 7.4), layout="constrained")
    for number, (axis, layer, name) in enumerate(zip(axes.flat, tensor, LAYERS, strict=True)):
        image = axis.imshow(np.where(layer == 0, np.nan, layer), vmin=0, vmax=1, cmap="viridis")
        axis.set(title=f"layer {number + 1}: {name}", xlim=(-0.5, 63.5), ylim=(63.5, -0.5))
        axis.spines[["top", "right"]].set_visible(True)
        axis.set_xticks([0, FIRST_SITE, end, 63])
        axis.set_yticks([0, FIRST_SITE, end, 63])
        if number == 0:
            axis.set_yticks(list(GROUPS), list(GROUPS.values()), fontsize=6.5)
            _label_parts(axis, end)
    figure.colorbar(image, ax=axes, shrink=0.5, label="normalised value; white: 0, nothing there")
    return figure


def _label_parts(axis: Axes, end: int) -> None:
    middle = (FIRST_SITE + end) / 2
    texts = (
        ((end + 1, 5), (end + 5, 5), "a row for each\nquantity of a site"),
        ((end + 1, middle), (end + 5, middle), "pairs of sites"),
        ((5, end + 1), (6, end + 9), "the same\nas columns"),
    )
    for point, place, text in texts:
        axis.annotate(
            text,
            point,
            place,
            fontsize=6.5,
            ha="left" if point[0] > end else "center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.7},
        )


def decoding() -> Figure:
    """Draw what a noisy CrysTens says again and again, and what is made of it."""
    structure = crystal(OLIVINE)
    (clean,) = encode([structure])
    noise = np.random.default_rng(0).normal(0, NOISE, clean.shape)
    noisy = (clean + np.where(clean == 0, 0, noise)).astype(np.float32)
    (decoded,) = decode(noisy[None])
    end = FIRST_SITE + len(structure)
    rows = noisy[:, :N_ATTRIBUTES, FIRST_SITE:end]
    columns = noisy[:, FIRST_SITE:end, :N_ATTRIBUTES].swapaxes(1, 2)
    copies = np.concatenate([rows, columns])
    copies = copies * REFERENCE.attribute_span[:, None] + REFERENCE.attribute_low[:, None]
    difference = noisy[1, FIRST_SITE:end, FIRST_SITE:end] * REFERENCE.pair_span[1]
    difference += REFERENCE.pair_low[1]
    np.fill_diagonal(difference, 0)

    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3.6), layout="constrained")
    sites = np.arange(len(structure))
    for copy in copies[:, 0]:
        left.plot(sites, copy, ".", color=GREY, ms=3.5, rasterized=True)
    left.plot(sites, copies[:, 0].mean(axis=0), "_", color=BLUE, ms=11, mew=1.4, label="mean of 8")
    left.plot(sites, decoded.structure.atomic_numbers, "D", mfc="none", color=VERMILION, ms=6,
              label="element decoded")  # fmt: skip
    left.set(xlabel="site", ylabel="atomic number", title="eight copies of each atomic number")
    left.legend(frameon=False)

    own = copies[:, 1].mean(axis=0)
    guesses = own[:, None] - difference  # of site j by site i
    for j in sites:
        right.plot(np.full(len(sites), j), guesses[:, j], ".", color=GREY, ms=3.5, rasterized=True)
    right.plot(sites, own, "_", color=BLUE, ms=11, mew=1.4, label="stated, mean of 8")
    found = decoded.structure.frac_coords[:, 0]
    found = found - np.round(found - structure.frac_coords[:, 0])
    right.plot(sites, found, "D", mfc="none", color=VERMILION, ms=6, label="decoded")
    right.set(xlabel="site", ylabel="x, fractional", title="positions by all sites and differences")
    right.legend(frameon=False)
    spread = decoded.consistency
    figure.suptitle(
        f"{structure.reduced_formula} with noise of {NOISE:g} on each entry: variance of lengths "
        f"{spread.length_variance:.2f} Å², of angles {spread.angle_variance:.2f} degree²; decoded "
        f"{decoded.structure.reduced_formula}",
        fontsize=9,
    )
    return figure


def hull() -> Figure:
    """Draw the hull that ships for titanium and oxygen, with crystals that ship."""
    metal, other = "Ti", "O"
    service, dataset = load_hull(), shipped()
    reference = service.reference([Composition(metal + other)])
    numbers = {Element(metal).Z, Element(other).Z}
    known = [
        row
        for row, elements in enumerate(reference.numbers)
        if {int(z) for z in elements if z} == numbers
    ]
    figure, axis = plt.subplots(figsize=(6.2, 3.8), layout="constrained")
    share = [Composition(reference.formulas[row]).get_atomic_fraction(other) for row in known]
    axis.plot(share, reference.energies[known], "o", color=BLUE, label="known compounds", zorder=3)
    grid = np.unique([0, 1, *np.round(share, 9)])
    mixed = [Composition({metal: 1 - x, other: x}) for x in grid.tolist()]
    level = [-each.energy_above_hull for each in reference.evaluate(mixed, [0.0] * len(mixed))]
    axis.plot(grid, level, "-", color=BLUE, label="hull")

    rows = [
        row
        for row, elements in enumerate(dataset.numbers)
        if {int(z) for z in elements if z} == numbers
    ]
    compositions = [dataset.structure(row).composition for row in rows]
    energies = dataset.formation_energy_per_atom[rows].astype(float)
    above = []
    for composition, (result, shifted) in zip(
        compositions, service.evaluate(compositions, energies.tolist()), strict=True
    ):
        energy = shifted.formation_energy_per_atom
        place = composition.get_atomic_fraction(other)
        above.append((result.energy_above_hull, place, energy, composition.reduced_formula))
    axis.plot(*zip(*[each[1:3] for each in above], strict=True), "D", mfc="none", ms=6,
              color=VERMILION, label="crystals that ship, as candidates")  # fmt: skip
    height, place, energy, formula = max(above)
    axis.annotate("", (place, energy - height), (place, energy), arrowprops={"arrowstyle": "<->"})
    axis.annotate(f"a {formula}: {height:.2f} eV/atom\nabove the hull", (place, energy - height),
                  (16, -4), textcoords="offset points", va="center", fontsize=8)  # fmt: skip
    for row, x in zip(known, share, strict=True):
        axis.annotate(reference.formulas[row], (x, reference.energies[row]), (-6, -7),
                      textcoords="offset points", ha="right", fontsize=7)  # fmt: skip
    axis.set(xlabel=f"share of {other}", ylabel="formation energy, eV/atom", ylim=(-3.9, 0.2))
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.56, 1))
    return figure


def relaxations() -> Figure:
    """Draw energy and pressure along four relaxations of a strained crystal, cut short."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    strained = Structure.from_spacegroup(221, Lattice.cubic(4.05), ["Sr", "Ti", "O"], sites)
    steps = 5
    (found,) = relax_four_times([strained], "chgnet", steps=steps)
    energies = np.round(np.array(found.energies, dtype=float) / len(strained), 4)
    pressures = np.round(np.array(found.pressures, dtype=float), 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.9), layout="constrained")
    left.plot(range(5), energies, "o-", color=BLUE)
    left.set(ylabel="energy, eV/atom", xticks=range(5), xticklabels=[f"E{k}" for k in range(5)])
    right.axhline(0, color=GREY, lw=0.7)
    right.plot(range(1, 5), pressures, "o-", color=VERMILION)
    right.set(ylabel="pressure, kbar", xticks=range(1, 5))
    right.set_xticklabels([f"P{k}" for k in range(1, 5)])
    figure.suptitle(
        f"SrTiO3, started at 4.05 Å, CHGNet, {steps} ionic steps in each relaxation", fontsize=9
    )
    return figure


def funnel(run: Path) -> Figure:
    """Draw how many candidates of a run came as far as each step."""
    options = yaml.safe_load((run / "options.yaml").read_text())
    summary = json.loads((run / "summary.json").read_text())
    steps = funnel_steps(options, summary)
    names, counts = [step.name for step in steps], [step.count for step in steps]
    figure, axis = plt.subplots(figsize=(7.4, 0.27 * len(steps) + 0.7), layout="constrained")
    bars = axis.barh(names[::-1], counts[::-1], color=BLUE, height=0.7)
    axis.bar_label(bars, padding=3)
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.set(xticks=[], xlim=(0, 1.08 * max(counts)))
    axis.tick_params(left=False)
    axis.set_title(f"{summary['n_samples']} samples of seed {options['seed']}", loc="left")
    return figure


def write(name: str, figure: Figure) -> None:
    """Write a picture, and say how large it is."""
    path = FIGURES / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    size = path.stat().st_size / 1000
    print(f"{path.name}: {size:.0f} kB")  # noqa: T201
    if size > MAX_KB:
        raise SystemExit(f"{path} has {size:.0f} kB: at most {MAX_KB}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="folder of a run, for the funnel")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    FIGURES.mkdir(exist_ok=True)
    with mpl.rc_context(STYLE):
        for draw in (layers, decoding, hull, relaxations):
            write(draw.__name__, draw())
        if given.run is not None:
            write("funnel", funnel(given.run))

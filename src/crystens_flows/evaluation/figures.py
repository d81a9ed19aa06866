"""The paper's figures, for any sources beside real crystals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystens_flows.errors import import_extra
from crystens_flows.evaluation.distributions import ANGLES, LENGTHS
from crystens_flows.evaluation.evaluation import Evaluation, SourceEvaluation
from crystens_flows.evaluation.reference import FLOOR
from crystens_flows.msonable import structure_from_dict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that can be told apart with any colour vision (Okabe and Ito)."""

REAL, REFERENCE = "#7f7f7f", "reference"

PROPERTIES = (
    *("formation_energy_per_atom", "final_energy_per_atom", "band_gap", "fermi_energy"),
    *("bulk_modulus", "shear_modulus", "poisson_ratio"),
)
"""What CGCNN predicts, in the order of the panels of figure 7."""

LABELS = {
    **{name: f"{name}, Å" for name in LENGTHS},
    **{name: f"{name}, degree" for name in ANGLES},
    "space_group": "space group number",
    "atomic_number": "atomic number of sites",
    "formation_energy_per_atom": "formation energy, eV/atom",
    "final_energy_per_atom": "final energy, eV/atom",
    "band_gap": "band gap, eV",
    "fermi_energy": "Fermi energy, eV",
    "bulk_modulus": "bulk modulus, GPa",
    "shear_modulus": "shear modulus, GPa",
    "poisson_ratio": "Poisson's ratio",
    "energy_above_hull": "energy above hull, eV/atom",
    "model_formation_energy_per_atom": "formation energy, eV/atom",
}


@dataclass(frozen=True)
class Drawn:
    """
    A figure that was drawn.

    Parameters
    ----------
    title
        What it shows.
    caption
        How to read it.
    path
        The SVG; the PNG has the same name.
    """

    title: str
    caption: str
    path: Path


_BINS = (
    "Grey: reference crystals; lines: samples. What lies beyond nearly all values counts in the "
    "outermost bins."
)

FIGURES: dict[str, tuple[str, str, Callable[[Evaluation], Figure]]] = {
    "lengths": (
        "Lattice lengths, as figure 4 of the paper",
        _BINS,
        lambda evaluation: _histograms(evaluation, LENGTHS),
    ),
    "angles": (
        "Lattice angles, as figure 5",
        _BINS,
        lambda evaluation: _histograms(evaluation, ANGLES),
    ),
    "space-groups-and-elements": (
        "Space groups and elements, as figure 6",
        f"{_BINS} The space group is the one that a CrysTens states, else that of the coordinates.",
        lambda evaluation: _histograms(evaluation, ("space_group", "atomic_number")),
    ),
    "properties": (
        "Properties predicted by CGCNN, as figure 7",
        "From the first to the 99th percentile, with the median.",
        lambda evaluation: _violins(evaluation),
    ),
    "energies": (
        "Energy above hull and formation energy, as figures 8 and 12",
        f"{_BINS} Mean of the potentials for the structures as they were sampled; the paper has "
        "energies of M3GNet.",
        lambda evaluation: _histograms(
            evaluation, ("energy_above_hull", "model_formation_energy_per_atom")
        ),
    ),
    "crystals": (
        "Some crystals of each, as figures 9 to 11",
        "The first structures of each source, not chosen.",
        lambda evaluation: _crystals(evaluation),
    ),
}
"""Title, caption and drawing of each figure, by the name of its files."""


def write_figures(evaluation: Evaluation, folder: Path) -> list[Drawn]:
    """
    Draw all figures, as SVG and PNG.

    Parameters
    ----------
    evaluation
        What was measured.
    folder
        An existing folder.

    Returns
    -------
    list of Drawn
        In the order of the page.
    """
    import matplotlib as mpl

    drawn = []
    # ids in the files that depend on nothing but the figure
    with mpl.rc_context({"svg.hashsalt": "crystens", "font.size": 9}):
        for name, (title, caption, draw) in FIGURES.items():
            figure = draw(evaluation)
            for suffix in ("svg", "png"):
                figure.savefig(folder / f"{name}.{suffix}", dpi=150, metadata=_no_date(suffix))
            drawn.append(Drawn(title, caption, folder / f"{name}.svg"))
    return drawn


def _no_date(suffix: str) -> dict[str, Any]:
    return {"Date": None} if suffix == "svg" else {}


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _compared(evaluation: Evaluation) -> list[tuple[SourceEvaluation, str]]:
    """Return the sources with their colours, without the floor."""
    sources = [source for source in evaluation.sources if source.name != FLOOR]
    return [(source, COLOURS[i % len(COLOURS)]) for i, source in enumerate(sources)]


def _histograms(evaluation: Evaluation, names: Sequence[str]) -> Figure:
    figure, axes = _figure(1, len(names), (3.6 * len(names), 3.6))
    for ax, name in zip(axes[0], names, strict=True):
        real = evaluation.reference_values[name]
        edges = _edges([real, *(source.values[name] for source, _ in _compared(evaluation))])
        ax.hist(np.clip(real, edges[0], edges[-1]), edges, density=True, color=REAL, alpha=0.4,
                label=REFERENCE)  # fmt: skip
        for source, colour in _compared(evaluation):
            clipped = np.clip(source.values[name], edges[0], edges[-1])
            if len(clipped):
                ax.hist(clipped, edges, density=True, histtype="step", color=colour)
            # a line says which colour it is better than the outline of a bar
            ax.plot([], [], color=colour, label=f"{source.name}, {_statistic(source, name)}")
        ax.set_xlabel(LABELS[name])
        ax.set_yticks([])
        ax.set_ylabel("density" if ax is axes[0][0] else "")
        ax.spines[["top", "right", "left"]].set_visible(False)
        # above the axes, where it hides nothing
        ax.legend(fontsize=7, frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def _statistic(source: SourceEvaluation, name: str) -> str:
    statistic = source.metrics.get(f"ks_{name}")
    return "no values" if statistic is None else f"K-S {statistic:.2f}"


def _edges(samples: Sequence[Sequence[float]]) -> Any:
    """Return bins over where nearly all values are; what is beyond counts in the last."""
    ranges = [np.percentile(values, (0.5, 99.5)) for values in samples if len(values)]
    low = min((each[0] for each in ranges), default=0.0)
    high = max((each[1] for each in ranges), default=1.0)
    return np.linspace(low, high if high > low else low + 1.0, 41)


def _violins(evaluation: Evaluation) -> Figure:
    sources = _compared(evaluation)
    figure, axes = _figure(2, 4, (13, 2 * (1.0 + 0.5 * (1 + len(sources)))))
    for place, (ax, name) in enumerate(zip(axes.ravel(), PROPERTIES, strict=False)):
        _violin(ax, 0, evaluation.reference_values[name], REAL)
        for row, (source, colour) in enumerate(sources, start=1):
            _violin(ax, row, source.values[name], colour)
            # beside the axes, level with its violin
            ax.annotate(
                _statistic(source, name), (1.0, row), xycoords=("axes fraction", "data"),
                fontsize=7, va="center",
            )  # fmt: skip
        names = [REFERENCE, *(source.name for source, _ in sources)] if place % 4 == 0 else []
        ax.set_yticks(range(len(names)), names)
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(len(sources) + 0.6, -0.6)
        ax.set_xlabel(LABELS[name])
        ax.spines[["top", "right", "left"]].set_visible(False)
    for ax in axes.ravel()[len(PROPERTIES) :]:
        ax.set_axis_off()
    return figure


def _violin(ax: Axes, place: int, values: Sequence[float], colour: str) -> None:
    if len(set(values)) < 2:  # a violin needs a spread
        ax.plot(values, [place] * len(values), "|", color=colour)
        return
    low, high = np.percentile(values, (1, 99))
    parts = ax.violinplot(
        [np.clip(values, low, high)],
        [place],
        widths=0.85,
        showmedians=True,
        orientation="horizontal",
    )
    for body in parts["bodies"]:  # type: ignore[attr-defined]
        body.set_facecolor(colour)
    for line in ("cmins", "cmaxes", "cbars", "cmedians"):
        parts[line].set_color(colour)
        parts[line].set_linewidth(1.0)


def _crystals(evaluation: Evaluation) -> Figure:
    adaptor = import_extra("pymatgen.io.ase", "screen", "drawing crystals").AseAtomsAdaptor
    plot_atoms = import_extra("ase.visualize.plot", "screen", "drawing crystals").plot_atoms
    columns = max((len(source.shown) for source in evaluation.sources), default=1) or 1
    rows = len(evaluation.sources)
    figure, axes = _figure(rows, columns, (1.7 * columns, 1.9 * rows))
    for source, row in zip(evaluation.sources, axes, strict=True):
        for ax in row:
            ax.set_axis_off()
        for ax, stored in zip(row, source.shown, strict=False):
            structure = structure_from_dict(stored)
            plot_atoms(adaptor.get_atoms(structure), ax, rotation="10x,-20y,0z", radii=0.5)
            ax.set_title(structure.composition.reduced_formula, fontsize=8)
            ax.set_axis_off()
        row[0].text(
            -0.1, 0.5, source.name, rotation=90, va="center", ha="right",
            transform=row[0].transAxes, fontsize=9,
        )  # fmt: skip
        if not source.shown:
            row[0].text(0.0, 0.5, "no structure", transform=row[0].transAxes, fontsize=8)
    return figure

"""The paper's figures, for any sources beside real crystals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Structure

from crystens_flows.errors import import_extra
from crystens_flows.evaluation.distributions import ANGLES, LENGTHS
from crystens_flows.evaluation.evaluation import Evaluation, SourceEvaluation
from crystens_flows.evaluation.reference import FLOOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that can be told apart with any colour vision (Okabe and Ito)."""

REAL = "#7f7f7f"

_PROPERTIES = {
    "formation_energy_per_atom": "formation energy, eV/atom",
    "final_energy_per_atom": "final energy, eV/atom",
    "band_gap": "band gap, eV",
    "fermi_energy": "Fermi energy, eV",
    "bulk_modulus": "bulk modulus, GPa",
    "shear_modulus": "shear modulus, GPa",
    "poisson_ratio": "Poisson's ratio",
}
_LABELS = {
    **{name: f"{name}, Å" for name in LENGTHS},
    **{name: f"{name}, degree" for name in ANGLES},
    "space_group": "space group number",
    "atomic_number": "atomic number of sites",
    "model_formation_energy_per_atom": "formation energy, eV/atom",
    "energy_above_hull": "energy above hull, eV/atom",
}


def write_figures(evaluation: Evaluation, folder: Path) -> dict[str, Path]:
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
    dict
        The SVG by title of the figure; the PNG has the same name.
    """
    import matplotlib as mpl

    drawings: dict[str, tuple[str, Callable[[], Figure]]] = {
        "Lattice lengths (as figure 4)": ("lengths", lambda: _histograms(evaluation, LENGTHS)),
        "Lattice angles (as figure 5)": ("angles", lambda: _histograms(evaluation, ANGLES)),
        "Space groups and elements (as figure 6)": (
            "space-groups-and-elements",
            lambda: _histograms(evaluation, ("space_group", "atomic_number")),
        ),
        "Properties predicted by CGCNN (as figure 7)": (
            "properties",
            lambda: _violins(evaluation),
        ),
        "Energy above hull and formation energy (as figures 8 and 12)": (
            "energies",
            lambda: _histograms(
                evaluation, ("energy_above_hull", "model_formation_energy_per_atom")
            ),
        ),
        "Some crystals of each (as figures 9 to 11)": ("crystals", lambda: _crystals(evaluation)),
    }
    written = {}
    # ids in the files that depend on nothing but the figure
    with mpl.rc_context({"svg.hashsalt": "crystens", "font.size": 9}):
        for title, (name, draw) in drawings.items():
            figure = draw()
            for suffix in ("svg", "png"):
                figure.savefig(folder / f"{name}.{suffix}", dpi=150, metadata=_no_date(suffix))
            written[title] = folder / f"{name}.svg"
    return written


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
    figure, axes = _figure(1, len(names), (3.6 * len(names), 3.2))
    for ax, name in zip(axes[0], names, strict=True):
        real = evaluation.reference_values[name]
        edges = _edges([real, *(source.values[name] for source, _ in _compared(evaluation))])
        ax.hist(np.clip(real, edges[0], edges[-1]), edges, density=True, color=REAL, alpha=0.4,
                label=f"{evaluation.reference}, held out")  # fmt: skip
        for source, colour in _compared(evaluation):
            values = source.values[name]
            if not values:
                continue
            statistic = source.metrics.get(f"ks_{name}")
            label = source.name if statistic is None else f"{source.name}, K-S {statistic:.2f}"
            clipped = np.clip(values, edges[0], edges[-1])
            ax.hist(clipped, edges, density=True, histtype="step", color=colour, label=label)
        ax.set_xlabel(_LABELS[name])
        ax.set_ylabel("density" if ax is axes[0][0] else "")
        ax.legend(fontsize=7, frameon=False)
    return figure


def _edges(samples: Sequence[Sequence[float]]) -> Any:
    """Return bins over where nearly all values are; what is beyond counts in the last."""
    ranges = [np.percentile(values, (0.5, 99.5)) for values in samples if len(values)]
    low = min((each[0] for each in ranges), default=0.0)
    high = max((each[1] for each in ranges), default=1.0)
    return np.linspace(low, high if high > low else low + 1.0, 41)


def _violins(evaluation: Evaluation) -> Figure:
    figure, axes = _figure(2, 4, (13, 6))
    sources = _compared(evaluation)
    names = ["real", *(source.name for source, _ in sources)]
    for ax, (name, label) in zip(axes.ravel(), _PROPERTIES.items(), strict=False):
        groups = [evaluation.reference_values[name], *(s.values[name] for s, _ in sources)]
        for place, (values, colour) in enumerate(
            zip(groups, [REAL, *(colour for _, colour in sources)], strict=True)
        ):
            _violin(ax, place, values, colour)
        statistics = [None, *(source.metrics.get(f"ks_{name}") for source, _ in sources)]
        ticks = [
            text if ks is None else f"{text}\nK-S {ks:.2f}"
            for text, ks in zip(names, statistics, strict=True)
        ]
        ax.set_xticks(range(len(names)), ticks, fontsize=7)
        ax.set_ylabel(label)
    for ax in axes.ravel()[len(_PROPERTIES) :]:
        ax.set_axis_off()
    return figure


def _violin(ax: Axes, place: int, values: Sequence[float], colour: str) -> None:
    if len(set(values)) < 2:  # a violin needs a spread
        ax.plot([place] * len(values), values, "_", color=colour)
        return
    low, high = np.percentile(values, (1, 99))
    parts = ax.violinplot([np.clip(values, low, high)], [place], widths=0.8, showmedians=True)
    for body in parts["bodies"]:  # type: ignore[attr-defined]
        body.set_facecolor(colour)
    for line in ("cmins", "cmaxes", "cbars", "cmedians"):
        parts[line].set_color(colour)


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
            structure = Structure.from_dict(stored)
            plot_atoms(adaptor.get_atoms(structure), ax, rotation="10x,-20y,0z", radii=0.5)
            ax.set_title(structure.composition.reduced_formula, fontsize=8)
            ax.set_axis_off()
        row[0].text(
            -0.1, 0.5, source.name, rotation=90, va="center", ha="right",
            transform=row[0].transAxes, fontsize=8,
        )  # fmt: skip
    return figure

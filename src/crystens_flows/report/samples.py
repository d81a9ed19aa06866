"""The samples of a run beside the crystals that the default generator was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystens_flows.report.html import table
from crystens_flows.report.plots import histograms

SHOWN = {
    "a": "lattice length a",
    "b": "lattice length b",
    "c": "lattice length c",
    "n_sites": "sites",
    "n_elements": "elements",
    "density": "density",
    "volume_per_atom": "volume per atom",
}
"""What is compared, by its name in :mod:`crystens_flows.evaluation.distributions`."""

N_BINS = 24

MAX_SAMPLES = 2000
"""So many samples of a run are compared at most: more change nothing that can be seen."""

_UNITS = {"angstrom": "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}", "g/cm^3": "g/cm³"}
_UNITS["angstrom^3"] = _UNITS["angstrom"] + "³"


@dataclass(frozen=True)
class Comparison:
    """
    One quantity of the samples beside that of real crystals.

    Parameters
    ----------
    quantity
        What is compared, with its unit.
    ends
        Where the bins begin and end; of what is counted, the first number and the last.
    samples, reference
        The share of each bin, 0 to 1.
    medians
        Of the samples and of the reference.
    statistic
        That of Kolmogorov and Smirnov, 0 to 1.
    n_samples
        Number of samples.
    """

    quantity: str
    ends: tuple[float, float]
    samples: list[float]
    reference: list[float]
    medians: tuple[float, float]
    statistic: float
    n_samples: int


def compare(structures: Iterable[dict[str, Any]]) -> list[Comparison]:
    """
    Compare structures with the training split of the crystals that ship with the package.

    Parameters
    ----------
    structures
        As stored: dictionaries of pymatgen.

    Returns
    -------
    list of Comparison
        One for each of :data:`SHOWN`; none without structures.
    """
    from crystens_flows.evaluation.distributions import kolmogorov_smirnov

    samples = [_of_structure(structure) for structure in structures]
    if not samples:
        return []
    columns = {name: [sample[name] for sample in samples] for name in SHOWN}
    reference = _of_training_set()
    statistics = kolmogorov_smirnov(columns, reference)
    return [
        _comparison(name, columns[name], reference[name], statistic)
        for name in SHOWN
        if (statistic := statistics[name]) is not None
    ]


def comparison_section(comparisons: Sequence[Comparison]) -> str:
    """
    Write the comparisons as plots and as a table.

    Parameters
    ----------
    comparisons
        The comparisons.

    Returns
    -------
    str
        HTML.
    """
    plots = "".join(
        f"<figure>{histograms(each.quantity, each.ends, each.samples, each.reference)}"
        f"<figcaption>KS {each.statistic:.2f}</figcaption></figure>"
        for each in comparisons
    )
    rows = (
        (each.quantity, each.medians[0], each.medians[1], each.statistic) for each in comparisons
    )
    header = ("quantity", "median of the samples", "median of real crystals", "KS")
    return (
        f"<p>Bars: the {comparisons[0].n_samples} samples that could be decoded. Line: the "
        "training split of the Materials Project crystals that ship with the package. KS is the "
        "Kolmogorov-Smirnov statistic: 0 where both are distributed in the same way, 1 where they "
        "share no value. The last bins hold what lies beyond, too.</p>"
        f'<div class="histograms">{plots}</div>'
        f"<details><summary>As a table</summary>{table(header, rows, 'Distributions')}</details>"
    )


def _comparison(
    name: str, samples: list[float], reference: list[float], statistic: float
) -> Comparison:
    from crystens_flows.evaluation.distributions import QUANTITIES

    unit = QUANTITIES[name]
    counted = unit in ("sites", "elements")
    both = np.concatenate([samples, reference])
    if counted:
        # one bin for each number, or for each few of them
        width = max(1, int(np.ceil((both.max() - both.min() + 1) / N_BINS)))
        edges = np.arange(both.min() - 0.5, both.max() + width + 0.5, width)
    else:
        low, high = np.percentile(both, [0.2, 99.5])
        edges = np.linspace(float(low), float(high), N_BINS + 1)
    return Comparison(
        SHOWN[name] if counted else f"{SHOWN[name]} ({_UNITS.get(unit, unit)})",
        (float(edges[0]) + counted / 2, float(edges[-1]) - counted / 2),
        _shares(samples, edges),
        _shares(reference, edges),
        (float(np.median(samples)), float(np.median(reference))),
        statistic,
        len(samples),
    )


def _shares(values: list[float], edges: NDArray[np.float64]) -> list[float]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return [float(share) for share in counts / len(values)]


def _of_structure(structure: dict[str, Any]) -> dict[str, float]:
    lattice, sites = structure["lattice"], structure["sites"]
    numbers = np.array([_number(site["species"][0]["element"]) for site in sites])
    volume = abs(float(np.linalg.det(np.array(lattice["matrix"], dtype=float))))
    lengths = np.linalg.norm(np.array(lattice["matrix"], dtype=float), axis=1)
    mass = _masses()[numbers].sum()
    return {
        **dict(zip("abc", map(float, lengths), strict=True)),
        "n_sites": float(len(sites)),
        "n_elements": float(len(set(numbers.tolist()))),
        "density": float(mass / volume * _DENSITY),
        "volume_per_atom": volume / len(sites),
    }


def _of_training_set() -> dict[str, list[float]]:
    from crystens_flows.datasets import shipped

    dataset = shipped()
    rows = dataset.split["train"]
    lattice = dataset.lattice[rows].astype(float)
    numbers, n_sites = dataset.numbers[rows], dataset.n_sites[rows].astype(float)
    lengths, cosines = lattice[:, :3], np.cos(np.radians(lattice[:, 3:]))
    volume = lengths.prod(axis=1) * np.sqrt(1 - (cosines**2).sum(axis=1) + 2 * cosines.prod(axis=1))
    in_order = np.sort(numbers, axis=1)
    different = (np.diff(in_order, axis=1) > 0).sum(axis=1) + (in_order[:, 0] > 0)
    columns = {
        **dict(zip("abc", lengths.T, strict=True)),
        "n_sites": n_sites,
        "n_elements": different,
        "density": _masses()[numbers].sum(axis=1) / volume * _DENSITY,
        "volume_per_atom": volume / n_sites,
    }
    return {name: [float(value) for value in values] for name, values in columns.items()}


_DENSITY = 1.66053906660
"""One atomic mass unit a cubic angstrom, in g/cm^3."""


@cache
def _masses() -> NDArray[np.float64]:
    """Return the mass of each element by its number; none for number 0, where there is no site."""
    from pymatgen.core import Element

    return np.array([0.0, *(float(Element.from_Z(z).atomic_mass) for z in range(1, 119))])


@cache
def _number(symbol: str) -> int:
    from pymatgen.core import Element

    return int(Element(symbol).Z)

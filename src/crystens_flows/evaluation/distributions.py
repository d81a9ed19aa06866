"""Distributions of what a crystal is made of, and how far two are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure
from scipy import stats

from crystens_flows.representation.space_group import find_space_group

LENGTHS, ANGLES = ("a", "b", "c"), ("alpha", "beta", "gamma")

QUANTITIES: dict[str, str] = {
    **dict.fromkeys(LENGTHS, "angstrom"),
    **dict.fromkeys(ANGLES, "degree"),
    "space_group": "number",
    "atomic_number": "Z",
    "density": "g/cm^3",
    "volume_per_atom": "angstrom^3",
    "n_elements": "elements",
    "n_sites": "sites",
}
"""What is compared, and its unit. Figures 4 to 6 of the paper show the first eight."""


@dataclass
class Distributions:
    """
    Values of each of :data:`QUANTITIES` over many structures; each site has an atomic number.

    Parameters
    ----------
    values
        Lists of values by quantity.
    """

    values: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in QUANTITIES}
    )

    def add(self, structure: Structure, space_group: int | None) -> None:
        """
        Add a structure.

        Parameters
        ----------
        structure
            The structure, in the cell it came in.
        space_group
            The number it states; where it states none, that of its coordinates counts.
        """
        lattice = structure.lattice
        for name, value in zip((*LENGTHS, *ANGLES), lattice.parameters, strict=True):
            self.values[name].append(float(value))
        numbers = [site.specie.Z for site in structure]
        if space_group is None:
            space_group = find_space_group(lattice.matrix, structure.frac_coords, numbers)
        self.values["space_group"].append(float(space_group or 1))
        self.values["atomic_number"] += map(float, numbers)
        self.values["density"].append(float(structure.density))
        self.values["volume_per_atom"].append(float(structure.volume / len(structure)))
        self.values["n_elements"].append(float(len(set(numbers))))
        self.values["n_sites"].append(float(len(structure)))


def kolmogorov_smirnov(
    samples: Mapping[str, list[float]], reference: Mapping[str, list[float]]
) -> dict[str, float | None]:
    """
    Take the Kolmogorov-Smirnov statistic of each quantity that both have.

    Parameters
    ----------
    samples, reference
        Values by quantity; those that are not finite are left out.

    Returns
    -------
    dict
        The largest difference of the two cumulative distributions, 0 to 1; None without values.
    """
    found: dict[str, float | None] = {}
    for name in samples.keys() & reference.keys():
        first, second = _finite(samples[name]), _finite(reference[name])
        enough = len(first) > 0 and len(second) > 0
        found[name] = float(stats.ks_2samp(first, second).statistic) if enough else None
    return found


def wasserstein(samples: list[float], reference: list[float]) -> float | None:
    """
    Take the Wasserstein distance of two distributions, in their unit.

    Parameters
    ----------
    samples, reference
        Values; those that are not finite are left out.

    Returns
    -------
    float or None
        None without values.
    """
    first, second = _finite(samples), _finite(reference)
    if not len(first) or not len(second):
        return None
    return float(stats.wasserstein_distance(first, second))


def _finite(values: list[float]) -> NDArray[np.float64]:
    array = np.array(values, dtype=float)
    return array[np.isfinite(array)]

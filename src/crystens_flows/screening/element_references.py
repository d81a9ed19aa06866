"""One energy for each element, fitted by least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_Z = 118


@dataclass(frozen=True, eq=False)
class ElementReferences:
    """
    An energy for each element.

    Parameters
    ----------
    energies
        Energy by atomic number in eV/atom, shape ``(119,)``; zero at 0, NaN for elements that
        were not in the fit.
    """

    energies: NDArray[np.float64]

    def per_atom(self, numbers: ArrayLike) -> NDArray[np.float64]:
        """
        Average the energies over the sites of each structure.

        Parameters
        ----------
        numbers
            Atomic numbers, shape ``(n, sites)``, zero where there is no site.

        Returns
        -------
        numpy.ndarray
            In eV/atom, shape ``(n,)``; NaN where an element was not in the fit.
        """
        numbers = np.asarray(numbers, dtype=np.int64)
        return self.energies[numbers].sum(axis=1) / (numbers > 0).sum(axis=1)

    def to_dict(self) -> dict[str, float]:
        """Return the energies by symbol."""
        from pymatgen.core import Element

        return {
            Element.from_Z(z).symbol: round(float(energy), 6)
            for z, energy in enumerate(self.energies)
            if z and np.isfinite(energy)
        }

    @classmethod
    def from_dict(cls, energies: dict[str, Any]) -> ElementReferences:
        """Take the energies by symbol."""
        from pymatgen.core import Element

        values = np.full(MAX_Z + 1, np.nan)
        values[0] = 0.0
        for symbol, energy in energies.items():
            values[Element(symbol).Z] = float(energy)
        return cls(values)


def fit_references(
    numbers: ArrayLike, energies_per_atom: ArrayLike, regularization: float = 1e-3
) -> ElementReferences:
    """
    Fit the energies of elements whose mean over the sites comes nearest to given energies.

    Parameters
    ----------
    numbers
        Atomic numbers, shape ``(n, sites)``, zero where there is no site.
    energies_per_atom
        In eV/atom, shape ``(n,)``.
    regularization
        Weight of the squares of the references against those of the deviations: elements that
        occur seldom stay near zero.

    Returns
    -------
    ElementReferences
        The references; they minimise the sum of squares.
    """
    numbers = np.asarray(numbers, dtype=np.int64)
    shares = np.zeros((len(numbers), MAX_Z + 1))
    np.add.at(shares, (np.arange(len(numbers))[:, None], numbers), 1.0)
    shares[:, 0] = 0.0
    shares /= shares.sum(axis=1, keepdims=True)
    present = np.flatnonzero(shares.any(axis=0))
    design = shares[:, present]
    normal = design.T @ design + regularization * np.eye(len(present))
    values = np.full(MAX_Z + 1, np.nan)
    values[0] = 0.0
    values[present] = np.linalg.solve(normal, design.T @ np.asarray(energies_per_atom, dtype=float))
    return ElementReferences(values)

"""One energy for each element, fitted so that total energies become formation energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_Z = 118


def _no_shifts() -> NDArray[np.float64]:
    return np.zeros(MAX_Z + 1)


@dataclass(frozen=True, eq=False)
class ElementReferences:
    """
    An energy for each element.

    Parameters
    ----------
    energies
        Energy by atomic number in eV/atom, shape ``(119,)``; zero at 0, NaN for elements that
        were not in the fit.
    oxide_shifts
        What is added to the energy of an element in compounds with oxygen or fluorine, by atomic
        number in eV/atom, shape ``(119,)``; zero by default. The Materials Project calculates some
        transition metals with a Hubbard U there, and without elsewhere.
    """

    energies: NDArray[np.float64]
    oxide_shifts: NDArray[np.float64] = field(default_factory=_no_shifts)

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
        energies = self.energies[numbers]
        energies = energies + self.oxide_shifts[numbers] * has_oxygen_or_fluorine(numbers)[:, None]
        return energies.sum(axis=1) / (numbers > 0).sum(axis=1)

    def to_dict(self) -> dict[str, float]:
        """Return the energies by symbol."""
        return _by_symbol(self.energies)

    def oxide_shifts_to_dict(self) -> dict[str, float]:
        """Return the shifts that are not zero by symbol."""
        return {symbol: shift for symbol, shift in _by_symbol(self.oxide_shifts).items() if shift}

    @classmethod
    def from_dict(
        cls, energies: Mapping[str, float], oxide_shifts: Mapping[str, float] | None = None
    ) -> ElementReferences:
        """Take the energies, and the shifts if there are any, by symbol."""
        from pymatgen.core import Element

        values, shifts = np.full(MAX_Z + 1, np.nan), _no_shifts()
        values[0] = 0.0
        for array, given in ((values, energies), (shifts, oxide_shifts or {})):
            for symbol, energy in given.items():
                array[Element(symbol).Z] = float(energy)
        return cls(values, shifts)


def has_oxygen_or_fluorine(numbers: ArrayLike) -> NDArray[np.bool_]:
    """Tell which rows of atomic numbers, shape ``(n, sites)``, hold oxygen or fluorine."""
    return np.asarray(np.isin(numbers, (8, 9)).any(axis=1))


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
    shares = _shares(np.asarray(numbers, dtype=np.int64))
    present = np.flatnonzero(shares.any(axis=0))
    design = shares[:, present]
    normal = design.T @ design + regularization * np.eye(len(present))
    values = np.full(MAX_Z + 1, np.nan)
    values[0] = 0.0
    values[present] = np.linalg.solve(normal, design.T @ np.asarray(energies_per_atom, dtype=float))
    return ElementReferences(values)


def fit_median_references(
    numbers: ArrayLike,
    energies_per_atom: ArrayLike,
    shifted: Sequence[int] = (),
    regularization: float = 1e-3,
) -> ElementReferences:
    """
    Fit references as :func:`fit_references` does, but to the least absolute deviations.

    A few energies that are far off, as those of another correction scheme, hardly move the others.

    Parameters
    ----------
    numbers
        Atomic numbers, shape ``(n, sites)``, zero where there is no site.
    energies_per_atom
        In eV/atom, shape ``(n,)``.
    shifted
        Atomic numbers of the elements that get a shift in compounds with oxygen or fluorine.
    regularization
        Weight of the absolute values of the references, against the sum of those of the
        deviations; it decides only where the energies leave the choice.

    Returns
    -------
    ElementReferences
        The references. A shift is zero where the element never stands beside oxygen or fluorine.
    """
    from sklearn.linear_model import QuantileRegressor

    numbers = np.asarray(numbers, dtype=np.int64)
    shares = _shares(numbers)
    metals = np.array(sorted(set(shifted)), dtype=np.int64)
    beside = shares[:, metals] * has_oxygen_or_fluorine(numbers)[:, None]
    metals, beside = metals[beside.any(axis=0)], beside[:, beside.any(axis=0)]
    present = np.flatnonzero(shares.any(axis=0))
    # a quantile's loss is half the deviations, and scikit-learn takes their mean
    regressor = QuantileRegressor(
        quantile=0.5, alpha=regularization / (2 * len(numbers)), fit_intercept=False
    )
    regressor.fit(np.hstack([shares[:, present], beside]), np.asarray(energies_per_atom, float))
    values, shifts = np.full(MAX_Z + 1, np.nan), _no_shifts()
    values[0] = 0.0
    values[present] = regressor.coef_[: len(present)]
    shifts[metals] = regressor.coef_[len(present) :]
    return ElementReferences(values, shifts)


def _shares(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of the sites that each element has, shape ``(n, 119)``."""
    shares = np.zeros((len(numbers), MAX_Z + 1))
    np.add.at(shares, (np.arange(len(numbers))[:, None], numbers), 1.0)
    shares[:, 0] = 0.0
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def _by_symbol(values: NDArray[np.float64]) -> dict[str, float]:
    from pymatgen.core import Element

    return {
        Element.from_Z(z).symbol: round(float(value), 6)
        for z, value in enumerate(values)
        if z and np.isfinite(value)
    }

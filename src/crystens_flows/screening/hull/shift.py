"""The shift of formation energies from one release of a data base to another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element

from crystens_flows.errors import DatasetError, InputError
from crystens_flows.screening.hull.compositions import read_composition, read_energy

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset
    from crystens_flows.screening.hull.reference import HullReference

OUTLIER = 0.1
"""Materials this many eV/atom from the first fit are left out of the second."""

_LOSS_SCALE = 0.01
_REGULARIZATION = 0.01
_FOLDS = 5
_SIZE = 119


@dataclass(frozen=True)
class ShiftedEnergy:
    """
    A formation energy moved to the release of the reference.

    Parameters
    ----------
    formation_energy_per_atom
        In eV/atom; None where the energy or the composition is none.
    shift
        What was added, in eV/atom; None likewise.
    elements_without_shift
        The elements of the composition that the fit did not see; theirs is taken as zero.
    """

    formation_energy_per_atom: float | None
    shift: float | None
    elements_without_shift: tuple[str, ...]


@dataclass(frozen=True)
class HullShift:
    """
    One shift for each element, averaged over the sites of a compound.

    Fitted by :func:`fit_shift`. The differences "held out" are of materials that took no part in
    the fit that shifted them (cross-validation in five parts), outliers included.

    Parameters
    ----------
    values
        In eV/atom, by symbol.
    n_materials
        The compounds with the same id and composition in both.
    n_outliers
        How many of these were left out of the final fit.
    mean_absolute_difference_before, mean_absolute_difference_after
        Of all these compounds, in eV/atom, held out.
    median_absolute_difference_before, median_absolute_difference_after
        Likewise.
    """

    values: dict[str, float]
    n_materials: int
    n_outliers: int
    mean_absolute_difference_before: float
    mean_absolute_difference_after: float
    median_absolute_difference_before: float
    median_absolute_difference_after: float

    @property
    def reduces_difference(self) -> bool:
        """Whether the shift reduces the mean absolute difference of materials held out."""
        return self.mean_absolute_difference_after < self.mean_absolute_difference_before

    @property
    def verdict(self) -> str:
        """One sentence: what the shift does to materials held out."""
        verb = "reduces" if self.reduces_difference else "does not reduce"
        return (
            f"the shift {verb} the mean absolute difference of {self.n_materials} materials held "
            f"out: {self.mean_absolute_difference_before:.4f} before, "
            f"{self.mean_absolute_difference_after:.4f} eV/atom after (median "
            f"{self.median_absolute_difference_before:.4f} and "
            f"{self.median_absolute_difference_after:.4f}); {self.n_outliers} outliers of more "
            f"than {OUTLIER} eV/atom took no part in the fit"
        )

    def apply(
        self,
        compositions: Sequence[Composition | str],
        formation_energies_per_atom: Sequence[float | None] | NDArray[np.float64],
    ) -> list[ShiftedEnergy]:
        """
        Move formation energies to the release of the reference.

        Elements alone are not shifted: both releases count formation energies from them.

        Parameters
        ----------
        compositions
            One for each energy.
        formation_energies_per_atom
            In eV/atom, of the release of the data set; None or NaN where unknown.

        Returns
        -------
        list of ShiftedEnergy
            In the same order.

        Raises
        ------
        InputError
            If the lists differ in length.
        """
        if len(compositions) != len(formation_energies_per_atom):
            raise InputError(
                f"{len(compositions)} compositions and {len(formation_energies_per_atom)} "
                "formation energies: give one for each"
            )
        shifted = []
        for composition, given in zip(compositions, formation_energies_per_atom, strict=True):
            numbers, fractions, _ = read_composition(composition)
            energy, _ = read_energy(given)
            if energy is None or not numbers:
                shifted.append(ShiftedEnergy(None, None, ()))
                continue
            symbols = [Element.from_Z(z).symbol for z in numbers]
            if len(symbols) == 1:
                shifted.append(ShiftedEnergy(energy, 0.0, ()))
                continue
            shares = zip(symbols, fractions, strict=True)
            shift = sum(share * self.values.get(symbol, 0.0) for symbol, share in shares)
            unknown = tuple(symbol for symbol in symbols if symbol not in self.values)
            shifted.append(ShiftedEnergy(energy + shift, shift, unknown))
        return shifted

    def save(self, path: str | Path) -> Path:
        """Write the shift as JSON, with its verdict."""
        path = Path(path)
        path.write_text(json.dumps({**asdict(self), "verdict": self.verdict}, indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: str | Path) -> HullShift:
        """
        Read a shift that :meth:`save` wrote.

        Raises
        ------
        DatasetError
            If the file is missing or something else.
        """
        try:
            return cls._from_dict(json.loads(Path(path).read_text()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise DatasetError(
                f"{path} is no shift ({type(exc).__name__}: {exc}): give a file that "
                "HullShift.save wrote"
            ) from exc

    @classmethod
    def shipped(cls) -> HullShift:
        """
        Load the shift from the crystals that ship to the reference that ships.

        Fitted to the crystals of the splits ``"train"`` and ``"validation"`` only.
        """
        data = files("crystens_flows.screening.hull") / "data" / "shift.json"
        return cls._from_dict(json.loads(data.read_text()))

    @classmethod
    def _from_dict(cls, content: dict[str, Any]) -> HullShift:
        fields = {name: content[name] for name in cls.__dataclass_fields__}
        fields["values"] = {str(k): float(v) for k, v in fields["values"].items()}
        return cls(**fields)


def fit_shift(dataset: Dataset, reference: HullReference) -> HullShift:
    """
    Fit the shift of formation energies from a data set to a reference.

    Compounds of the same id and composition in both are compared. The shares of the elements times
    one shift each are fitted to the differences with the Cauchy loss, which large differences
    hardly move, then again without the outliers. A shift for each element is what a new energy of
    that element brings; it cannot mend what changed for single compounds, such as another
    functional.

    Parameters
    ----------
    dataset
        Whose release the energies to be shifted are of.
    reference
        The release they are to be compared with.

    Returns
    -------
    HullShift
        The shift, and whether it helps.

    Raises
    ------
    InputError
        If fewer than five compounds are in both.
    """
    shares, differences = _common(dataset, reference)
    if len(differences) < _FOLDS:
        raise InputError(
            f"{len(differences)} compounds are in both the data set and the reference "
            f"({reference.name}), at least {_FOLDS} are needed: their ids must be the same"
        )
    # the rows are sorted by id, so that the parts do not depend on their order
    part = np.arange(len(differences)) % _FOLDS
    left = np.empty_like(differences)
    for fold in range(_FOLDS):
        held_out = part == fold
        values, _ = _fit(shares[~held_out], differences[~held_out])
        left[held_out] = differences[held_out] - shares[held_out] @ values
    values, n_outliers = _fit(shares, differences)
    before, after = np.abs(differences), np.abs(left)
    return HullShift(
        values={
            Element.from_Z(int(z)).symbol: round(float(values[z]), 5)
            for z in np.flatnonzero(shares.any(axis=0))
        },
        n_materials=len(differences),
        n_outliers=n_outliers,
        mean_absolute_difference_before=round(float(before.mean()), 6),
        mean_absolute_difference_after=round(float(after.mean()), 6),
        median_absolute_difference_before=round(float(np.median(before)), 6),
        median_absolute_difference_after=round(float(np.median(after)), 6),
    )


def _common(
    dataset: Dataset, reference: HullReference
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return shares of elements, shape ``(n, 119)``, and differences of compounds in both."""
    rows = {name: row for row, name in enumerate(reference.ids) if name is not None}
    shares, differences = [], []
    for i in sorted(range(len(dataset)), key=lambda i: dataset.material_ids[i]):
        row = rows.get(dataset.material_ids[i])
        energy = float(dataset.formation_energy_per_atom[i])
        if row is None or not np.isfinite(energy):
            continue
        ours = np.bincount(dataset.numbers[i, : dataset.n_sites[i]], minlength=_SIZE)
        theirs = np.zeros(_SIZE)
        np.add.at(theirs, reference.numbers[row], reference.fractions[row])
        ours = ours / ours.sum()
        if (ours > 0).sum() > 1 and np.allclose(ours, theirs, atol=1e-6):
            shares.append(ours)
            differences.append(reference.energies[row] - energy)
    return np.array(shares).reshape(-1, _SIZE), np.array(differences, dtype=float)


def _fit(
    shares: NDArray[np.float64], differences: NDArray[np.float64]
) -> tuple[NDArray[np.float64], int]:
    """Return a shift by atomic number, shape ``(119,)``, and the number of outliers."""
    first = _robust(shares, differences)
    kept = np.abs(differences - shares @ first) <= OUTLIER
    return _robust(shares[kept], differences[kept]), int((~kept).sum())


def _robust(shares: NDArray[np.float64], differences: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.optimize import least_squares

    values = np.zeros(_SIZE)
    present = np.flatnonzero(shares.any(axis=0))
    # elements that occur seldom stay near zero
    pull = np.sqrt(_REGULARIZATION) * np.eye(len(present))
    design = np.vstack([shares[:, present], pull])
    target = np.concatenate([differences, np.zeros(len(present))])
    fitted = least_squares(
        lambda x: design @ x - target,
        np.zeros(len(present)),
        jac=lambda _: design,
        loss="cauchy",
        f_scale=_LOSS_SCALE,
    )
    values[present] = fitted.x
    return values

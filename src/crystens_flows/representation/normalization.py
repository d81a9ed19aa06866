"""Scaling of a CrysTens to about 0..1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from crystens_flows.errors import InputError
from crystens_flows.representation.layout import ATTRIBUTES, N_ATTRIBUTES, PAIRS

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystens_flows.representation.arrays import CrystalArrays

QUANTITIES = (*ATTRIBUTES, *PAIRS)


@dataclass(frozen=True)
class Normalization:
    """
    Linear scaling that takes the range ``low..high`` of each quantity to 0..1, without clipping.

    Only entries of present sites are scaled: the diagonal of the pair block and the padding stay
    exactly zero.

    Parameters
    ----------
    ranges
        ``(low, high)`` for each of the eleven site attributes (angstrom, degree, fractional), for
        ``direction`` (differences of fractional coordinates) and for ``distance``.
    name
        How it is called in provenance and model cards.
    """

    ranges: Mapping[str, tuple[float, float]]
    name: str = "fitted"
    low: np.ndarray = field(init=False, repr=False, compare=False)
    span: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        missing = [quantity for quantity in QUANTITIES if quantity not in self.ranges]
        unknown = [quantity for quantity in self.ranges if quantity not in QUANTITIES]
        if missing or unknown:
            raise InputError(
                f"normalization {self.name!r}: needs a range for each of {', '.join(QUANTITIES)}"
                + (f"; missing: {', '.join(missing)}" if missing else "")
                + (f"; unknown: {', '.join(unknown)}" if unknown else "")
            )
        values = np.array([self.ranges[quantity] for quantity in QUANTITIES], dtype=np.float64)
        for quantity, (low, high) in zip(QUANTITIES, values, strict=True):
            if not (np.isfinite(low) and np.isfinite(high) and low < high):
                raise InputError(
                    f"normalization {self.name!r}: range of {quantity} is {low:g} to {high:g}; "
                    "give finite numbers, the lower one first"
                )
        object.__setattr__(self, "low", values[:, 0])
        object.__setattr__(self, "span", values[:, 1] - values[:, 0])

    @property
    def attribute_low(self) -> np.ndarray:
        """Value that becomes 0, for each of the eleven attributes."""
        return self.low[:N_ATTRIBUTES]

    @property
    def attribute_span(self) -> np.ndarray:
        """Difference that becomes 1, for each of the eleven attributes."""
        return self.span[:N_ATTRIBUTES]

    @property
    def pair_low(self) -> np.ndarray:
        """Value that becomes 0, for each of the four layers of the pair block."""
        return self.low[[N_ATTRIBUTES + 1, N_ATTRIBUTES, N_ATTRIBUTES, N_ATTRIBUTES]]

    @property
    def pair_span(self) -> np.ndarray:
        """Difference that becomes 1, for each of the four layers of the pair block."""
        return self.span[[N_ATTRIBUTES + 1, N_ATTRIBUTES, N_ATTRIBUTES, N_ATTRIBUTES]]

    @classmethod
    def fit(
        cls,
        structures: Sequence[Structure],
        space_groups: Sequence[int] | None = None,
        *,
        name: str = "fitted",
    ) -> Normalization:
        """
        Fit the ranges to a data set: the smallest and the largest value of each quantity.

        Parameters
        ----------
        structures
            Ordered structures of 1 to 52 sites.
        space_groups
            Their space group numbers; found with spglib when None.
        name
            Name of the result.

        Returns
        -------
        Normalization
            The fitted scaling.

        Raises
        ------
        InputError
            If there is no structure, or one that cannot be encoded.
        """
        from crystens_flows.representation.arrays import structure_arrays

        return cls.fit_arrays(structure_arrays(structures, space_groups), name=name)

    @classmethod
    def fit_arrays(cls, arrays: CrystalArrays, *, name: str = "fitted") -> Normalization:
        """
        Fit the ranges to a data set held as arrays.

        Parameters
        ----------
        arrays
            The crystals.
        name
            Name of the result.

        Returns
        -------
        Normalization
            The fitted scaling; a quantity that is the same everywhere gets a range of width 1
            around it.
        """
        if len(arrays.n_sites) == 0:
            raise InputError("normalization: nothing to fit; give at least one structure")
        present = np.arange(arrays.numbers.shape[1]) < arrays.n_sites[:, None]
        columns: list[np.ndarray] = [arrays.numbers[present]]
        columns += [arrays.frac_coords[..., axis][present] for axis in range(3)]
        columns += [arrays.lattice_parameters[:, i] for i in range(6)]
        columns += [arrays.space_groups]
        ranges = {
            quantity: (float(column.min()), float(column.max()))
            for quantity, column in zip(ATTRIBUTES, columns, strict=True)
        }
        direction = 0.0
        shortest, longest = np.inf, 0.0
        for coords, n in zip(arrays.frac_coords, arrays.n_sites, strict=True):
            upper = np.triu_indices(n, 1)
            differences = coords[upper[0]].astype(np.float64) - coords[upper[1]]
            if len(differences):
                distances = np.linalg.norm(differences, axis=1)
                direction = max(direction, float(np.abs(differences).max()))
                shortest = min(shortest, float(distances.min()))
                longest = max(longest, float(distances.max()))
        # Symmetric, so that an absent difference and a difference of zero stay 0 and 1/2 apart.
        ranges["direction"] = (-direction, direction) if direction > 0 else (-0.5, 0.5)
        ranges["distance"] = (shortest, longest) if np.isfinite(shortest) else (0.0, 1.0)
        for quantity, (low, high) in ranges.items():
            if high <= low:
                ranges[quantity] = (low - 0.5, low + 0.5)
        return cls(ranges, name)

    def to_dict(self) -> dict[str, Any]:
        """
        Return the scaling as plain types, for a model card.

        Returns
        -------
        dict
            ``name`` and ``ranges``.
        """
        return {
            "name": self.name,
            "ranges": {quantity: list(self.ranges[quantity]) for quantity in QUANTITIES},
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Normalization:
        """
        Restore the scaling from :meth:`to_dict`.

        Parameters
        ----------
        d
            What :meth:`to_dict` returned.

        Returns
        -------
        Normalization
            The same scaling.

        Raises
        ------
        InputError
            If a range is missing, unknown or empty.
        """
        try:
            ranges = {
                str(quantity): (float(low), float(high))
                for quantity, (low, high) in d["ranges"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise InputError(
                "normalization: expected {'name': ..., 'ranges': {quantity: [low, high]}}"
            ) from exc
        return cls(ranges, str(d.get("name", "fitted")))


REFERENCE = Normalization(
    {
        "atomic_number": (1.0, 99.0),
        "x": (0.0, 0.99999333),
        "y": (0.0, 0.99999333),
        "z": (0.0, 0.99999),
        "a": (1.7624, 42.664),
        "b": (1.7624, 45.183),
        "c": (2.168, 116.195),
        "alpha": (59.767, 120.0),
        "beta": (59.702, 138.423),
        "gamma": (58.919, 120.0),
        "space_group": (1.0, 230.0),
        "direction": (-0.99999333, 0.99999333),
        "distance": (0.02137849, 1.65467322),
    },
    name="avg_std",
)
"""The scaling of the published CrysTens code: ranges of its data set, named as there."""

"""A data set of crystal structures in compact arrays."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from crystens_flows.datasets.records import MAX_SITES, PROPERTIES, Record
from crystens_flows.errors import DatasetError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystens_flows.representation import Normalization


@dataclass(frozen=True, eq=False)
class Dataset:
    """
    Ordered crystal structures of 1 to 52 sites, their properties and their splits.

    Everything is held in arrays, about 1 kB a structure; pymatgen structures and CrysTens are
    made when they are asked for.

    Parameters
    ----------
    material_ids
        The id of each material, e.g. ``"mp-149"``.
    numbers
        Atomic numbers, shape ``(n, 52)``, zero after the last site.
    frac_coords
        Fractional coordinates in [0, 1), shape ``(n, 52, 3)``, zero after the last site.
    lattice
        Lattice parameters a, b, c in Angstrom and alpha, beta, gamma in degrees, shape ``(n, 6)``.
    n_sites
        The number of sites, shape ``(n,)``.
    space_groups
        International space group numbers as spglib finds them (symprec 0.01 Angstrom, angle
        tolerance 5 degrees), shape ``(n,)``.
    formation_energy_per_atom, energy_above_hull
        In eV/atom, shape ``(n,)``, NaN where unknown.
    band_gap
        In eV, shape ``(n,)``, NaN where unknown.
    split
        The rows of each split, sorted, by its name; empty for a data set without splits.
    """

    material_ids: list[str]
    numbers: NDArray[np.uint8]
    frac_coords: NDArray[np.float32]
    lattice: NDArray[np.float32]
    n_sites: NDArray[np.uint8]
    space_groups: NDArray[np.int16]
    formation_energy_per_atom: NDArray[np.float32]
    energy_above_hull: NDArray[np.float32]
    band_gap: NDArray[np.float32]
    split: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    @classmethod
    def from_records(cls, records: Sequence[Record]) -> Dataset:
        """
        Make a data set from records.

        Parameters
        ----------
        records
            What the readers accepted.

        Returns
        -------
        Dataset
            One row a record, in the same order, without splits.

        Raises
        ------
        DatasetError
            If there is no record.
        """
        n = len(records)
        if n == 0:
            raise DatasetError(
                "the data set is empty: give at least one ordered structure of 1 to "
                f"{MAX_SITES} sites"
            )
        numbers = np.zeros((n, MAX_SITES), dtype=np.uint8)
        frac_coords = np.zeros((n, MAX_SITES, 3), dtype=np.float32)
        for i, record in enumerate(records):
            numbers[i, : len(record.numbers)] = record.numbers
            frac_coords[i, : len(record.numbers)] = record.frac_coords
        known = {
            name: np.array([getattr(record, name) for record in records], dtype=np.float32)
            for name in PROPERTIES
        }
        return cls(
            material_ids=[record.material_id for record in records],
            numbers=numbers,
            frac_coords=frac_coords,
            lattice=np.array([record.lattice for record in records], dtype=np.float32),
            n_sites=np.array([len(record.numbers) for record in records], dtype=np.uint8),
            space_groups=np.array([record.space_group for record in records], dtype=np.int16),
            formation_energy_per_atom=known["formation_energy_per_atom"],
            energy_above_hull=known["energy_above_hull"],
            band_gap=known["band_gap"],
        )

    def __len__(self) -> int:
        return len(self.material_ids)

    def structure(self, index: int) -> Structure:
        """
        Make the pymatgen structure of one row.

        Parameters
        ----------
        index
            The row.

        Returns
        -------
        Structure
            The cell as it was read, in pymatgen's standard orientation.
        """
        from pymatgen.core import Lattice, Structure

        n = int(self.n_sites[index])
        return Structure(
            Lattice.from_parameters(*self.lattice[index].astype(float)),
            self.numbers[index, :n].tolist(),
            self.frac_coords[index, :n].astype(float),
        )

    def structures(self, indices: Sequence[int] | NDArray | None = None) -> Iterator[Structure]:
        """Make the structures of some rows (default: all), one at a time."""
        for index in range(len(self)) if indices is None else indices:
            yield self.structure(int(index))

    def crystens_batches(
        self,
        indices: Sequence[int] | NDArray | None = None,
        batch_size: int = 256,
        normalization: Normalization | None = None,
        descriptors: Sequence[str] = (),
    ) -> Iterator[NDArray[np.float32]]:
        """
        Encode some rows as CrysTens, one batch at a time.

        Parameters
        ----------
        indices
            The rows, in the order wanted; all by default.
        batch_size
            How many CrysTens a batch holds; the last may hold fewer.
        normalization
            The normalisation of the tensors; that of the reference code by default.
        descriptors
            Chemical descriptors to add a layer of each, as for
            :func:`~crystens_flows.representation.encode.encode`.

        Yields
        ------
        numpy.ndarray
            Normalised CrysTens, float32, shape ``(m, 4, 64, 64)``; more layers with descriptors.
        """
        from crystens_flows.representation import REFERENCE, add_descriptors, render

        rows = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=np.int64)
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            tensors = render(
                self.numbers[chosen],
                self.frac_coords[chosen],
                self.lattice[chosen],
                self.space_groups[chosen],
                self.n_sites[chosen],
                normalization=REFERENCE if normalization is None else normalization,
            )
            if descriptors:
                tensors = add_descriptors(tensors, self.numbers[chosen], descriptors)
            yield tensors

    @cached_property
    def reduced_formulas(self) -> list[str]:
        """The reduced formula of each row, as pymatgen writes it."""
        from pymatgen.core import Composition, Element

        known: dict[tuple[tuple[int, int], ...], str] = {}
        formulas = []
        for row, n in zip(self.numbers, self.n_sites, strict=True):
            counts = tuple(sorted(Counter(row[:n].tolist()).items()))
            if counts not in known:
                composition = Composition({Element.from_Z(z): count for z, count in counts})
                with warnings.catch_warnings():
                    # noble gases have no electronegativity to order by; nobody can mend that
                    warnings.simplefilter("ignore")
                    known[counts] = composition.reduced_formula
            formulas.append(known[counts])
        return formulas

    def subset(self, indices: Sequence[int] | NDArray) -> Dataset:
        """Return some rows, in the order given, as a data set without splits."""
        rows = np.asarray(indices, dtype=np.int64)
        if len(rows) == 0:
            raise DatasetError("the data set is empty: choose at least one row")
        return Dataset(
            material_ids=[self.material_ids[i] for i in rows],
            numbers=self.numbers[rows],
            frac_coords=self.frac_coords[rows],
            lattice=self.lattice[rows],
            n_sites=self.n_sites[rows],
            space_groups=self.space_groups[rows],
            **{name: getattr(self, name)[rows] for name in PROPERTIES},
        )

    def with_split(
        self,
        fractions: Mapping[str, float],
        by: Literal["material", "material_id", "formula"] = "material",
        seed: int = 0,
    ) -> Dataset:
        """
        Return the same data set with splits.

        Parameters
        ----------
        fractions
            The share of each split by its name, summing to one, e.g.
            ``{"train": 0.9, "validation": 0.05, "test": 0.05}``.
        by
            What never stands in two splits: ``"material"`` (rows of the same id, or of the same
            reduced formula and space group), ``"material_id"``, or ``"formula"`` (rows of the
            same reduced formula or the same id).
        seed
            Another seed gives another choice.

        Returns
        -------
        Dataset
            With :attr:`split` set; the arrays are shared.

        Raises
        ------
        InputError
            If the fractions do not sum to one, or ``by`` is unknown.
        """
        from crystens_flows.datasets.splits import assign, group_rows

        return replace(self, split=assign(group_rows(self, by), fractions, seed))

    def summary(self) -> dict[str, Any]:
        """
        Count what the data set holds.

        Returns
        -------
        dict
            Numbers of structures, materials, formulas and elements, of structures by split, by
            element and by number of elements, and the smallest, median and largest number of
            sites; plain Python values.
        """
        from crystens_flows.datasets.statistics import summarize

        return summarize(self)

    def save(self, path: str | Path) -> Path:
        """
        Write the data set as one compressed file.

        Parameters
        ----------
        path
            The file, usually ``*.npz``; an existing one is replaced, at once and only when the
            new one is complete.

        Returns
        -------
        Path
            The file.
        """
        from crystens_flows.datasets.storage import save

        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Dataset:
        """
        Read a data set that :meth:`save` wrote.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        Dataset
            The data set.

        Raises
        ------
        DatasetError
            If the file is missing, truncated or something else.
        """
        from crystens_flows.datasets.storage import load

        return load(Path(path))

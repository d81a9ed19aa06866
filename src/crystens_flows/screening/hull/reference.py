"""A reference set of formation energies, and the energies above its convex hull."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition

from crystens_flows.errors import InputError
from crystens_flows.screening.hull.compositions import (
    read_composition,
    read_energy,
)
from crystens_flows.screening.hull.system import SystemHull

if TYPE_CHECKING:
    from pymatgen.entries.computed_entries import ComputedEntry

    from crystens_flows.datasets import Dataset
    from crystens_flows.screening.hull.evaluation import HullResult
    from crystens_flows.screening.hull.ranking import HullRank

MAX_HULLS = 512
"""How many hulls of chemical systems are kept."""

MAX_ELEMENT_BINDING = 0.5
"""An element this many eV/atom below zero shows that total energies were given."""


@dataclass(frozen=True, eq=False)
class HullReference:
    """
    Formation energies of known phases, over which hulls are made when they are asked for.

    Every element of the entries stands at zero, whether or not it has an entry of its own.

    Parameters
    ----------
    name
        Where the entries come from, and of which release they are.
    ids
        The id of each entry; None for an entry without.
    formulas
        The formula of each entry, as it was given.
    numbers
        The atomic numbers of each entry, shape ``(n, most elements)``, zero where there are fewer.
    fractions
        The fraction of atoms of each of these, same shape.
    energies
        Formation energies in eV/atom, shape ``(n,)``.
    systems
        The chemical systems, as sets of atomic numbers, that the entries were asked for; None
        where the entries are not limited to some.
    """

    name: str
    ids: tuple[str | None, ...]
    formulas: tuple[str, ...]
    numbers: NDArray[np.uint8]
    fractions: NDArray[np.float64]
    energies: NDArray[np.float64]
    systems: tuple[frozenset[int], ...] | None = None
    _hulls: dict[tuple[int, ...], SystemHull] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def shipped(cls) -> HullReference:
        """
        Load the reference that ships with the package.

        33,758 entries of the Materials Project on or near its hull, release of 2024, under
        CC BY 4.0; ``screening/hull/data/ATTRIBUTION.txt`` names the sources.

        Returns
        -------
        HullReference
            The same object each time.

        Examples
        --------
        >>> from crystens_flows.screening.hull import HullReference
        >>> reference = HullReference.shipped()
        >>> result = reference.evaluate(["NaCl"], [-2.0])[0]
        >>> round(result.energy_above_hull, 3), result.decomposition
        (0.038, {'NaCl': 1.0})
        """
        from crystens_flows.screening.hull.sources import shipped

        return shipped()

    @classmethod
    def from_csv(cls, path: str | Path) -> HullReference:
        """
        Read the columns ``formula``, ``formation_energy_per_atom`` and, if there, ``material_id``.

        Parameters
        ----------
        path
            A CSV file, also as ``*.gz``.

        Returns
        -------
        HullReference
            One entry a row.

        Raises
        ------
        DatasetError
            If the file cannot be read, has no such columns, or is empty.
        InputError
            If a row has no valid formula or energy; it is named.
        """
        from crystens_flows.screening.hull.sources import from_csv

        return from_csv(Path(path))

    @classmethod
    def from_entries(cls, entries: Sequence[ComputedEntry]) -> HullReference:
        """
        Take pymatgen's entries, which hold total energies.

        Parameters
        ----------
        entries
            Entries with a total energy (corrections included) and a composition; every element
            must have at least one entry of its own, from which formation energies are counted.

        Returns
        -------
        HullReference
            One entry an entry.

        Raises
        ------
        InputError
            If an element has no entry, or an entry no finite energy.
        """
        from crystens_flows.screening.hull.sources import from_entries

        return from_entries(entries)

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> HullReference:
        """
        Take the formation energies of a data set; rows of unknown energy are left out.

        Parameters
        ----------
        dataset
            A data set.

        Returns
        -------
        HullReference
            One entry for each row of known formation energy.

        Raises
        ------
        DatasetError
            If no row has a formation energy.
        """
        from crystens_flows.screening.hull.sources import from_dataset

        return from_dataset(dataset)

    @classmethod
    def from_materials_project(
        cls, chemical_systems: Iterable[str], api_key: str | None = None
    ) -> HullReference:
        """
        Download the entries of some chemical systems and of all their subsystems.

        The energies are those of GGA and GGA+U with the Materials Project's corrections (thermo
        type ``GGA_GGA+U``). Needs the extra ``mp`` and an API key.

        Parameters
        ----------
        chemical_systems
            E.g. ``["Li-Fe-O", "Na-Cl"]``.
        api_key
            The key; by default the environment variable ``MP_API_KEY``, or ``PMG_MAPI_KEY`` in
            pymatgen's settings.

        Returns
        -------
        HullReference
            It judges candidates of these systems and their subsystems only.

        Raises
        ------
        InputError
            If a chemical system is none.
        DatasetError
            If there is no API key, or the Materials Project does not answer.
        MissingExtraError
            If mp-api is not installed.
        """
        from crystens_flows.screening.hull.materials_project import from_materials_project

        return from_materials_project(chemical_systems, api_key)

    @classmethod
    def from_rows(
        cls,
        name: str,
        rows: Iterable[tuple[str, str | None, Composition | str, float | str | None]],
        systems: tuple[frozenset[int], ...] | None = None,
    ) -> HullReference:
        """
        Check and collect entries.

        Parameters
        ----------
        name
            Where they come from.
        rows
            For each entry where it stands (for messages), its id, its composition and its
            formation energy in eV/atom.
        systems
            As for the class.

        Returns
        -------
        HullReference
            The entries in the same order.

        Raises
        ------
        InputError
            If a row has no valid composition or energy, or there is no row.
        """
        ids, formulas, parts, energies = [], [], [], []
        for where, entry_id, formula, energy in rows:
            numbers, fractions, reason = read_composition(formula)
            value, energy_reason = read_energy(energy)
            if value is not None and len(numbers) == 1 and value < -MAX_ELEMENT_BINDING:
                energy_reason = (
                    f"no formation energy: an element stands at {value:g} eV/atom, which looks "
                    "like a total energy; give those as ComputedEntry to from_entries"
                )
            if reason or energy_reason:
                raise InputError(f"{where}: {reason or energy_reason}")
            ids.append(entry_id or None)
            formulas.append(formula if isinstance(formula, str) else formula.formula)
            parts.append((numbers, fractions))
            energies.append(value)
        if not parts:
            raise InputError(f"{name}: no entries: give at least one formula and formation energy")
        width = max(len(numbers) for numbers, _ in parts)
        all_numbers = np.zeros((len(parts), width), dtype=np.uint8)
        all_fractions = np.zeros((len(parts), width))
        for i, (numbers, fractions) in enumerate(parts):
            all_numbers[i, : len(numbers)] = numbers
            all_fractions[i, : len(numbers)] = fractions
        return cls(
            name,
            tuple(ids),
            tuple(formulas),
            all_numbers,
            all_fractions,
            np.array(energies, dtype=float),
            systems,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def elements(self) -> frozenset[int]:
        """The atomic numbers of all elements in the reference."""
        found = {int(z) for z in np.unique(self.numbers) if z}
        return frozenset(found.union(*(self.systems or ())))

    def evaluate(
        self,
        compositions: Sequence[Composition | str],
        formation_energies_per_atom: Sequence[float | None] | NDArray[np.float64],
        exclude: Sequence[Collection[str]] | None = None,
    ) -> list[HullResult]:
        """
        Find where candidates stand to the hull of the reference.

        The candidates do not see each other; :meth:`rank_in_system` ranks them against each other.
        Each result is the same whatever else is in the list.

        Parameters
        ----------
        compositions
            One for each candidate, as pymatgen's class or a formula.
        formation_energies_per_atom
            In eV/atom; None or NaN where unknown.
        exclude
            For each candidate the ids of the reference entries that it is not held against, e.g.
            its own; ids that are not in the reference change nothing. An element stays at zero.

        Returns
        -------
        list of HullResult
            In the same order.

        Raises
        ------
        InputError
            If the lists differ in length.
        """
        from crystens_flows.screening.hull.evaluation import evaluate

        return evaluate(self, compositions, formation_energies_per_atom, exclude)

    def rank_in_system(
        self,
        compositions: Sequence[Composition | str],
        formation_energies_per_atom: Sequence[float | None] | NDArray[np.float64],
    ) -> list[HullRank]:
        """
        Hold candidates against the reference and against each other.

        Parameters
        ----------
        compositions, formation_energies_per_atom
            As for :meth:`evaluate`.

        Returns
        -------
        list of HullRank
            In the same order.

        Raises
        ------
        InputError
            If the lists differ in length.
        """
        from crystens_flows.screening.hull.ranking import rank_in_system

        return rank_in_system(self, compositions, formation_energies_per_atom)

    def rows_in(self, system: Iterable[int]) -> NDArray[np.int64]:
        """Find the entries that hold no other elements than these."""
        allowed = [0, 0]
        for z in system:
            allowed[z // 64] |= 1 << (z % 64)
        outside = self._masks & ~np.array(allowed, dtype=np.uint64)
        return np.flatnonzero(~outside.any(axis=1))

    def hull(self, system: tuple[int, ...]) -> SystemHull:
        """Make the hull of a system, or take it from those that were used last."""
        hull = self._hulls.pop(system, None) or SystemHull(self, system)
        self._hulls[system] = hull
        if len(self._hulls) > MAX_HULLS:
            del self._hulls[next(iter(self._hulls))]
        return hull

    def rows_of(self, ids: Collection[str]) -> frozenset[int]:
        """Find the entries with some ids."""
        if isinstance(ids, str):
            raise InputError(f"excluded ids: {ids!r} is one id; give a set of ids for a candidate")
        return frozenset(row for name in ids for row in self._rows_by_id.get(name, ()))

    @cached_property
    def _rows_by_id(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = defaultdict(list)
        for row, name in enumerate(self.ids):
            if name is not None:
                rows[name].append(row)
        return dict(rows)

    @cached_property
    def _masks(self) -> NDArray[np.uint64]:
        """The elements of each entry as bits, shape ``(n, 2)``."""
        words, bits = np.divmod(self.numbers.astype(np.uint64), np.uint64(64))
        marks = np.where(self.numbers > 0, np.uint64(1) << bits, np.uint64(0))
        halves = [np.bitwise_or.reduce(np.where(words == w, marks, 0), axis=1) for w in (0, 1)]
        return np.stack(halves, axis=1).astype(np.uint64)

"""A reference set of formation energies, and the energies above its convex hull."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition

from crystens_flows.errors import InputError
from crystens_flows.screening.hull.compositions import (
    read_composition,
    read_energy,
    reduced_formula,
)

if TYPE_CHECKING:
    from pymatgen.entries.computed_entries import ComputedEntry

    from crystens_flows.datasets import Dataset
    from crystens_flows.screening.hull.evaluation import HullResult
    from crystens_flows.screening.hull.ranking import HullRank

MAX_SYSTEMS = 10_000
"""How many chemical systems are kept."""

MAX_ELEMENT_BINDING = 0.5
"""An element this many eV/atom below zero shows that total energies were given."""


class System(NamedTuple):
    """A chemical system: its elements, the entries below zero, and the number of compounds."""

    numbers: tuple[int, ...]
    rows: NDArray[np.int64]
    n_compounds: int


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
        The formula of each entry, as it was given; reduced where none was written.
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
    _systems: dict[tuple[int, ...], System] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def shipped(cls) -> HullReference:
        """
        Load the reference that ships with the package.

        33,758 entries of the Materials Project on or near its hull, release of 2024, under
        CC BY 4.0; ``screening/hull/data/ATTRIBUTION.txt`` names the sources. That release has no
        ytterbium: its compounds are those of the crystals that ship, of an earlier one. All
        elements up to lawrencium stand at zero.

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
            formulas.append(formula if isinstance(formula, str) else reduced_formula(formula))
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

    def extended(
        self,
        rows: Iterable[tuple[str, str | None, Composition | str, float | str | None]],
        systems: Iterable[frozenset[int]],
    ) -> HullReference:
        """
        Put further entries with these, for further chemical systems.

        Parameters
        ----------
        rows
            As for :meth:`from_rows`; entries with an id that is here already are left out.
        systems
            The chemical systems that they were asked for.

        Returns
        -------
        HullReference
            With this one's name; itself stays what it is.

        Raises
        ------
        InputError
            If a row has no valid composition or energy.
        """
        known = set(self.ids) - {None}
        entries = zip(self.ids, self.formulas, self.energies.tolist(), strict=True)
        own = [(f"{self.name} entry {i}", *entry) for i, entry in enumerate(entries)]
        new = [row for row in rows if row[1] not in known]
        return HullReference.from_rows(self.name, own + new, (*(self.systems or ()), *systems))

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

    def system(self, numbers: tuple[int, ...]) -> System:
        """
        Find the entries of a chemical system, or take it from those that were used last.

        Parameters
        ----------
        numbers
            The atomic numbers in ascending order.

        Returns
        -------
        System
            The system.
        """
        system = self._systems.pop(numbers, None) or self._find_system(numbers)
        self._systems[numbers] = system
        if len(self._systems) > MAX_SYSTEMS:
            del self._systems[next(iter(self._systems))]
        return system

    def _find_system(self, numbers: tuple[int, ...]) -> System:
        known = self._rows_by_system
        if 2 ** len(numbers) < len(known):
            sizes = range(1, len(numbers) + 1)
            parts = [part for size in sizes for part in combinations(numbers, size)
                     if part in known]  # fmt: skip
        else:
            whole = set(numbers)
            parts = [part for part in known if whole.issuperset(part)]
        rows = np.array([row for part in parts for row in known[part]], dtype=np.int64)
        # with the elements at zero, nothing from zero on is ever needed for a mixture
        return System(
            numbers,
            np.sort(rows[self.energies[rows] < 0]),
            sum(len(known[part]) for part in parts if len(part) > 1),
        )

    def element_row(self, number: int, excluded: Set[int]) -> int:
        """Find the entry of an element at zero; minus the atomic number where there is none."""
        for row in self._rows_by_system.get((number,), ()):
            if self.energies[row] == 0 and row not in excluded:
                return row
        return -number

    def is_compound_of(self, system: System, row: int) -> bool:
        """Tell whether an entry is a compound of a system or of a subsystem."""
        elements = [z for z in self.numbers[row].tolist() if z]
        return len(elements) > 1 and set(elements).issubset(system.numbers)

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
    def _rows_by_system(self) -> dict[tuple[int, ...], list[int]]:
        """The entries of each chemical system, without its subsystems."""
        rows: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for row, numbers in enumerate(self.numbers.tolist()):
            rows[tuple(z for z in numbers if z)].append(row)
        return dict(rows)

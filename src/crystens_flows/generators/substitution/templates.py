"""Known crystals as templates: sites, space group, and what stands in which role."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from crystens_flows.errors import CheckpointError, DatasetError
from crystens_flows.generators.base import Progress
from crystens_flows.generators.elements import MAX_ELEMENTS, MAX_Z
from crystens_flows.generators.substitution.ions import IonTable
from crystens_flows.representation import MAX_SITES

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset

SYMPREC = 0.1
"""Distance tolerance in Angstrom within which a crystal is taken as symmetric."""

Pattern = tuple[int, ...]
"""Atoms in each role of one formula unit, ascending: (1, 1, 3) of a perovskite."""


@dataclass(frozen=True, eq=False)
class Crystals:
    """
    Primitive cells of crystals.

    Parameters
    ----------
    numbers
        Atomic numbers, zero after the last site, uint8 of shape (n, 52).
    frac_coords
        Fractional coordinates, float32 of shape (n, 52, 3).
    lattice
        Lattice parameters in Angstrom and degrees, float32 of shape (n, 6).
    space_groups
        Space group numbers within 0.1 A, int16 of shape (n,).
    rows
        Row of each in the data set whose cell it has unchanged, -1 for reduced ones, shape (n,).
    """

    numbers: np.ndarray
    frac_coords: np.ndarray
    lattice: np.ndarray
    space_groups: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def atoms(self) -> np.ndarray:
        """Atoms of each atomic number, shape (n, 101)."""
        atoms = np.zeros((len(self), MAX_Z + 1), dtype=np.int32)
        np.add.at(atoms, (np.arange(len(self))[:, None], self.numbers), 1)
        atoms[:, 0] = 0
        return atoms

    @cached_property
    def n_sites(self) -> np.ndarray:
        """Number of sites, shape (n,)."""
        return self.atoms.sum(1)

    @property
    def volumes(self) -> np.ndarray:
        """Volume of each cell in A^3, shape (n,)."""
        lengths, angles = np.split(self.lattice.astype(float), 2, axis=1)
        cosines = np.cos(np.radians(angles))
        square = 1 - (cosines**2).sum(1) + 2 * cosines.prod(1)
        return lengths.prod(1) * np.sqrt(square)


def rows_of(dataset: Dataset, split: str) -> np.ndarray:
    """Return the rows of a split; raise DatasetError if there are none."""
    rows = dataset.split.get(split, np.array([], dtype=int))
    if len(rows) == 0:
        raise DatasetError(
            f"the data set has no crystals in split '{split}': give one with splits 'train' and "
            "'validation'"
        )
    return rows


def primitive_crystals(
    dataset: Dataset, split: str, progress: Progress | None = None
) -> tuple[Crystals, dict[str, int]]:
    """
    Find space groups and primitive cells of a split of a data set.

    Parameters
    ----------
    dataset
        The data set.
    split
        Name of the split.
    progress
        Called with the crystals done and the crystals in all.

    Returns
    -------
    tuple
        The crystals, and how many were left out for each reason. A cell that is primitive is
        kept as it is.

    Raises
    ------
    DatasetError
        If there are no crystals in the split, or none that can be a template.
    """
    indices = rows_of(dataset, split)
    cells: list[tuple] = []
    left_out: Counter[str] = Counter()
    for done, row in enumerate(indices.tolist(), start=1):
        cell = _primitive(dataset, row)
        if isinstance(cell, str):
            left_out[cell] += 1
        else:
            cells.append(cell)
        if progress is not None:
            progress(done, len(indices))
    if not cells:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in left_out.items())
        raise DatasetError(f"no crystal in split '{split}' can be a template: {reasons}")
    crystals = Crystals(
        np.zeros((len(cells), MAX_SITES), dtype=np.uint8),
        np.zeros((len(cells), MAX_SITES, 3), dtype=np.float32),
        np.array([cell[2] for cell in cells], dtype=np.float32),
        np.array([cell[3] for cell in cells], dtype=np.int16),
        np.array([cell[4] for cell in cells], dtype=np.int32),
    )
    for k, (numbers, frac_coords, *_) in enumerate(cells):
        crystals.numbers[k, : len(numbers)] = numbers
        crystals.frac_coords[k, : len(numbers)] = frac_coords
    return crystals, dict(left_out)


def _primitive(dataset: Dataset, row: int) -> tuple | str:
    """Return sites, lattice, space group and row of a primitive cell, or why there is none."""
    import spglib
    from pymatgen.core import Lattice

    n = int(dataset.n_sites[row])
    numbers, frac_coords = dataset.numbers[row, :n], dataset.frac_coords[row, :n]
    parameters = dataset.lattice[row]
    distinct = np.unique(numbers)
    if distinct.max() > MAX_Z:
        return f"elements beyond Z = {MAX_Z}"
    if len(distinct) > MAX_ELEMENTS:
        return f"more than {MAX_ELEMENTS} elements"
    matrix = Lattice.from_parameters(*parameters.astype(float)).matrix
    cell: Any = (matrix, frac_coords.astype(float), numbers.astype(int))
    found = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    if found is None:
        return "no space group found"
    if len(np.unique(found.mapping_to_primitive)) < n:
        reduced = spglib.find_primitive(cell, symprec=SYMPREC)
        if reduced is None:
            return "no primitive cell found"
        vectors, coordinates, kinds = (np.asarray(part) for part in reduced)
        return kinds, coordinates % 1.0, Lattice(vectors).parameters, found.number, -1
    return numbers, frac_coords, parameters, found.number, row


@dataclass(frozen=True, eq=False)
class Roles:
    """
    What stands in the roles of each template, a role for an element, by count and then ion.

    Parameters
    ----------
    ions
        Place of the ion in the table, 0 for no role, int16 of shape (n, 9).
    counts
        Atoms in the primitive cell, uint8 of shape (n, 9).
    charged
        Whether there are oxidation states that balance, shape (n,).
    """

    ions: np.ndarray
    counts: np.ndarray
    charged: np.ndarray

    @classmethod
    def of(cls, crystals: Crystals, table: IonTable) -> Roles:
        """Guess oxidation states of crystals; elements without where none balance."""
        ions = np.zeros((len(crystals), MAX_ELEMENTS), dtype=np.int16)
        counts = np.zeros((len(crystals), MAX_ELEMENTS), dtype=np.uint8)
        charged = np.zeros(len(crystals), dtype=bool)
        for k, atoms in enumerate(crystals.atoms):
            numbers = np.flatnonzero(atoms)
            found = table.neutral(tuple(numbers.tolist()), atoms[None, numbers])[0]
            charged[k] = found is not None
            placed = numbers if found is None else found
            order = np.lexsort((placed, atoms[numbers]))
            ions[k, : len(order)] = placed[order]
            counts[k, : len(order)] = atoms[numbers][order]
        return cls(ions, counts, charged)

    @cached_property
    def by_pattern(self) -> dict[Pattern, np.ndarray]:
        """Return the templates of each pattern."""
        found: dict[Pattern, list[int]] = defaultdict(list)
        for k, counts in enumerate(self.counts.tolist()):
            found[pattern_of(counts)].append(k)
        return {pattern: np.array(rows) for pattern, rows in found.items()}


def pattern_of(counts: list[int]) -> Pattern:
    """Return the pattern of the atoms in each role; those of none do not count."""
    present = sorted(count for count in counts if count)
    unit = math.gcd(*present)
    return tuple(count // unit for count in present)


def packed(
    crystals: Crystals, roles: Roles, train: np.ndarray | None
) -> tuple[dict[str, np.ndarray], Crystals, Roles]:
    """
    Give templates as arrays of a checkpoint.

    Parameters
    ----------
    crystals, roles
        The templates.
    train
        Rows of the training split where that is the one that ships: its crystals are then named,
        not written again. None writes all.

    Returns
    -------
    tuple
        Arrays by name, and the templates in the order in which :func:`unpacked` gives them.
    """
    named = crystals.rows >= 0 if train is not None else np.zeros(len(crystals), dtype=bool)
    order = np.concatenate([np.flatnonzero(named), np.flatnonzero(~named)])
    crystals = Crystals(**{f.name: getattr(crystals, f.name)[order] for f in fields(Crystals)})
    roles = Roles(**{f.name: getattr(roles, f.name)[order] for f in fields(Roles)})
    n = int(named.sum())
    positions = np.searchsorted(train, crystals.rows[:n]) if train is not None else np.array([])
    arrays = {
        "named": positions.astype(np.int32),
        "space_groups": crystals.space_groups,
        "numbers": crystals.numbers[n:],
        "frac_coords": crystals.frac_coords[n:],
        "lattice": crystals.lattice[n:],
        **{f"roles.{f.name}": getattr(roles, f.name) for f in fields(Roles)},
    }
    return arrays, crystals, roles


def unpacked(arrays: Mapping[str, np.ndarray], shipped: Dataset | None) -> tuple[Crystals, Roles]:
    """
    Read templates from a checkpoint.

    Parameters
    ----------
    arrays
        As :func:`packed` gives them.
    shipped
        The crystals that ship, if some are named.

    Raises
    ------
    CheckpointError
        If they do not fit together.
    """
    named = arrays["named"]
    if len(named) and shipped is None:
        raise CheckpointError("it names crystals of no data set")
    rows = shipped.split["train"][named] if shipped is not None else named.astype(np.int64)
    stored = {name: arrays[name] for name in ("numbers", "frac_coords", "lattice")}
    if shipped is not None:
        stored = {
            name: np.concatenate([getattr(shipped, name)[rows], value])
            for name, value in stored.items()
        }
    n = len(arrays["space_groups"])
    crystals = Crystals(
        **stored,
        space_groups=arrays["space_groups"],
        rows=np.concatenate([rows, np.full(n - len(rows), -1)]).astype(np.int32),
    )
    roles = Roles(**{f.name: arrays[f"roles.{f.name}"] for f in fields(Roles)})
    shapes = {len(value) for value in (*stored.values(), roles.ions, roles.counts, roles.charged)}
    if n == 0 or shapes != {n}:
        raise CheckpointError("its templates do not fit together")
    return crystals, roles

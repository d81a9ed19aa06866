"""pymatgen's StructureMatcher against many crystals at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher
from pymatgen.core import Lattice
from pymatgen.util.coord import pbc_shortest_vectors
from scipy.optimize import linear_sum_assignment

from crystens_flows.screening.reduced_cell import SLACK, ReducedCell, cell_parameters

LENGTH_TOLERANCE = 0.2
"""StructureMatcher's default `ltol`."""

SITE_TOLERANCE = 0.3
"""StructureMatcher's default `stol`."""

ANGLE_TOLERANCE = 5.0
"""StructureMatcher's default `angle_tol`, degree."""

MAX_PROOFS = 4
"""In so many ways is a cell laid on a crystal before the matcher is asked."""

MAX_ROWS_AT_ONCE = 12_000
"""Up to so many lattice vectors it is faster to try too many than to try crystal by crystal."""

MAX_ROWS = 200_000
"""How many lattice vectors, or placements of one crystal on another, are tried at a time."""


class CrystalIndex:
    """
    Crystals, to be asked which of them a structure equals.

    pymatgen's StructureMatcher, with its default tolerances, is the judge, always in the same
    direction: known crystal first. It demands of a match that some basis of the known lattice has
    lengths and angles like the new one's and that, one site laid upon another, all sites lie near
    sites of their elements. These are tested here for many crystals at once. What fails is no
    match; what passes is one if the sites paired by the matcher's rule are as close as it asks,
    and is left to the matcher itself where that rule is not enough. So the answers are
    those of a loop over all crystals.
    """

    def __init__(self) -> None:
        self._matcher = StructureMatcher(
            ltol=LENGTH_TOLERANCE,
            stol=SITE_TOLERANCE,
            angle_tol=ANGLE_TOLERANCE,
            comparator=ElementComparator(),
        )
        self._buckets: dict[tuple[str, ...], _Bucket] = {}

    def add(self, cell: ReducedCell, name: Any) -> None:
        """Add a crystal by a name of any kind."""
        if cell.labels not in self._buckets:
            self._buckets[cell.labels] = _Bucket(len(cell.labels))
        self._buckets[cell.labels].add(cell, name)

    def find(self, cell: ReducedCell) -> Any | None:
        """Return the name of the first crystal, in the order they were added, that matches."""
        bucket = self._buckets.get(cell.labels)
        if bucket is None:
            return None
        placements = bucket.placements(cell)
        for k, rows in placements.by_crystal():
            if any(placements.proves(row, cell) for row in rows[:MAX_PROOFS]):
                return bucket.names[k]
            try:
                if self._matcher.fit(
                    bucket.cells[k].structure, cell.structure, skip_structure_reduction=True
                ):
                    return bucket.names[k]
            except (ValueError, ArithmeticError, RuntimeError):
                continue  # what the matcher cannot compare is no proven duplicate
        return None


@dataclass(frozen=True)
class _Placements:
    """
    A cell laid on crystals, all its sites near sites of their elements; one row for each way.

    Parameters
    ----------
    crystal
        The crystal, shape ``(q,)``.
    parameters
        Of the average of the two lattices, shape ``(q, 6)``.
    frac_coords
        The crystal's sites, shape ``(q, n, 3)``.
    shift
        To be added to the sites of the cell, shape ``(q, 3)``.
    """

    crystal: NDArray[np.int64]
    parameters: NDArray[np.float64]
    frac_coords: NDArray[np.float64]
    shift: NDArray[np.float64]

    def by_crystal(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Iterate over the crystals, in order, and their rows."""
        for crystal in np.unique(self.crystal).tolist():
            yield crystal, np.flatnonzero(self.crystal == crystal)

    def proves(self, row: int, cell: ReducedCell) -> bool:
        """
        Tell whether the matcher is sure to accept this way of laying the cell on the crystal.

        It pairs sites so that the sum of squares is least, takes the mean displacement away, and
        accepts if the largest is within its tolerance. It also forbids pairs that are far apart,
        which changes nothing where the best pairs of all are near.
        """
        lattice = Lattice.from_parameters(*self.parameters[row])
        size = (lattice.volume / len(cell.labels)) ** (1 / 3)
        vectors, squares = pbc_shortest_vectors(
            lattice,
            cell.frac_coords + self.shift[row],
            self.frac_coords[row],
            mask=cell.forbidden,
            return_d2=True,
        )
        sites, partners = linear_sum_assignment(squares)
        pairs = vectors[sites, partners]
        limit = SITE_TOLERANCE * size * (1 - SLACK)
        if (pairs**2).sum(axis=1).max() > (2 * limit) ** 2:
            return False
        return bool(((pairs - pairs.mean(axis=0)) ** 2).sum(axis=1).max() <= limit**2)


class _Bucket:
    """Cells of the same elements, as arrays that grow."""

    def __init__(self, n_sites: int) -> None:
        self.names: list[Any] = []
        self.cells: list[ReducedCell] = []
        self._matrices = np.empty((0, 3, 3))
        self._lengths = np.empty((0, 3))
        self._reciprocal = np.empty((0, 3))
        self._frac_coords = np.empty((0, n_sites, 3))

    def add(self, cell: ReducedCell, name: Any) -> None:
        used = len(self.cells)
        if used == len(self._matrices):
            for array in ("_matrices", "_lengths", "_reciprocal", "_frac_coords"):
                old = getattr(self, array)
                room = np.empty((max(4, used), *old.shape[1:]))
                setattr(self, array, np.concatenate([old, room]))
        self._matrices[used] = cell.matrix
        self._lengths[used] = np.sort(cell.parameters[:3])
        self._reciprocal[used] = np.linalg.norm(np.linalg.inv(cell.matrix), axis=0)
        self._frac_coords[used] = cell.frac_coords
        self.names.append(name)
        self.cells.append(cell)

    def placements(self, cell: ReducedCell) -> _Placements:
        """Find the ways to lay a cell on the crystals that the matcher would look at."""
        used = len(self.cells)
        # The lengths of a Niggli cell are the shortest any basis can have, so there is no basis
        # like the new one if one of them is longer already.
        limit = np.sort(cell.parameters[:3]) * (1 + LENGTH_TOLERANCE) * (1 + SLACK)
        rows = np.flatnonzero((self._lengths[:used] <= limit).all(axis=1))
        reach = np.floor(limit[2] * self._reciprocal[rows]).astype(int)
        found = [_Placements(rows[:0], np.empty((0, 6)), self._frac_coords[:0], np.empty((0, 3)))]
        if len(rows):
            largest = reach.max(axis=0)
            if len(rows) * np.prod(2 * largest + 1) <= MAX_ROWS_AT_ONCE:
                reach[:] = largest  # all at once
        for box in sorted({tuple(r) for r in reach.tolist()}):
            same = rows[(reach == box).all(axis=1)]
            grid = _grid(box)
            step = max(1, MAX_ROWS // len(grid))
            for start in range(0, len(same), step):
                some = same[start : start + step]
                which, bases = _bases(self._matrices[some], grid, cell.parameters)
                if len(which):
                    which = some[which]
                    found.append(
                        _place(which, bases, self._matrices[which], self._frac_coords[which], cell)
                    )
        return _Placements(
            *(
                np.concatenate([getattr(part, f.name) for part in found])
                for f in fields(_Placements)
            )
        )


@lru_cache(maxsize=64)
def _grid(box: tuple[int, int, int]) -> NDArray[np.int64]:
    """Return all vectors of integers within a box but zero, shape ``(m, 3)``."""
    axes = [np.arange(-r, r + 1) for r in box]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid[grid.any(axis=1)]


def _bases(
    matrices: NDArray[np.float64], grid: NDArray[np.int64], target: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """
    Find the bases of lattices whose lengths and angles are those of a target, as the matcher does.

    Returns the row of the lattice and the basis as integers, shapes ``(q,)`` and ``(q, 3, 3)``.
    """
    vectors = grid @ matrices
    lengths = np.linalg.norm(vectors, axis=2)
    widest = (1 + LENGTH_TOLERANCE) * (1 + SLACK)
    sides = []
    for length in target[:3]:
        row, point = np.nonzero((lengths < length * widest) & (lengths > length / widest))
        sides.append((row, point, np.searchsorted(row, np.arange(len(matrices) + 1))))
    angles = np.radians(target[3:])
    width = np.radians(ANGLE_TOLERANCE) * (1 + SLACK)
    low = np.cos(np.minimum(angles + width, np.pi))
    high = np.cos(np.maximum(angles - width, 0))
    units = vectors / lengths[..., None]

    def angle_fits(
        row: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64], axis: int
    ) -> NDArray[np.bool_]:
        cosine = np.einsum("qx,qx->q", units[row, first], units[row, second])
        return (cosine >= low[axis] - SLACK) & (cosine <= high[axis] + SLACK)

    row, a, _ = sides[0]
    pick, b = _join(row, *sides[1][1:])
    row, a = row[pick], a[pick]
    fits = angle_fits(row, a, b, 2)
    row, a, b = row[fits], a[fits], b[fits]
    pick, c = _join(row, *sides[2][1:])
    row, a, b = row[pick], a[pick], b[pick]
    fits = angle_fits(row, a, c, 1)
    row, a, b, c = row[fits], a[fits], b[fits], c[fits]
    fits = angle_fits(row, b, c, 0)
    row, a, b, c = row[fits], a[fits], b[fits], c[fits]
    bases = np.stack([grid[a], grid[b], grid[c]], axis=1)
    whole = np.round(np.abs(np.linalg.det(bases))) == 1
    return row[whole], bases[whole]


def _join(
    row: NDArray[np.int64], points: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair each entry with all points of its row: its position, repeated, and the points."""
    counts = np.diff(starts)[row]
    pick = np.repeat(np.arange(len(row)), counts)
    offset = np.arange(len(pick)) - np.repeat(np.cumsum(counts) - counts, counts)
    return pick, points[starts[row][pick] + offset]


def _place(
    which: NDArray[np.int64],
    bases: NDArray[np.int64],
    matrices: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    cell: ReducedCell,
) -> _Placements:
    """
    Lay the pivot of a cell on each site of its element, and keep where all sites lie near others.

    One row for each basis; `which` names the crystal of each.
    """
    # the matcher measures on the average lattice, of average lengths and angles
    parameters = (cell_parameters(bases @ matrices) + cell.parameters) / 2
    lengths, angles = parameters[:, :3], parameters[:, 3:]
    cos = np.cos(np.radians(angles))
    content = np.sqrt(np.maximum(1 - (cos**2).sum(axis=1) + 2 * cos.prod(axis=1), 1e-12))
    reciprocal = np.sin(np.radians(angles)) / (lengths * content[:, None])
    size = (lengths.prod(axis=1) * content / len(cell.labels)) ** (1 / 3)
    tolerance = 2 * SITE_TOLERANCE * reciprocal * size[:, None] + SLACK

    coords = frac_coords @ np.linalg.inv(bases)
    blocks = _blocks(cell)
    first, _ = blocks[0]
    basis = np.repeat(np.arange(len(which)), first.stop - first.start)
    shift = (coords[:, first] - cell.frac_coords[cell.pivot]).reshape(-1, 3)
    for block, sites in blocks:
        for site in sites:
            keep = []
            step = max(1, MAX_ROWS // (block.stop - block.start))
            for start in range(0, len(basis), step):
                some = basis[start : start + step]
                away = (cell.frac_coords[site] + shift[start : start + step])[:, None]
                away = away - coords[some, block]
                away -= np.round(away)
                keep.append((np.abs(away) <= tolerance[some, None]).all(axis=2).any(axis=1))
            kept = np.concatenate(keep) if keep else np.zeros(0, dtype=bool)
            basis, shift = basis[kept], shift[kept]
    return _Placements(which[basis], parameters[basis], coords[basis], shift)


def _blocks(cell: ReducedCell) -> list[tuple[slice, list[int]]]:
    """Return the sites of each element, the pivot's first, then the rarest; less the pivot."""
    labels = cell.labels
    counts = Counter(labels)
    blocks = []
    for label in sorted(counts, key=lambda name: (name != labels[cell.pivot], counts[name])):
        block = slice(labels.index(label), labels.index(label) + counts[label])
        blocks.append((block, [i for i in range(block.start, block.stop) if i != cell.pivot]))
    return blocks

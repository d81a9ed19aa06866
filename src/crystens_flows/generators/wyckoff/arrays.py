"""Symmetric crystals as padded arrays, for batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal
from crystens_flows.generators.wyckoff.positions import position_number, space_group


@dataclass(frozen=True)
class Frames:
    """
    What space group and occupied positions alone say of crystals, padded: all but geometry.

    Parameters
    ----------
    groups
        Space group numbers, int64 of shape (batch,).
    numbers
        Atomic number of each orbit, 0 for none, int64 of shape (batch, orbits).
    positions
        Number of the Wyckoff position of each orbit among those of all groups
        (:func:`position_number`), 0 for none, int64 of shape (batch, orbits).
    multiplicities
        Sites of each orbit, 0 for none, int64 of shape (batch, orbits).
    projectors
        Onto the directions in which each first site may move, shape (batch, orbits, 3, 3).
    offsets
        A point that each first site may take, shape (batch, orbits, 3).
    orbit_of_site
        Orbit of each site, int64 of shape (batch, sites).
    present
        Whether there is such a site, bool of shape (batch, sites).
    rotations, translations
        The operation that makes each site of the first of its orbit, shapes (batch, sites, 3, 3)
        and (batch, sites, 3).
    primitive
        Primitive vectors in the conventional cell, as columns, shape (batch, 3, 3).
    polar
        Projectors onto the directions in which the origin is free, shape (batch, 3, 3).
    sources
        Atomic number that each orbit has in the known crystal that the flow starts from, 0 where it
        starts from noise, int64 of shape (batch, orbits).
    """

    groups: np.ndarray
    numbers: np.ndarray
    positions: np.ndarray
    multiplicities: np.ndarray
    projectors: np.ndarray
    offsets: np.ndarray
    orbit_of_site: np.ndarray
    present: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray
    primitive: np.ndarray
    polar: np.ndarray
    sources: np.ndarray

    @property
    def n_sites(self) -> np.ndarray:
        """Number of sites of each crystal, shape (batch,)."""
        return self.multiplicities.sum(1)


def frames(
    groups: Sequence[int],
    orbits: Sequence[tuple[np.ndarray, np.ndarray]],
    sources: Sequence[np.ndarray | None] | None = None,
) -> Frames:
    """
    Pad what is known before the geometry.

    Parameters
    ----------
    groups
        Space group number of each crystal.
    orbits
        For each crystal the atomic numbers and the letters (0 for ``a``) of its orbits.
    sources
        For each crystal the atomic numbers of the known crystal that the flow starts from, None
        where it starts from noise.

    Returns
    -------
    Frames
        Padded to the most orbits and the most sites.
    """
    n = len(groups)
    tables = [space_group(int(number)) for number in groups]
    places = [
        [table.positions[letter] for letter in letters]
        for table, (_, letters) in zip(tables, orbits, strict=True)
    ]
    most_orbits = max(len(row) for row in places)
    most_sites = max(sum(p.multiplicity for p in row) for row in places)
    numbers, positions, multiplicities, known = np.zeros((4, n, most_orbits), dtype=np.int64)
    projectors = np.zeros((n, most_orbits, 3, 3))
    offsets = np.zeros((n, most_orbits, 3))
    orbit_of_site = np.zeros((n, most_sites), dtype=np.int64)
    present = np.zeros((n, most_sites), dtype=bool)
    rotations = np.zeros((n, most_sites, 3, 3))
    rotations[:] = np.eye(3)
    translations = np.zeros((n, most_sites, 3))
    for k, (table, row, (elements, letters)) in enumerate(zip(tables, places, orbits, strict=True)):
        m = len(row)
        numbers[k, :m] = elements
        positions[k, :m] = [position_number(table.number, int(letter)) for letter in letters]
        multiplicities[k, :m] = [p.multiplicity for p in row]
        if m:
            projectors[k, :m] = [p.projector for p in row]
            offsets[k, :m] = [p.offset for p in row]
        source = None if sources is None else sources[k]
        if source is not None:
            known[k, :m] = source
        chosen = np.concatenate([p.operations for p in row])
        sites = len(chosen)
        orbit_of_site[k, :sites] = np.repeat(np.arange(m), multiplicities[k, :m])
        present[k, :sites] = True
        rotations[k, :sites] = table.rotations[chosen]
        translations[k, :sites] = table.translations[chosen]
    return Frames(
        np.array(groups, dtype=np.int64),
        numbers,
        positions,
        multiplicities,
        projectors,
        offsets,
        orbit_of_site,
        present,
        rotations,
        translations,
        np.array([table.primitive for table in tables]),
        np.array([table.polar for table in tables]),
        known,
    )


def frames_of(
    crystals: Sequence[SymmetricCrystal], sources: Sequence[np.ndarray | None] | None = None
) -> Frames:
    """Return the frames of crystals whose geometry is known."""
    orbits = [(c.numbers, c.letters) for c in crystals]
    return frames([c.number for c in crystals], orbits, sources)

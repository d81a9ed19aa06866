"""
Derives ``positions.json.gz`` from the operations of the space groups in spglib.

``python -m crystens_flows.generators.wyckoff.make_positions`` writes the file anew, in some
minutes. The offset of a position is one of those a lattice vector apart; which, depends on how the
machine rounds.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray

from crystens_flows.generators.wyckoff.positions import DENOMINATOR, LETTERS, TABLE

Array = NDArray[np.float64]

_CLOSE = 1e-6
_GENERIC = np.array([0.1374612, 0.2713953, 0.4139857])
_OTHERS = (np.array([0.0563, 0.3127, 0.1789]), np.array([0.0911, 0.1783, 0.3567]))
_SHIFTS = np.array(list(itertools.product(range(-3, 4), repeat=3)), dtype=float)
_MONOCLINIC = np.array([[5, 0, 0], [0, 6, 0], [-1.9, 0, 7]])
_HEXAGONAL = np.array([[5, 0, 0], [-2.5, 2.5 * 3**0.5, 0], [0, 0, 7]])


@cache
def standard_hall_numbers() -> dict[int, int]:
    """Return the Hall number of spglib's standard setting by space group number."""
    first: dict[int, int] = {}
    for hall in range(1, 531):
        first.setdefault(_type(hall).number, hall)
    return first


def _type(hall: int) -> Any:
    return spglib.get_spacegroup_type(hall)


def operations(number: int) -> tuple[Array, Array]:
    """Return rotations, shape (n, 3, 3), and translations, shape (n, 3), in the standard cell."""
    found: Any = spglib.get_symmetry_from_database(standard_hall_numbers()[number])
    return found["rotations"].astype(float), found["translations"]


def positions_of(number: int) -> list[dict[str, Any]]:
    """
    Find the Wyckoff positions of a space group.

    Beginning with the general one, the points that an operation leaves where they are, within the
    freedom of a position found before, are looked for, until there are no new ones. Letters and
    site symmetries are those that spglib gives to a crystal with atoms there.

    Parameters
    ----------
    number
        Space group number.

    Returns
    -------
    list of dict
        Letter, site symmetry, offset and projector of the representative, the last two times
        `DENOMINATOR`; in the order of the letters.
    """
    rotations, translations = operations(number)
    found: list[tuple[Array, Array, int]] = []
    _add(found, rotations, translations, _GENERIC)
    for projector, offset, _ in found:  # which grows
        basis = _basis(projector)
        if basis.shape[1] == 0:
            continue
        for point in _fixed_points(rotations, translations, offset, basis):
            _add(found, rotations, translations, point)
    named = []
    for projector, offset, _ in found:
        letter, symbol = _name(number, rotations, translations, projector, offset)
        whole = [np.round(DENOMINATOR * each).astype(int) for each in (offset, projector)]
        if any(
            np.abs(DENOMINATOR * each - rounded).max() > _CLOSE
            for each, rounded in zip((offset, projector), whole, strict=True)
        ):
            raise AssertionError(f"a position of group {number} is no multiple of 1/24")
        named.append(
            {
                "letter": letter,
                "site_symmetry": symbol,
                "offset": whole[0].tolist(),
                "projector": whole[1].tolist(),
            }
        )
    named.sort(key=lambda each: LETTERS.index(each["letter"]))
    if [each["letter"] for each in named] != list(LETTERS[: len(named)]):
        raise AssertionError(f"the letters of group {number} are not the first ones")
    return named


def _add(
    found: list[tuple[Array, Array, int]], rotations: Array, translations: Array, point: Array
) -> None:
    """Add the position of a point: projector on its freedom, offset, order of its symmetry."""
    point = point % 1
    apart = rotations @ point + translations - point
    stays = np.abs(apart - np.round(apart)).max(1) < _CLOSE
    projector = rotations[stays].mean(0)
    offset = point - projector @ point
    order = int(stays.sum())
    images = rotations @ point + translations
    for other, other_offset, other_order in found:
        if other_order != order or abs(np.trace(projector) - np.trace(other)) > _CLOSE:
            continue
        across = np.eye(3) - other
        missing = (images @ across.T - other_offset)[:, None] - (_SHIFTS @ across.T)[None]
        if (np.abs(missing).max(-1) < _CLOSE).any():
            return
    found.append((projector, offset, order))


def _basis(projector: Array) -> Array:
    """Return small whole vectors that span what a projector leaves, as columns."""
    size = round(np.trace(projector))
    columns: list[Array] = []
    tried = sorted(
        itertools.product(range(-2, 3), repeat=3),
        key=lambda v: (sum(map(abs, v)), [-x for x in v]),
    )
    for each in tried:
        vector = np.array(each, dtype=float)
        if len(columns) == size:
            break
        if not vector.any() or np.abs(projector @ vector - vector).max() > _CLOSE:
            continue
        if np.linalg.matrix_rank(np.array([*columns, vector]), tol=_CLOSE) > len(columns):
            columns.append(vector)
    return np.array(columns).T if columns else np.zeros((3, 0))


def _fixed_points(
    rotations: Array, translations: Array, offset: Array, basis: Array
) -> list[Array]:
    """Find a point of each part of a position that an operation leaves where it is."""
    points: dict[tuple[float, ...], Array] = {}
    for rotation, translation in zip(rotations, translations, strict=True):
        matrix = (rotation - np.eye(3)) @ basis
        if np.abs(matrix).max() < _CLOSE:
            continue
        inverse = np.linalg.pinv(matrix)
        target = -((rotation - np.eye(3)) @ offset + translation)[None] - _SHIFTS
        solved = target @ inverse.T
        free = np.eye(basis.shape[1]) - inverse @ matrix
        somewhere = np.array([0.1239, 0.3417, 0.2711])[: basis.shape[1]]
        for each in solved[np.abs(solved @ matrix.T - target).max(1) < _CLOSE]:
            corner = (offset + basis @ each) % 1 % 1
            key = (*np.round(corner, 5), *np.round(free.ravel(), 5))
            points.setdefault(key, offset + basis @ (each + free @ somewhere))
    return list(points.values())


def _name(
    number: int, rotations: Array, translations: Array, projector: Array, offset: Array
) -> tuple[str, str]:
    """Ask spglib for letter and site symmetry, in a crystal of this group alone."""
    if number <= 2:
        lattice = np.array([[5, 0, 0], [0.7, 6, 0], [0.9, 1.1, 7]])
    elif number < 16:
        lattice = _MONOCLINIC
    elif number < 143:
        lattice = np.diag([5.0, 6.0 if number < 75 else 5.0, 7.0])
    elif number < 195:
        lattice = _HEXAGONAL
    else:
        lattice = 5 * np.eye(3)
    placed: list[Array] = []
    kinds: list[int] = []
    for kind, point in enumerate((_GENERIC, *_OTHERS), start=1):
        orbit = _orbit(rotations, translations, point)
        placed += orbit
        kinds += [kind] * len(orbit)
    orbit = _orbit(rotations, translations, offset + projector @ [0.0733, 0.1931, 0.4219])
    atom = len(placed)
    crystal: Any = (4 * lattice, [*placed, *orbit], kinds + [9] * len(orbit))
    dataset = spglib.get_symmetry_dataset(
        crystal,
        symprec=1e-3,
        hall_number=standard_hall_numbers()[number],
    )
    if dataset is None or dataset.number != number:
        raise AssertionError(f"spglib does not find group {number} again")
    return dataset.wyckoffs[atom], dataset.site_symmetry_symbols[atom]


def _orbit(rotations: Array, translations: Array, point: Array) -> list[Array]:
    kept: list[Array] = []
    for image in (rotations @ point + translations) % 1:
        if all(np.abs(image - each - np.round(image - each)).max() > 1e-4 for each in kept):
            kept.append(image)
    return kept


def normaliser_of(number: int) -> list[tuple[list[list[int]], list[int]]]:
    """
    Find the changes of axes and origin that leave a space group as it is.

    Those of the axes keep the metric of every lattice of the crystal system; moves of the origin
    along polar directions, of which there are any number, are left out.

    Parameters
    ----------
    number
        Space group number.

    Returns
    -------
    list of tuple
        One matrix and one translation times `DENOMINATOR` for each coset of the group.
    """
    rotations, translations = operations(number)
    turns = np.round(rotations).astype(int)
    moves = np.round(DENOMINATOR * translations).astype(int) % DENOMINATOR
    moves_of: dict[tuple[int, ...], list[int]] = {}
    code = np.array([DENOMINATOR**2, DENOMINATOR, 1])
    for turn, move in zip(turns, moves, strict=True):
        moves_of.setdefault(tuple(turn.ravel()), []).append(int(move @ code))
    polar = turns.mean(0)
    grid = np.array(list(itertools.product(range(DENOMINATOR), repeat=3)))
    found = []
    for matrix in _holohedry(number):
        left = grid
        for turn, move in zip(turns, moves, strict=True):
            image = matrix @ turn @ np.round(np.linalg.inv(matrix)).astype(int)
            known = moves_of.get(tuple(image.ravel()), [])
            moved = (matrix @ move + left - left @ image.T) % DENOMINATOR
            left = left[np.isin(moved @ code, known)]
        found += [(matrix, origin) for origin in left]
    found.sort(key=_simple_first)
    kept: list[tuple[list[list[int]], list[int]]] = []
    seen: set[tuple[int, ...]] = set()
    for matrix, origin in found:
        centred = np.where(origin > DENOMINATOR // 2, origin - DENOMINATOR, origin)
        if np.abs(polar @ centred).max() > _CLOSE or (*matrix.ravel(), *origin) in seen:
            continue
        kept.append((matrix.tolist(), origin.tolist()))
        for turn, move in zip(turns, moves, strict=True):
            image = (turn @ origin + move) % DENOMINATOR
            seen.add((*(turn @ matrix).ravel(), *image))
    return kept


def _simple_first(change: tuple[NDArray[np.int64], NDArray[np.int64]]) -> tuple[Any, ...]:
    matrix, origin = change
    size = np.minimum(origin, DENOMINATOR - origin)
    return -int(np.trace(matrix)), [abs(int(x)) for x in size], matrix.ravel().tolist()


def _holohedry(number: int) -> list[NDArray[np.int64]]:
    """Return the rotations of the lattices of a crystal system."""
    if number <= 2:
        return [np.eye(3, dtype=int), -np.eye(3, dtype=int)]
    if number < 16:
        return [sign * np.diag(d) for sign in (1, -1) for d in ((1, 1, 1), (-1, 1, -1))]
    if number < 75:
        return [np.diag(d) for d in itertools.product((1, -1), repeat=3)]
    if 143 <= number < 195:
        lattice = np.array([[1, 0, 0], [-0.5, 3**0.5 / 2, 0], [0, 0, 1.7]])
    else:
        lattice = np.diag([1, 1, 1.7 if number < 143 else 1.0])
    metric = lattice @ lattice.T
    matrices = (np.array(e).reshape(3, 3) for e in itertools.product((-1, 0, 1), repeat=9))
    return [m for m in matrices if np.abs(m.T @ metric @ m - metric).max() < 1e-9]


def record(number: int) -> dict[str, Any]:
    """Return what the file says of a space group."""
    hall = standard_hall_numbers()[number]
    return {
        "hall_number": hall,
        "centring": _type(hall).international_short[0],
        "positions": positions_of(number),
        "normaliser": normaliser_of(number),
    }


def main() -> None:
    """Write the file."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        records = list(pool.map(record, range(1, 231)))
    with gzip.GzipFile(TABLE, "wb", mtime=0) as stream:
        stream.write(json.dumps(records, separators=(",", ":")).encode())


if __name__ == "__main__":
    main()

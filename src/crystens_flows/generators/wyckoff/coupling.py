"""Noise matched to crystals on their Wyckoff positions, so that the flow's paths are short."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from crystens_flows.generators.wyckoff.crystal import (
    SymmetricCrystal,
    free_coordinates,
    letter_permutations,
)
from crystens_flows.generators.wyckoff.positions import SpaceGroup

START_NOISE = 0.02
"""Deviation of the noise on free coordinates of a known crystal, in cell edges."""


def wrap(difference: np.ndarray) -> np.ndarray:
    """Return a difference on the torus as its representative in [-1/2, 1/2]."""
    return difference - np.round(difference)


@dataclass(frozen=True)
class Variants:
    """
    All descriptions of one crystal by the same letters.

    Parameters
    ----------
    free
        Free coordinates of each orbit in each variant, and in each the choices of its first site;
        zero where the position has fewer than three, float32 of shape
        (variants, orbits, choices, 3).
    bases
        Directions of the free coordinates as columns, zero where there are fewer, shape
        (orbits, 3, 3).
    inverses
        What gives free coordinates for a displacement, shape (orbits, 3, 3).
    offsets
        Where the free coordinates are zero, shape (orbits, 3).
    alike
        Orbits of the same element and letter with free coordinates, at least two each.
    weights
        Share of the sites that each orbit has, shape (orbits,).
    polar
        Projector onto the directions in which the origin is free, shape (3, 3).
    """

    free: np.ndarray
    bases: np.ndarray
    inverses: np.ndarray
    offsets: np.ndarray
    alike: list[np.ndarray]
    weights: np.ndarray
    polar: np.ndarray


def variants(crystal: SymmetricCrystal) -> Variants:
    """
    Find all descriptions of a crystal by the same letters.

    They differ by an element of the group's normaliser, and by which of the sites of an orbit is
    called the first.

    Parameters
    ----------
    crystal
        The crystal.

    Returns
    -------
    Variants
        The variant at hand among them.
    """
    group, letters, numbers = crystal.group, crystal.letters, crystal.numbers
    freedoms = [group.positions[k].freedom for k in letters]
    found: list[list[np.ndarray]] = []
    for row, turn, shift in zip(letter_permutations(group.number), *group.normaliser, strict=True):
        order = np.lexsort((row[letters], _rank(numbers)))
        if not np.array_equal(row[letters][order], letters):
            continue
        moved = crystal.coordinates[order] @ turn.T + shift
        found.append([_choices(group, k, x) for k, x in zip(letters, moved, strict=True)])
        if not any(freedoms):
            break
    most = max(len(choices) for choice in found for choices in choice)
    free = np.zeros((len(found), len(letters), most, 3), dtype=np.float32)
    for v, of_orbits in enumerate(found):
        for i, choices in enumerate(of_orbits):
            free[v, i] = np.resize(choices, (most, 3))  # repeats fill the rest
    bases = np.zeros((len(letters), 3, 3))
    inverses = np.zeros((len(letters), 3, 3))
    for i, k in enumerate(letters):
        basis = group.positions[k].basis
        bases[i, :, : freedoms[i]] = basis
        inverses[i, : freedoms[i]] = np.linalg.pinv(basis) if freedoms[i] else 0
    same: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, key in enumerate(zip(numbers.tolist(), letters.tolist(), strict=True)):
        if freedoms[i]:
            same[key].append(i)
    multiplicities = crystal.multiplicities
    return Variants(
        free,
        bases,
        inverses,
        np.array([group.positions[k].offset for k in letters]),
        [np.array(orbits) for orbits in same.values() if len(orbits) > 1],
        multiplicities / multiplicities.sum(),
        group.polar,
    )


def _rank(numbers: np.ndarray) -> np.ndarray:
    """Give each orbit the place at which its element comes first."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return first[inverse]


def _choices(group: SpaceGroup, letter: int, site: np.ndarray) -> np.ndarray:
    """Return the free coordinates of all sites of an orbit that may be the first, padded to 3."""
    free = free_coordinates(group, letter, site)
    padded = np.zeros((max(len(free), 1), 3))
    padded[: len(free), : free.shape[1]] = free
    return padded


def match_noise(
    crystal: Variants, rng: np.random.Generator, start: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """
    Draw noise on the Wyckoff positions and match a crystal's description to it.

    Of the variants, of the first sites and of the orders of orbits that are alike, those are taken
    that make the sum of squared differences of free coordinates least; a common translation along
    free directions of the origin is taken out of the noise.

    Parameters
    ----------
    crystal
        What :func:`variants` found.
    rng
        Source of the noise.
    start
        Free coordinates that normal noise of deviation `START_NOISE` is added to, shape
        (orbits, 3); None for uniform noise.

    Returns
    -------
    tuple of numpy.ndarray
        Fractional coordinates of the first sites, and the differences from noise to them along
        their positions, shapes (orbits, 3).
    """
    orbits = len(crystal.bases)
    if start is None:
        noise = rng.random((orbits, 3))
    else:
        noise = start + START_NOISE * rng.standard_normal((orbits, 3))
    noise = noise.astype(np.float32)
    noise *= np.abs(crystal.bases).max(1) > 0
    polar = bool(np.abs(crystal.polar).max() > 1e-6)
    for _ in range(2 if polar else 1):
        chosen, difference = _nearest(crystal, noise)
        displacement = (crystal.bases @ difference[..., None]).squeeze(-1)
        if polar:
            drift = crystal.polar @ (crystal.weights @ displacement)
            noise = noise + crystal.inverses @ drift
            displacement = displacement - drift
    firsts = crystal.offsets + (crystal.bases @ chosen[..., None]).squeeze(-1)
    return firsts, displacement


def _nearest(crystal: Variants, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose the description nearest to noise: free coordinates, and differences to them."""
    rows = np.arange(len(noise))
    best, least = (crystal.free[0, :, 0], noise), np.inf
    for free in crystal.free:
        order = rows
        if crystal.alike:
            order = rows.copy()
            for alike in crystal.alike:
                apart = wrap(free[alike][None, :] - noise[alike][:, None, None])
                cost = (apart**2).sum(-1).min(-1)
                order[alike] = alike[linear_sum_assignment(cost)[1]]
        apart = wrap(free[order] - noise[:, None])
        cost = (apart**2).sum(-1)
        choice = cost.argmin(1)
        total = float((cost[rows, choice] * crystal.weights).sum())
        if total < least:
            least, best = total, (free[order][rows, choice], apart[rows, choice])
    return best

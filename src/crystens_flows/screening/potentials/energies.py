"""Total energies of many structures, some at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymatgen.core import Lattice, Structure

from crystens_flows.screening.potentials.registry import Potential
from crystens_flows.screening.validity import structural_validity

BATCH_SITES = 256
"""Sites in one pass through a network; a structure of more sites is a pass of its own."""

VOLUME_PER_SITE = (2.0, 10_000.0)
"""Cells denser or emptier than this, in cubic Angstrom a site, are not asked about: real crystals
have 5 to 600, and neighbours of others fill the memory, or empty space does."""


def total_energies(
    structures: Sequence[Structure], potential: Potential
) -> list[tuple[float | None, str | None]]:
    """
    Evaluate a potential for many structures.

    Parameters
    ----------
    structures
        The structures, of any number of sites.
    potential
        The potential.

    Returns
    -------
    list of tuple
        For each structure the energy in eV/atom and None, or None and the reason. The energy is
        the same within 1e-5 eV/atom whatever the other structures are.
    """
    found: list[tuple[float | None, str | None]] = [(None, None)] * len(structures)
    batch: list[tuple[int, Any]] = []
    n_sites = 0

    def evaluate() -> None:
        if batch:
            energies = potential.energies([graph for _, graph in batch])
            for (i, _), energy in zip(batch, energies, strict=True):
                finite = bool(np.isfinite(energy))
                found[i] = (float(energy), None) if finite else (None, "energy is not finite")

    for i, structure in enumerate(structures):
        if reason := unfit(structure, potential):
            found[i] = (None, reason)
            continue
        graph, reason = potential.graph(reduced(structure))
        if reason:
            found[i] = (None, reason)
            continue
        if n_sites + len(structure) > BATCH_SITES:
            evaluate()
            batch, n_sites = [], 0
        batch.append((i, graph))
        n_sites += len(structure)
    evaluate()
    return found


def unfit(structure: Structure, potential: Potential) -> str | None:
    """
    Tell why a potential cannot be asked about a structure, as far as no neighbours are needed.

    Parameters
    ----------
    structure
        The structure.
    potential
        The potential.

    Returns
    -------
    str or None
        The reason; None where there is none.
    """
    if reason := structural_validity(structure):
        return reason
    volume = structure.volume / len(structure)
    if not VOLUME_PER_SITE[0] <= volume <= VOLUME_PER_SITE[1]:
        low, high = VOLUME_PER_SITE
        return f"density out of range: {volume:.3g} A^3 a site, not {low:g} to {high:g}"
    unknown = sorted(
        {str(site.specie) for site in structure if site.specie.Z not in potential.elements}
    )
    return f"element unknown to the potential: {', '.join(unknown)}" if unknown else None


def reduced(structure: Structure) -> Structure:
    """
    Return the same crystal in a right-handed LLL-reduced cell, with its sites in the same order.

    The neighbours of sites in long and slanted cells take any amount of time and memory to find,
    and in a left-handed one CHGNet's own calculator gives stresses of the wrong sign.

    Parameters
    ----------
    structure
        The structure; what it holds beside elements and coordinates is left out.

    Returns
    -------
    Structure
        The same energy, forces and distances.
    """
    matrix = structure.lattice.get_lll_reduced_lattice().matrix
    return Structure(
        Lattice(matrix if np.linalg.det(matrix) > 0 else -matrix),
        [site.specie.Z for site in structure],
        structure.cart_coords,
        coords_are_cartesian=True,
        to_unit_cell=True,
    )

"""What a relaxation changed in a structure, and whether it is still one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Structure

from crystens_flows.distances import MIN_DISTANCE, shortest_distance
from crystens_flows.representation.space_group import find_space_group

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_VOLUME_CHANGE = 4.0
"""A cell that grows or shrinks by more than this factor has left what it was generated as."""


def broken(before: Structure, after: Structure) -> str | None:
    """
    Say whether a relaxation has left the physical.

    Parameters
    ----------
    before, after
        The structure before the first and after the last step.

    Returns
    -------
    str or None
        The reason: the cell exploded or collapsed, or atoms collided; None for a sound result.
    """
    ratio = after.volume / before.volume
    if not 1 / MAX_VOLUME_CHANGE <= ratio <= MAX_VOLUME_CHANGE:
        what = "exploded" if ratio > 1 else "collapsed"
        return f"the cell {what}, its volume is {ratio:.3g} of what it was"
    nearest = shortest_distance(after.frac_coords, after.lattice.matrix)
    if nearest < MIN_DISTANCE:
        return f"atoms collided, two are {nearest:.2f} A apart"
    return None


def space_group(structure: Structure) -> int | None:
    """
    Return the number of the space group, within 0.01 angstrom.

    Parameters
    ----------
    structure
        A structure.

    Returns
    -------
    int or None
        None where there is none to be found.
    """
    return find_space_group(
        structure.lattice.matrix, structure.frac_coords, [site.specie.Z for site in structure]
    )


def displacement(before: Structure, after: Structure) -> float | None:
    """
    Return by how much the sites moved within the cell.

    Sites are taken in the order given, or, where an engine has sorted them by element, in the
    stable order of the elements. Displacements are of the fractional coordinates, to the nearest
    image, less the drift of all sites together, in the mean metric of the two cells: neither a
    change of the cell nor its orientation counts.

    Parameters
    ----------
    before, after
        The structures, of the same sites.

    Returns
    -------
    float or None
        Root mean square displacement, angstrom; None where the sites are not the same.
    """
    first, second = _by_element(before), _by_element(after)
    if [site.species for site in first] != [site.species for site in second]:
        return None
    moved: NDArray[np.float64] = second.frac_coords - first.frac_coords
    moved -= np.round(moved)
    # the drift is that of the first site, and then of the mean, lest it lie at half a cell
    moved -= moved[0]
    moved -= np.round(moved)
    moved -= moved.mean(axis=0)
    metric = (_metric(first) + _metric(second)) / 2
    return float(np.sqrt(np.einsum("ia,ab,ib->i", moved, metric, moved).mean()))


def _by_element(structure: Structure) -> Structure:
    order = sorted(range(len(structure)), key=lambda i: structure[i].species_string)
    return Structure.from_sites([structure[i] for i in order])


def _metric(structure: Structure) -> NDArray[np.float64]:
    matrix = structure.lattice.matrix
    return np.asarray(matrix @ matrix.T)

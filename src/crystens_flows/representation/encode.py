"""Structures to CrysTens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from crystens_flows.errors import InputError
from crystens_flows.representation.arrays import structure_arrays
from crystens_flows.representation.descriptors import add_descriptors, check_descriptors
from crystens_flows.representation.layout import FIRST_SITE, MAX_SITES, N_ATTRIBUTES, SHAPE
from crystens_flows.representation.normalization import REFERENCE, Normalization

if TYPE_CHECKING:
    from pymatgen.core import Structure

_BLOCK = 32


def encode(
    structures: Sequence[Structure],
    space_groups: Sequence[int] | None = None,
    *,
    normalization: Normalization = REFERENCE,
    descriptors: Sequence[str] = (),
) -> np.ndarray:
    """
    Encode structures as normalised CrysTens.

    The order of the sites and their coordinates are kept as they are. A CrysTens holds lengths
    and angles, not the orientation of the lattice, nor its handedness: in a left-handed cell the
    coordinates are inverted, so that the crystal stays what it is and not its mirror image.

    Parameters
    ----------
    structures
        Ordered structures of 1 to 52 sites.
    space_groups
        Their space group numbers; found with spglib (0.01 angstrom, 5 degrees) when None.
    normalization
        The scaling.
    descriptors
        Chemical descriptors to add a layer of each, keys of
        :data:`~crystens_flows.representation.descriptors.DESCRIPTORS`.

    Returns
    -------
    numpy.ndarray
        float32, shape (n, 4, 64, 64), or (n, 4 + d, 64, 64) with d descriptors.

    Raises
    ------
    InputError
        For a structure that cannot be encoded; it names the structure and the remedy. Also for a
        descriptor that is unknown.
    """
    names = check_descriptors(descriptors)
    arrays = structure_arrays(structures, space_groups)
    tensors = render(
        arrays.numbers,
        arrays.frac_coords,
        arrays.lattice_parameters,
        arrays.space_groups,
        arrays.n_sites,
        normalization,
    )
    return add_descriptors(tensors, arrays.numbers, names) if names else tensors


def render(
    numbers: np.ndarray,
    frac_coords: np.ndarray,
    lattice_parameters: np.ndarray,
    space_groups: np.ndarray,
    n_sites: np.ndarray,
    normalization: Normalization = REFERENCE,
) -> np.ndarray:
    """
    Write the independent content of crystals out as normalised CrysTens.

    Parameters
    ----------
    numbers
        Atomic numbers, shape (n, m) with m <= 52; what stands beyond the last site is ignored.
    frac_coords
        Fractional coordinates, shape (n, m, 3).
    lattice_parameters
        a, b, c in angstrom and alpha, beta, gamma in degree, shape (n, 6).
    space_groups
        Space group numbers, shape (n,).
    n_sites
        Numbers of sites, shape (n,).
    normalization
        The scaling.

    Returns
    -------
    numpy.ndarray
        float32, shape (n, 4, 64, 64).

    Raises
    ------
    InputError
        If the shapes do not fit together.
    """
    n_sites = np.asarray(n_sites)
    numbers, frac_coords = np.asarray(numbers), np.asarray(frac_coords)
    n, m = len(n_sites), numbers.shape[-1]
    expected = [(n, m), (n, m, 3), (n, 6), (n,)]
    given = [np.shape(a) for a in (numbers, frac_coords, lattice_parameters, space_groups)]
    if given != expected or m > MAX_SITES or (n and not 1 <= n_sites.min() <= n_sites.max() <= m):
        raise InputError(
            f"render: numbers, frac_coords, lattice_parameters, space_groups have shapes {given} "
            f"for {n} crystals; expected (n, m), (n, m, 3), (n, 6), (n,) and n_sites from 1 to "
            f"m <= {MAX_SITES}"
        )
    low, span = normalization.attribute_low, normalization.attribute_span
    attributes = np.empty((n, N_ATTRIBUTES, m), dtype=np.float32)
    attributes[:, 0] = (numbers - low[0]) / span[0]
    attributes[:, 1:4] = (frac_coords.swapaxes(1, 2) - low[1:4, None]) / span[1:4, None]
    crystal = np.column_stack([lattice_parameters, space_groups])
    attributes[:, 4:] = ((crystal - low[4:]) / span[4:])[:, :, None]
    coords = np.ascontiguousarray(frac_coords.swapaxes(1, 2), dtype=np.float32)

    tensors = np.zeros((n, *SHAPE), dtype=np.float32)
    order = np.argsort(n_sites, kind="stable")
    for start in range(0, n, _BLOCK):
        rows = order[start : start + _BLOCK]
        _render_block(tensors, rows, attributes, coords, n_sites[rows], normalization)
    return tensors


def _render_block(
    tensors: np.ndarray,
    rows: np.ndarray,
    attributes: np.ndarray,
    coords: np.ndarray,
    n_sites: np.ndarray,
    normalization: Normalization,
) -> None:
    """Write the crystals `rows`, all of about the same size, into `tensors`."""
    width = int(n_sites[-1])
    end = FIRST_SITE + width
    present = np.arange(width) < n_sites[:, None]
    values = attributes[rows, :, :width] * present[:, None]

    block = np.zeros((len(rows), 4, end, end), dtype=np.float32)
    block[:, :, :N_ATTRIBUTES, FIRST_SITE:] = values[:, None]
    block[:, :, FIRST_SITE:, :N_ATTRIBUTES] = values.swapaxes(1, 2)[:, None]

    pairs = block[:, :, FIRST_SITE:, FIRST_SITE:]
    position = coords[rows, :, :width]
    difference = position[..., :, None] - position[..., None, :]
    pairs[:, 1:] = difference
    pairs[:, 0] = np.sqrt(np.square(difference, out=difference).sum(axis=1))
    pairs -= normalization.pair_low.astype(np.float32)[:, None, None]
    pairs /= normalization.pair_span.astype(np.float32)[:, None, None]
    present_pairs = present[:, :, None] & present[:, None, :] & ~np.eye(width, dtype=bool)
    pairs *= present_pairs[:, None]
    tensors[rows, :, :end, :end] = block

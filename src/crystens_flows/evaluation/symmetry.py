"""The symmetry that coordinates have within the tolerance of the field's comparisons."""

from __future__ import annotations

from pymatgen.core import Structure

from crystens_flows.representation.space_group import symmetry_dataset

COARSE_SYMPREC = 0.1
"""Within this distance, angstrom, coordinates have a symmetry or not."""


def coarse_space_group(structure: Structure) -> int:
    """
    Find the space group of a structure within 0.1 angstrom.

    Parameters
    ----------
    structure
        The structure.

    Returns
    -------
    int
        Its number; 1 where spglib finds none.
    """
    dataset = symmetry_dataset(
        structure.lattice.matrix,
        structure.frac_coords,
        [site.specie.Z for site in structure],
        COARSE_SYMPREC,
    )
    return 1 if dataset is None else int(dataset.number)

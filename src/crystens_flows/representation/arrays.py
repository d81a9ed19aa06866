"""Structures as arrays of one shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crystens_flows.errors import InputError
from crystens_flows.representation.layout import MAX_SITES
from crystens_flows.representation.space_group import find_space_group

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True)
class CrystalArrays:
    """
    The independent content of n crystals.

    Parameters
    ----------
    numbers
        Atomic numbers, shape (n, 52), 0 beyond the last site.
    frac_coords
        Fractional coordinates, shape (n, 52, 3), 0 beyond the last site.
    lattice_parameters
        a, b, c in angstrom and alpha, beta, gamma in degree, shape (n, 6).
    space_groups
        Space group numbers, shape (n,).
    n_sites
        Numbers of sites, shape (n,).
    """

    numbers: np.ndarray
    frac_coords: np.ndarray
    lattice_parameters: np.ndarray
    space_groups: np.ndarray
    n_sites: np.ndarray


def lattice_parameters(matrices: np.ndarray) -> np.ndarray:
    """
    Return lengths and angles of many lattices.

    Parameters
    ----------
    matrices
        Lattice vectors as rows, angstrom, shape (n, 3, 3).

    Returns
    -------
    numpy.ndarray
        a, b, c in angstrom and alpha, beta, gamma in degree, shape (n, 6).
    """
    lengths = np.linalg.norm(matrices, axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        units = matrices / lengths[..., None]
        cosines = np.einsum("nij,nij->ni", units[:, [1, 2, 0]], units[:, [2, 0, 1]])
    return np.concatenate([lengths, np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))], axis=1)


def structure_arrays(
    structures: Sequence[Structure], space_groups: Sequence[int] | None = None
) -> CrystalArrays:
    """
    Collect what a CrysTens is made of.

    Parameters
    ----------
    structures
        Ordered structures of 1 to 52 sites.
    space_groups
        Their space group numbers; found with spglib (0.01 angstrom, 5 degrees) when None.

    Returns
    -------
    CrystalArrays
        The crystals as arrays.

    Raises
    ------
    InputError
        For something else than structures, or a structure without sites, with more than 52,
        disordered, or with coordinates or a lattice that are not finite; it names the structure.
        Also for space groups that are not one number from 1 to 230 for each structure.
    """
    structures = _structures(structures)
    n = len(structures)
    n_sites = np.array([len(structure) for structure in structures], dtype=np.int64)
    numbers = np.zeros((n, MAX_SITES), dtype=np.int64)
    frac_coords = np.zeros((n, MAX_SITES, 3))
    matrices = np.empty((n, 3, 3))
    for i, structure in enumerate(structures):
        n_i = n_sites[i]
        if not 1 <= n_i <= MAX_SITES:
            remedy = "leave it out or use its primitive cell" if n_i else "leave it out"
            raise InputError(
                f"{_name(i, structure)} has {n_i} sites; a CrysTens holds "
                f"1 to {MAX_SITES}: {remedy}"
            )
        numbers[i, :n_i] = _atomic_numbers(i, structure)
        matrices[i] = structure.lattice.matrix
        coords = np.array([site.frac_coords for site in structure])
        frac_coords[i, :n_i] = right_handed(coords, matrices[i])
    parameters = lattice_parameters(matrices)
    finite = np.isfinite(frac_coords).all(axis=(1, 2)) & np.isfinite(parameters).all(axis=1)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise InputError(
            f"{_name(bad, structures[bad])} has coordinates or a lattice that are not finite: "
            "leave it out"
        )
    return CrystalArrays(
        numbers, frac_coords, parameters, _space_groups(structures, space_groups), n_sites
    )


def right_handed(frac_coords: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """
    Return coordinates in the right-handed cell of the same lengths and angles.

    Lengths and angles alone mean a right-handed cell: taken there as they are, the coordinates of
    a left-handed cell would make the mirror image of the crystal.

    Parameters
    ----------
    frac_coords
        Fractional coordinates, shape (n, 3).
    matrix
        Lattice vectors as rows, angstrom, shape (3, 3).

    Returns
    -------
    numpy.ndarray
        The coordinates, inverted where the lattice vectors are left-handed.
    """
    with np.errstate(invalid="ignore"):
        return -frac_coords if np.linalg.det(matrix) < 0 else frac_coords


def _structures(given: Sequence[Structure]) -> list[Structure]:
    from pymatgen.core import IStructure

    if isinstance(given, IStructure):
        raise InputError(
            f"expected a sequence of structures, got one {type(given).__name__}: write [structure]"
        )
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InputError(
            f"expected a sequence of pymatgen structures, got {type(given).__name__}: give a list "
            "of Structure, as Structure.from_file reads one"
        )
    structures = list(given)
    for i, structure in enumerate(structures):
        if not isinstance(structure, IStructure):
            raise InputError(
                f"structure {i} is of type {type(structure).__name__}, not a pymatgen Structure: "
                "leave it out, or read it with Structure.from_file"
            )
    return structures


def _space_groups(structures: list[Structure], given: Sequence[int] | None) -> np.ndarray:
    if given is None:
        found = np.ones(len(structures), dtype=np.int64)
        for i, structure in enumerate(structures):
            number = find_space_group(
                structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers
            )
            if number is None:
                raise InputError(
                    f"{_name(i, structure)} has no space group that spglib finds (do atoms "
                    "overlap?): leave it out or give space_groups"
                )
            found[i] = number
        return found
    try:
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise InputError(
            "space_groups must be numbers from 1 to 230, or None to find them"
        ) from exc
    if numbers.shape != (len(structures),):
        raise InputError(
            f"space_groups has shape {numbers.shape} for {len(structures)} structures: give one "
            "number for each, or None to find them"
        )
    right = (numbers >= 1) & (numbers <= 230) & (numbers == np.round(numbers))
    if not right.all():
        bad = int(np.argmin(right))
        raise InputError(
            f"{_name(bad, structures[bad])} is given space group {numbers[bad]:g}: it must be a "
            "whole number from 1 to 230, or give space_groups=None to find them"
        )
    return numbers.astype(np.int64)


def _atomic_numbers(index: int, structure: Structure) -> list[int]:
    species = [site.species for site in structure]
    for occupants in species:
        if len(occupants) != 1 or abs(occupants.num_atoms - 1.0) > 1e-8:
            raise InputError(
                f"{_name(index, structure)} is disordered ({occupants.to_pretty_string()} on a "
                "site): order it first, or leave it out"
            )
    numbers = [getattr(element, "Z", 0) for (element,) in species]
    if not 1 <= min(numbers) <= max(numbers) <= 118:
        wrong = next(z for z in numbers if not 1 <= z <= 118)
        (element,) = species[numbers.index(wrong)]
        raise InputError(
            f"{_name(index, structure)} holds {element}, which is no element: replace it"
        )
    return numbers


def _name(index: int, structure: Structure) -> str:
    formula = structure.composition.reduced_formula if len(structure) else "empty"
    return f"structure {index} ({formula})"

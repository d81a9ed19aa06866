"""Space group and symmetrised structure, on request."""

from __future__ import annotations

from dataclasses import dataclass

from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

from crystens_flows.errors import InputError
from crystens_flows.representation.space_group import ANGLE_TOLERANCE, SYMPREC, quiet_spglib


@dataclass(frozen=True)
class Symmetry:
    """
    What spglib finds in a structure.

    Parameters
    ----------
    number
        Space group number.
    symbol
        Its Hermann-Mauguin symbol.
    structure
        The symmetrised structure: positions and lattice brought to what the space group asks for,
        in the conventional standard cell or its primitive one.
    """

    number: int
    symbol: str
    structure: Structure


def find_symmetry(
    structure: Structure,
    symprec: float = SYMPREC,
    angle_tolerance: float = ANGLE_TOLERANCE,
    *,
    primitive: bool = False,
) -> Symmetry:
    """
    Find the space group of a decoded structure and symmetrise it.

    Parameters
    ----------
    structure
        The structure.
    symprec
        Distance within which positions count as equivalent, angstrom; 0.1 suits structures
        decoded from noisy tensors.
    angle_tolerance
        Tolerance of angles, degree.
    primitive
        Return the primitive standard cell instead of the conventional one.

    Returns
    -------
    Symmetry
        Number, symbol and symmetrised structure.

    Raises
    ------
    InputError
        If spglib finds no space group, as where atoms overlap within the tolerance.
    """
    with quiet_spglib():
        try:
            analyzer = SpacegroupAnalyzer(structure, symprec, angle_tolerance)
            refined = (
                analyzer.get_primitive_standard_structure()
                if primitive
                else analyzer.get_refined_structure()
            )
        except (SymmetryUndeterminedError, TypeError, ValueError) as exc:
            raise InputError(
                f"{structure.composition.reduced_formula}: spglib finds no space group within "
                f"{symprec:g} A; do atoms overlap? give a smaller symprec"
            ) from exc
        return Symmetry(
            analyzer.get_space_group_number(), analyzer.get_space_group_symbol(), refined
        )

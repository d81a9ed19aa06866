"""Positions and cell as one set of coordinates, for relaxations of both."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FIXED_VOLUME = (4, 5)
"""Values of ISIF that leave the volume as it is."""

ONLY_VOLUME = 7
"""Value of ISIF that leaves the shape as it is."""


class AtomsAndCell:
    """
    The positions in the first cell and, below them, the deformation of that cell.

    As in ASE's ``UnitCellFilter`` (Tadmor et al., Phys. Rev. B 59, 235 (1999)), so that a change of
    the cell leaves fractional coordinates as they are; here volume or shape can be held exactly.

    Parameters
    ----------
    atoms
        The structure, with a calculator; moved in place.
    isif
        What may change, as VASP counts it.
    """

    def __init__(self, atoms: Any, isif: int) -> None:
        self.atoms = atoms
        self.factor = cell_factor(len(atoms))
        self._isif = isif
        self._cell = atoms.cell[:].copy()

    @property
    def _deformation(self) -> NDArray[np.float64]:
        return np.linalg.solve(self._cell, self.atoms.cell[:]).T

    def get_positions(self) -> NDArray[np.float64]:
        """Return the coordinates, shape ``(n + 3, 3)``, in angstrom."""
        deformation = self._deformation
        positions = np.linalg.solve(deformation, self.atoms.positions.T).T
        return np.vstack([positions, self.factor * deformation])

    def set_positions(self, coordinates: NDArray[np.float64]) -> None:
        """
        Move the atoms and the cell.

        Parameters
        ----------
        coordinates
            As :meth:`get_positions` returns them.
        """
        n_atoms = len(self.atoms)
        deformation = coordinates[n_atoms:] / self.factor
        if self._isif in FIXED_VOLUME:
            deformation = deformation / np.cbrt(np.linalg.det(deformation))
        elif self._isif == ONLY_VOLUME:
            deformation = np.eye(3) * np.trace(deformation) / 3
        self.atoms.set_cell(self._cell @ deformation.T)
        self.atoms.set_positions(coordinates[:n_atoms] @ deformation.T)

    def get_forces(self) -> NDArray[np.float64]:
        """Return the forces on the coordinates, shape ``(n + 3, 3)``, in eV/A."""
        deformation = self._deformation
        virial = -self.atoms.get_volume() * self.atoms.get_stress(voigt=False)
        mean = np.eye(3) * np.trace(virial) / 3
        if self._isif in FIXED_VOLUME:
            virial = virial - mean
        elif self._isif == ONLY_VOLUME:
            virial = mean
        on_cell = np.linalg.solve(deformation, virial.T).T / self.factor
        return np.vstack([self.atoms.get_forces() @ deformation, on_cell])


def cell_factor(n_atoms: int) -> float:
    """
    Return by how much a deformation counts: the cell is then about as stiff as an atom.

    Parameters
    ----------
    n_atoms
        Number of atoms in the cell.

    Returns
    -------
    float
        In angstrom.
    """
    return 2 * float(np.sqrt(n_atoms))

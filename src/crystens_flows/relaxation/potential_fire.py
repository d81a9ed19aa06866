"""FIRE on the sites and the cell of one crystal, one step at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm, expm_frechet

Vectors = NDArray[np.float64]

TIME_STEP = 0.1
MAX_TIME_STEP = 1.0
MAX_LENGTH = 0.2
"""A step goes no further than this, angstrom; the length is that of all components together."""
MIXING = 0.1
N_BEFORE_FASTER = 5
FASTER, SLOWER, LESS_MIXING = 1.1, 0.5, 0.99


class CellFire:
    """
    ASE's FIRE on its ``FrechetCellFilter``, with the defaults of both, for a crystal.

    ASE asks a calculator for forces when it wants them; here they are given, so that a potential
    can be asked for those of many crystals at once. The cell has nine coordinates beside those of
    the sites: the logarithm of the deformation, times the number of sites; the forces on them are
    the slopes of the energy by these. Sites move in the undeformed cell.

    Parameters
    ----------
    positions
        Cartesian, in angstrom, shape ``(sites, 3)``.
    cell
        Lattice vectors as rows, in angstrom.

    References
    ----------
    E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), FIRE. A. H. Larsen et al., J. Phys.:
    Condens. Matter 29, 273002 (2017), ASE.
    """

    def __init__(self, positions: Vectors, cell: Vectors) -> None:
        self.n_steps = 0
        self._start = np.array(cell, dtype=float)
        self._n_sites = len(positions)
        self._coordinates = np.concatenate([positions, np.zeros((3, 3))])
        self._velocity: Vectors | None = None
        self._time_step = TIME_STEP
        self._mixing = MIXING
        self._n_downhill = 0

    @property
    def _log_deformation(self) -> Vectors:
        return self._coordinates[self._n_sites :] / self._n_sites

    @property
    def positions(self) -> Vectors:
        """Where the sites are: cartesian, in angstrom, shape ``(sites, 3)``."""
        return np.asarray(self._coordinates[: self._n_sites] @ expm(self._log_deformation).T)

    @property
    def cell(self) -> Vectors:
        """The lattice vectors as rows, in angstrom."""
        return np.asarray(self._start @ expm(self._log_deformation).T)

    def generalised(self, forces: Vectors, stress: Vectors) -> Vectors:
        """
        Return the forces on the coordinates.

        Parameters
        ----------
        forces
            On the sites, in eV/A, shape ``(sites, 3)``.
        stress
            In eV/A^3, positive = expanded, shape ``(3, 3)``.

        Returns
        -------
        numpy.ndarray
            In eV/A, shape ``(sites + 3, 3)``, the last three rows those on the cell.
        """
        logarithm = self._log_deformation
        deformation = expm(logarithm)
        virial = -abs(np.linalg.det(self._start @ deformation.T)) * stress
        # <G, d exp(U)[E]> = <d exp(U^T)[G], E>: one derivative instead of ASE's nine
        slope = expm_frechet(logarithm.T, virial @ np.linalg.inv(deformation.T), compute_expm=False)
        return np.concatenate([forces @ deformation, slope / self._n_sites])

    def step(self, forces: Vectors) -> None:
        """
        Go one step.

        Parameters
        ----------
        forces
            As :meth:`generalised` returns them, at the present positions.
        """
        velocity = self._velocity
        if velocity is None:
            velocity = np.zeros_like(forces)
        elif np.vdot(forces, velocity) > 0:
            along = forces / np.linalg.norm(forces) * np.linalg.norm(velocity)
            velocity = (1 - self._mixing) * velocity + self._mixing * along
            if self._n_downhill > N_BEFORE_FASTER:
                self._time_step = min(self._time_step * FASTER, MAX_TIME_STEP)
                self._mixing *= LESS_MIXING
            self._n_downhill += 1
        else:
            velocity = np.zeros_like(forces)
            self._mixing = MIXING
            self._time_step *= SLOWER
            self._n_downhill = 0
        self._velocity = velocity + self._time_step * forces
        change = self._time_step * self._velocity
        length = np.linalg.norm(change)
        if length > MAX_LENGTH:
            change *= MAX_LENGTH / length
        self._coordinates = self._coordinates + change
        self.n_steps += 1

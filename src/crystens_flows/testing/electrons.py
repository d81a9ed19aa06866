"""The electronic structure that the stand-in states: placeholders, with nothing computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystens_flows.errors import InputError
from crystens_flows.testing.inputs import Inputs
from crystens_flows.testing.kpoints import Mesh, irreducible
from crystens_flows.testing.version import ENTROPY

BAND_GAP = 1.0
"""Between the highest occupied and the lowest empty band, eV, whatever the crystal."""


@dataclass(frozen=True)
class Electrons:
    """
    Flat bands: the same at each k-point.

    Parameters
    ----------
    kpoints, weights
        Of the mesh or the list, shapes ``(n, 3)`` and ``(n,)``.
    energies, occupations
        Of the bands, shape ``(n_bands,)``.
    n_spins
        1 or 2.
    """

    kpoints: NDArray[np.float64]
    weights: NDArray[np.float64]
    energies: NDArray[np.float64]
    occupations: NDArray[np.float64]
    n_spins: int

    @property
    def fermi_energy(self) -> float:
        """In the middle of the gap."""
        return BAND_GAP / 2


def electrons(inputs: Inputs) -> Electrons:
    """
    Fill bands with the valence electrons of the POTCAR.

    Parameters
    ----------
    inputs
        What was read.

    Returns
    -------
    Electrons
        The placeholders.

    Raises
    ------
    InputError
        If NBANDS has no room for the electrons.
    """
    given = inputs.kpoints
    kpoints = irreducible(inputs.atoms, given) if isinstance(given, Mesh) else given
    n_occupied = math.ceil(inputs.n_electrons / 2)
    n_bands = int(inputs.incar.number("NBANDS", n_occupied + max(4, n_occupied // 2)))
    if n_bands < n_occupied:
        raise InputError(f"INCAR: NBANDS = {n_bands} is too few for {inputs.n_electrons} electrons")
    index = np.arange(n_bands) - (n_occupied - 1)
    energies = np.where(index <= 0, 0.1 * index, BAND_GAP + 0.1 * (index - 1))
    occupations = np.clip(inputs.n_electrons / 2 - np.arange(n_bands), 0.0, 1.0)
    n_spins = int(inputs.incar.number("ISPIN", 1))
    return Electrons(kpoints.points, kpoints.weights, energies, occupations, n_spins)


@dataclass(frozen=True)
class IonicStep:
    """
    One ionic step.

    Parameters
    ----------
    number
        From 1.
    atoms
        The structure.
    energy
        Of the calculator, taken for the free energy, eV.
    change
        From the step before, eV.
    forces
        Shape ``(n, 3)``, eV/A.
    stress
        Shape ``(3, 3)``, kbar, positive = compressed.
    """

    number: int
    atoms: Any
    energy: float
    change: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]

    @property
    def electronic(self) -> list[dict[str, float]]:
        """Energies of the electronic steps, the last of which are those of the ionic step."""
        entropy = ENTROPY * len(self.atoms)
        return [
            {
                "e_fr_energy": self.energy + left,
                "e_wo_entrp": self.energy + left + entropy,
                "e_0_energy": self.energy + left + entropy / 2,
            }
            for left in (1e-2, 1e-6, 0.0)
        ]

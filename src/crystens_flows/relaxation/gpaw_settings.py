"""Settings, files and results of relaxations with GPAW."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pymatgen.core import Structure

from crystens_flows.errors import InputError

INPUT_FILE = "gpaw_input.json"
RESULT_FILE = "gpaw_result.json"
TRAJECTORY_FILE = "gpaw.traj"
LOG_FILE = "gpaw.txt"
DERIVATIVE_FILE = "gpaw_dedecut.json"


@dataclass(frozen=True)
class GpawSettings:
    """
    How GPAW relaxes.

    Parameters
    ----------
    cutoff
        Of the plane waves, eV; by default 400, or more where a setup needs more.
    kpoints
        Number of k-points along each reciprocal vector.
    gamma_centred
        Whether the mesh holds Gamma, else it is Monkhorst and Pack's.
    smearing_width
        Of the Gaussian, eV.
    max_force
        The relaxation ends when no force is above it, eV/A,
    max_stress
        and no component of the stress, kbar.
    max_ionic_steps
        Or after so many ionic steps, not converged.
    fixed_basis
        Keep the number of plane waves of the first cell, as VASP does; by default the cutoff is
        kept, and the stress is that at a fixed cutoff.
    """

    cutoff: float | None = None
    kpoints: tuple[int, int, int] = (3, 3, 3)
    gamma_centred: bool = True
    smearing_width: float = 0.1
    max_force: float = 0.01
    max_stress: float = 0.5
    max_ionic_steps: int = 99
    fixed_basis: bool = False

    def __post_init__(self) -> None:
        if self.max_ionic_steps < 1 or (self.cutoff is not None and self.cutoff <= 0):
            raise InputError("max_ionic_steps and cutoff must be above 0")
        object.__setattr__(self, "kpoints", tuple(self.kpoints))  # a list, from a store


@dataclass(frozen=True)
class GpawIonicStep:
    """
    One ionic step.

    Parameters
    ----------
    energy
        Free energy, eV a cell.
    energy_zero_sigma
        Extrapolated to zero smearing, eV a cell.
    stress
        In kbar, positive = compressed.
    max_force
        The largest force on an atom, eV/A.
    volume
        In A^3.
    """

    energy: float
    energy_zero_sigma: float
    stress: list[list[float]]
    max_force: float
    volume: float


@dataclass(frozen=True)
class GpawRelaxation:
    """
    What a relaxation with GPAW found.

    Parameters
    ----------
    structure
        After the last ionic step; None where it failed.
    ionic_steps
        In order, the first being of the structure given.
    forces
        After the last ionic step, eV/A.
    converged
        Whether forces and stress are below their limits.
    reason
        Why it failed.
    method
        Functional, cutoff, k-points, setups, smearing; version of GPAW; the derivative of the
        energy by the cutoff and what it adds to the last pressure.
    """

    structure: Structure | None
    ionic_steps: list[GpawIonicStep]
    forces: list[list[float]]
    converged: bool
    reason: str | None
    method: dict[str, Any] = field(default_factory=dict)

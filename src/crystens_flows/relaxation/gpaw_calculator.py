"""GPAW as these relaxations use it: plane waves, PBEsol, the stress at a fixed cutoff."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from crystens_flows.errors import CrystensError, MissingExtraError, import_extra

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

FUNCTIONAL = "PBEsol"

SETUPS = "PBE"
"""The PAW setups are of this functional: none are published for PBEsol."""

ELECTRONIC_CONVERGENCE = 1e-5
"""The energy of the last three electronic steps differs by less, eV a cell (VASP's EDIFF)."""

CUTOFF_DIFFERENCE = 0.05
"""
The energy's derivative by the cutoff is taken between so much less and so much more of it.

Less than 0.03 feels single plane waves come and go; at 0.05 the curvature costs 4 % of the
derivative where the energy falls by half every 45 eV, as MgO's does at 600 eV.
"""

SYSTEM_PACKAGES = ("libxc-dev", "libopenblas-dev")
"""What GPAW is compiled against when pip installs it, as Debian calls it."""

EV_A3_IN_KBAR = 1602.1766208


class GpawError(CrystensError):
    """Raised for a relaxation that GPAW cannot do; the message is the reason."""


def import_gpaw() -> ModuleType:
    """
    Import GPAW.

    Returns
    -------
    ModuleType
        The package.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        return import_extra("gpaw", "gpaw", "relaxing with GPAW")
    except MissingExtraError as exc:
        raise MissingExtraError(
            f"{exc} (pip compiles it, which needs {' and '.join(SYSTEM_PACKAGES)} or the like)"
        ) from exc


def setup_files(elements: Iterable[str]) -> dict[str, str]:
    """
    Find the PAW setups of elements.

    Parameters
    ----------
    elements
        Symbols.

    Returns
    -------
    dict
        File name by symbol, sorted.

    Raises
    ------
    GpawError
        If there is no setup for an element.
    """
    import_gpaw()
    from gpaw.setup_data import search_for_file

    found, missing = {}, []
    for element in sorted(set(elements)):
        try:
            found[element] = Path(search_for_file(f"{element}.{SETUPS}")[0]).name
        except FileNotFoundError:
            missing.append(element)
    if missing:
        raise GpawError(f"GPAW has no {SETUPS} setup for {', '.join(missing)}")
    return found


def calculator(
    cutoff: float,
    kpoints: tuple[int, int, int],
    *,
    gamma_centred: bool = True,
    smearing_width: float = 0.1,
    dedecut: float | None = None,
    basis_cell: NDArray[np.float64] | None = None,
    log: Any = None,
) -> Any:
    """
    Make a calculator of GPAW: no spin, PBEsol on PBE setups, Gaussian smearing.

    The smearing is Methfessel and Paxton's of order 0, which is Gaussian: what VASP does with
    ISMEAR = 0, its SIGMA being the width.

    Parameters
    ----------
    cutoff
        Of the plane waves, eV.
    kpoints
        Number of k-points along each reciprocal vector.
    gamma_centred
        Whether the mesh holds Gamma, else it is Monkhorst and Pack's; for odd numbers both are
        the same.
    smearing_width
        In eV.
    dedecut
        Derivative of the energy by the cutoff. The stress is then that at a fixed cutoff; without
        it, that of a fixed set of plane waves.
    basis_cell
        Keep the number of plane waves that this cell has at the cutoff, shape (3, 3), A; by
        default each cell has its own, at a fixed cutoff.
    log
        Name of a file or an open one for what GPAW tells.

    Returns
    -------
    gpaw.GPAW
        The calculator.
    """
    gpaw = import_gpaw()
    from gpaw.xc import XC

    functional = XC(FUNCTIONAL)
    functional.get_setup_name = lambda: SETUPS
    return gpaw.GPAW(
        mode=gpaw.PW(cutoff, dedecut=dedecut, cell=basis_cell),
        xc=functional,
        kpts={"size": tuple(kpoints), "gamma": gamma_centred},
        occupations={"name": "methfessel-paxton", "width": smearing_width, "order": 0},
        spinpol=False,
        convergence={
            "energy": {"name": "energy", "tol": ELECTRONIC_CONVERGENCE, "relative": False}
        },
        txt=log,
    )


def free_energy(atoms: Atoms) -> float:
    """
    Compute the free energy, the one that forces and stress are derivatives of.

    Parameters
    ----------
    atoms
        With a calculator of GPAW.

    Returns
    -------
    float
        In eV a cell, against the free atoms of the setups.

    Raises
    ------
    GpawError
        If self-consistency is not reached, or atoms are too close.
    """
    gpaw = import_gpaw()
    from gpaw.utilities import AtomsTooClose

    try:
        return float(atoms.get_potential_energy(force_consistent=True))
    except gpaw.ConvergenceError as exc:
        raise GpawError("the electrons did not reach self-consistency") from exc
    except AtomsTooClose as exc:
        raise GpawError(f"atoms are too close for GPAW: {exc}") from exc
    except np.linalg.LinAlgError as exc:
        raise GpawError(f"the electrons could not be solved for: {exc}") from exc


def energy_by_cutoff(atoms: Atoms, cutoff: float, **settings: Any) -> float:
    """
    Measure the derivative of the energy by the cutoff, with two self-consistent calculations.

    A stress of plane waves is that of a fixed set of them. Kept at a fixed cutoff instead, the
    cell gains or loses plane waves as it changes, which adds 2/3 * cutoff * dE/dcutoff / volume
    to each diagonal element (Francis and Payne, J. Phys.: Condens. Matter 2, 4395 (1990)).

    Parameters
    ----------
    atoms
        The crystal; its calculator is not used.
    cutoff
        In eV.
    **settings
        As for :func:`calculator`.

    Returns
    -------
    float
        Dimensionless (eV/eV), a cell; not above 0 but for noise.

    Raises
    ------
    GpawError
        As :func:`free_energy`.
    """
    energies = []
    for factor in (1 - CUTOFF_DIFFERENCE, 1 + CUTOFF_DIFFERENCE):
        crystal = atoms.copy()
        crystal.calc = calculator(cutoff * factor, **settings)
        energies.append(free_energy(crystal))
    return (energies[1] - energies[0]) / (2 * CUTOFF_DIFFERENCE * cutoff)


def stress_in_kbar(atoms: Atoms) -> NDArray[np.float64]:
    """
    Return the stress in VASP's unit and sign.

    Parameters
    ----------
    atoms
        With a calculator.

    Returns
    -------
    numpy.ndarray
        Shape (3, 3), kbar, positive = compressed.
    """
    return np.asarray(-atoms.get_stress(voigt=False) * EV_A3_IN_KBAR)


def basis_pressure(dedecut: float, cutoff: float, volume: float) -> float:
    """
    Return what a fixed cutoff adds to the pressure of a fixed set of plane waves.

    Parameters
    ----------
    dedecut
        Derivative of the energy by the cutoff, a cell.
    cutoff
        In eV.
    volume
        Of the cell, A^3.

    Returns
    -------
    float
        In kbar, positive = compressed.
    """
    return -2 / 3 * cutoff * dedecut / volume * EV_A3_IN_KBAR

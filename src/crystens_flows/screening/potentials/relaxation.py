"""A short relaxation with a potential, before its formation energy is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymatgen.core import Structure

from crystens_flows.errors import InputError, import_extra
from crystens_flows.screening.potentials.energies import reduced, unfit
from crystens_flows.screening.potentials.prediction import predict
from crystens_flows.screening.potentials.registry import Potential, load_potential

MAX_VOLUME_CHANGE = 2.0
"""A cell that grows or shrinks by more than this factor has left what it was generated as."""


@dataclass(frozen=True)
class RelaxedPrediction:
    """
    What a short relaxation found.

    Parameters
    ----------
    structure
        The relaxed structure in an LLL-reduced cell, its sites in the order given; None where
        there is no energy.
    formation_energy_per_atom
        Of that structure, in eV/atom; None where there is none.
    n_steps
        Steps that were made.
    converged
        Whether forces and stress fell below the limit.
    reason
        Why there is no energy; None where there is one.
    """

    structure: Structure | None
    formation_energy_per_atom: float | None
    n_steps: int = 0
    converged: bool = False
    reason: str | None = None


def relax(
    structures: Sequence[Structure], potential: str = "chgnet", steps: int = 50, fmax: float = 0.05
) -> list[RelaxedPrediction]:
    """
    Relax sites and cell with ASE's FIRE for a few steps, and predict formation energies.

    Structures are relaxed one after the other; the energy is that of the last step, converged or
    not. A relaxation that runs away (the volume changes by more than a factor of two, or forces are
    not finite) has a reason and no energy; :func:`~crystens_flows.screening.potentials.predict`
    still has that of the structure as it was.

    Parameters
    ----------
    structures
        The structures.
    potential
        As for :func:`~crystens_flows.screening.potentials.predict`.
    steps
        At most so many steps.
    fmax
        Converged when no force exceeds this, eV/A; the stress counts as the force on the cell
        (ASE's ``FrechetCellFilter``).

    Returns
    -------
    list of RelaxedPrediction
        One for each structure.

    Raises
    ------
    InputError
        If there is no such potential, or `steps` or `fmax` is not positive.
    MissingExtraError
        If its package is not installed.

    References
    ----------
    E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), FIRE.
    """
    if steps < 1 or not fmax > 0:
        raise InputError(f"steps ({steps}) and fmax ({fmax}) must be positive")
    model = load_potential(potential)
    relaxed = [_relax(structure, model, steps, fmax) for structure in structures]
    done = [i for i, each in enumerate(relaxed) if each.structure is not None]
    last: list[Any] = [relaxed[i].structure for i in done]
    for i, each in zip(done, predict(last, potential), strict=True):
        energy = each.formation_energy_per_atom
        relaxed[i] = RelaxedPrediction(
            relaxed[i].structure if energy is not None else None,
            energy,
            relaxed[i].n_steps,
            relaxed[i].converged,
            each.reason,
        )
    return relaxed


def _relax(structure: Structure, model: Potential, steps: int, fmax: float) -> RelaxedPrediction:
    if reason := unfit(structure, model):
        return RelaxedPrediction(None, None, reason=reason)
    start = reduced(structure)
    if reason := model.graph(start)[1]:
        return RelaxedPrediction(None, None, reason=reason)
    purpose = "relaxing with a potential"
    numbers = [site.specie.Z for site in start]
    atoms = import_extra("ase", "screen", purpose).Atoms(
        numbers=numbers, positions=start.cart_coords, cell=start.lattice.matrix, pbc=True
    )
    atoms.calc = model.calculator()
    filters = import_extra("ase.filters", "screen", purpose)
    optimize = import_extra("ase.optimize", "screen", purpose)
    converged, n_steps = False, 0
    with optimize.FIRE(filters.FrechetCellFilter(atoms), logfile=None) as optimizer:
        try:
            for near in optimizer.irun(fmax=fmax, steps=steps):
                converged = bool(near)
                n_steps = optimizer.nsteps
                ratio = atoms.get_volume() / start.volume
                if not 1 / MAX_VOLUME_CHANGE <= ratio <= MAX_VOLUME_CHANGE:
                    reason = f"volume ran away in relaxation: {ratio:.2f} of what it was"
                elif not np.isfinite(atoms.get_forces()).all():
                    reason = "forces are not finite in relaxation"
                if reason:
                    return RelaxedPrediction(None, None, n_steps, reason=reason)
        # of sites that became isolated, and of matrices that are no cell any more
        except (ValueError, RuntimeError, ArithmeticError, np.linalg.LinAlgError) as exc:
            reason = f"relaxation failed: {type(exc).__name__}: {exc}"
            return RelaxedPrediction(None, None, n_steps, reason=reason)
    end = Structure(
        atoms.cell[:], numbers, atoms.positions, coords_are_cartesian=True, to_unit_cell=True
    )
    return RelaxedPrediction(end, None, n_steps, converged)

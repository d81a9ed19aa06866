"""The ionic steps of a relaxation with GPAW."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Structure

from crystens_flows.relaxation.changes import broken
from crystens_flows.relaxation.gpaw_calculator import (
    GpawError,
    basis_pressure,
    calculator,
    energy_by_cutoff,
    free_energy,
    stress_in_kbar,
)
from crystens_flows.relaxation.gpaw_settings import (
    DERIVATIVE_FILE,
    LOG_FILE,
    TRAJECTORY_FILE,
    GpawIonicStep,
    GpawRelaxation,
    GpawSettings,
)

if TYPE_CHECKING:
    from ase import Atoms

CURVATURE = 10.0
"""
The optimiser's first guess of a bond's stiffness, eV/A^2.

With it and the scale of the cell below, 16 crystals of up to 28 atoms, strained by 5 % and shaken
by 0.08 A, took 24 steps of BFGS on average (CHGNet); with ASE's own 70 eV/A^2 and a scale of the
number of atoms, more than 70, with FIRE 78.
"""

MAX_MOVE = 0.1
"""No atom moves further in one ionic step, A."""


class IonicLoop:
    """
    Relaxes cell and atoms with BFGS, and knows what was done before it was stopped.

    The degrees of freedom are those of ASE's ``FrechetCellFilter``. The cell is scaled by the
    square root of the number of atoms: its stiffness is then that of a bond for any size.

    Parameters
    ----------
    structure
        Where it starts.
    folder
        Where it works.
    settings
        How.
    cutoff
        Of the plane waves, eV.
    """

    def __init__(
        self, structure: Structure, folder: Path, settings: GpawSettings, cutoff: float
    ) -> None:
        from ase import Atoms

        self.structure = structure
        self.folder = folder
        self.settings = settings
        self.cutoff = cutoff
        self.atoms = Atoms(
            [site.specie.symbol for site in structure],
            scaled_positions=structure.frac_coords,
            cell=structure.lattice.matrix,
            pbc=True,
        )

    def run(self, method: dict[str, Any]) -> GpawRelaxation:
        """
        Make ionic steps until forces and stress are small.

        Parameters
        ----------
        method
            Of the result; what is found about the basis is added.

        Returns
        -------
        GpawRelaxation
            The result.

        Raises
        ------
        GpawError
            If self-consistency is not reached, or the crystal leaves the physical.
        """
        from ase.io import Trajectory
        from ase.parallel import paropen

        done = self._done()
        trajectory_file = self.folder / TRAJECTORY_FILE
        with paropen(self.folder / LOG_FILE, "a") as log, Trajectory(trajectory_file, "a") as kept:
            electrons = {
                "kpoints": self.settings.kpoints,
                "gamma_centred": self.settings.gamma_centred,
                "smearing_width": self.settings.smearing_width,
                "log": log,
            }
            dedecut = self._derivative(electrons)
            cell = self.structure.lattice.matrix if self.settings.fixed_basis else None
            engine = calculator(self.cutoff, dedecut=dedecut, basis_cell=cell, **electrons)
            steps, converged = self._relax(engine, done, kept)
        method["dedecut"] = dedecut
        if dedecut is not None:
            volume = self.atoms.get_volume()
            method["basis_pressure"] = basis_pressure(dedecut, self.cutoff, volume)
        return GpawRelaxation(
            structure=self._current(),
            ionic_steps=steps,
            forces=self.atoms.get_forces().tolist(),
            converged=converged,
            reason=None,
            method=method,
        )

    def _relax(self, engine: Any, done: list[Atoms], kept: Any) -> tuple[list[GpawIonicStep], bool]:
        """Make ionic steps, those that are done already from what was kept of them."""
        from ase.filters import FrechetCellFilter
        from ase.optimize import BFGS

        atoms, settings = self.atoms, self.settings
        scale = len(atoms) ** 0.5
        optimizer = BFGS(
            FrechetCellFilter(atoms, exp_cell_factor=scale),  # type: ignore[arg-type]
            logfile=None,
            alpha=CURVATURE,
            maxstep=MAX_MOVE,
        )
        steps: list[GpawIonicStep] = []
        while True:
            if len(steps) < len(done):
                frame = done[len(steps)]
                atoms.set_cell(frame.cell)
                atoms.set_positions(frame.positions)
                atoms.calc = frame.calc
            else:
                atoms.calc = engine
                free_energy(atoms)
                atoms.get_forces()
                atoms.get_stress()
                kept.write(atoms)
            steps.append(self._ionic_step())
            force, stress = steps[-1].max_force, np.abs(steps[-1].stress).max()
            if force < settings.max_force and stress < settings.max_stress:
                return steps, True
            if len(steps) == settings.max_ionic_steps:
                return steps, False
            optimizer.step()
            self._check(len(steps))

    def _done(self) -> list[Atoms]:
        """Return the ionic steps of an earlier start."""
        from ase.io import read
        from gpaw.mpi import world

        path = self.folder / TRAJECTORY_FILE
        try:
            done = list(read(path, index=":")) if path.exists() else []
        except Exception:  # noqa: BLE001 - a file cut off while it was begun, whatever ASE makes of it
            done = []
            if world.rank == 0:
                path.unlink()
        world.barrier()  # lest one process makes the file before another has looked for it
        return done

    def _derivative(self, electrons: dict[str, Any]) -> float | None:
        """Return the derivative of the energy by the cutoff in the first cell."""
        from gpaw.mpi import world

        if self.settings.fixed_basis:
            return None
        path = self.folder / DERIVATIVE_FILE
        if path.exists():
            return float(json.loads(path.read_text()))
        value = energy_by_cutoff(self.atoms, self.cutoff, **electrons)
        world.barrier()
        if world.rank == 0:
            temporary = path.with_name(path.name + ".new")
            temporary.write_text(json.dumps(value))
            temporary.replace(path)
        return value

    def _ionic_step(self) -> GpawIonicStep:
        atoms = self.atoms
        return GpawIonicStep(
            energy=float(atoms.get_potential_energy(force_consistent=True)),
            energy_zero_sigma=float(atoms.get_potential_energy()),
            stress=stress_in_kbar(atoms).tolist(),
            max_force=float(np.linalg.norm(atoms.get_forces(), axis=1).max()),
            volume=float(atoms.get_volume()),
        )

    def _current(self) -> Structure:
        return Structure(
            self.atoms.cell.array, self.structure.species, self.atoms.get_scaled_positions()
        )

    def _check(self, n_steps: int) -> None:
        """Raise if the next ionic step would be of something broken."""
        reason = broken(self.structure, self._current())
        if reason is not None:
            raise GpawError(f"{reason} after {n_steps} ionic steps")

"""Relaxation by conjugate gradients: trial step, corrector step, as VASP's IBRION = 2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystens_flows.errors import import_extra
from crystens_flows.testing.cell import AtomsAndCell, cell_factor

FIRST_STEP = 0.03
"""Of the first trial, A^2/eV."""

MAX_MOVE = 0.25
"""No atom moves farther in one ionic step, A; the same for the cell, scaled with its size."""

FIXED_IONS = (5, 6, 7)
"""Values of ISIF that leave fractional coordinates as they are."""


class NoStepsLeftError(Exception):
    """Raised when NSW ionic steps were made."""


@dataclass
class _Point:
    x: NDArray[np.float64]
    energy: float
    force: NDArray[np.float64]


class Relaxation:
    """
    A relaxation of atoms and cell, of which each evaluation counts as an ionic step.

    Parameters
    ----------
    atoms
        The structure, with a calculator; moved in place.
    isif
        What may change, as VASP counts it: 2 the atoms; 3 atoms, shape and volume; 4 atoms and
        shape; 5 shape; 6 shape and volume; 7 volume.
    max_steps
        Ionic steps at most.
    ediffg
        Positive: ends when the energy changes by less from one line minimum to the next, eV;
        negative: ends when all forces are below its size, eV/A, those on the cell (stress times
        volume, for each atom) included.
    record
        Called at each ionic step.
    """

    def __init__(
        self, atoms: Any, isif: int, max_steps: int, ediffg: float, record: Callable[[], None]
    ) -> None:
        self.atoms = atoms
        self.max_steps = max_steps
        self.ediffg = ediffg
        self.record = record
        self.n_steps = 0
        self._fixed_ions = isif in FIXED_IONS
        self._system = atoms if isif <= 2 else AtomsAndCell(atoms, isif)

    def run(self) -> bool:
        """
        Relax; the last ionic step is where it ends.

        Returns
        -------
        bool
            Whether it converged.
        """
        try:
            self._descend()
        except NoStepsLeftError:
            return False
        return True

    def _descend(self) -> None:
        here = self._evaluate(self._system.get_positions())
        direction, step = here.force, FIRST_STEP
        while not self._forces_vanish(here):
            if (here.force * direction).sum() <= 0:
                direction = here.force
            there, step = self._line_minimum(here, direction, step)
            if there is None:
                if direction is not here.force:
                    direction, step = here.force, FIRST_STEP
                    continue
                self._evaluate(here.x)  # it goes no lower: end where it was lowest
                return
            on_minimum = abs((there.force * direction).sum()) < 0.5 * (here.force * direction).sum()
            if self.ediffg > 0 and on_minimum and here.energy - there.energy < self.ediffg:
                return
            squares = (here.force * here.force).sum()
            beta = max(0.0, (there.force * (there.force - here.force)).sum() / squares)
            here, direction = there, there.force + beta * direction

    def _line_minimum(
        self, here: _Point, direction: NDArray[np.float64], step: float
    ) -> tuple[_Point | None, float]:
        """Go along a direction to where the energy is lowest, by a trial and a corrector."""
        longest = MAX_MOVE / np.linalg.norm(direction, axis=1).max()
        step = min(step, longest)
        slope = (here.force * direction).sum()
        trial = self._evaluate(here.x + step * direction)
        bend = slope - (trial.force * direction).sum()
        longer = min(step * min(slope / bend, 4.0) if bend > 0 else 4 * step, longest)
        if longer == step and trial.energy < here.energy:
            return trial, step
        step = longer
        for _ in range(8):
            there = self._evaluate(here.x + step * direction)
            if there.energy < here.energy:
                return there, step
            step /= 4
        return None, FIRST_STEP

    def _forces_vanish(self, point: _Point) -> bool:
        n_atoms = len(self.atoms)
        # those of the filter are turned and scaled with the cell
        on_cell = point.force[n_atoms:] * cell_factor(n_atoms) / n_atoms
        on_ions = self.atoms.get_forces() * (not self._fixed_ions)
        largest = np.linalg.norm(np.vstack([on_ions, on_cell]), axis=1).max()
        return bool(largest < max(-self.ediffg, 1e-8))

    def _evaluate(self, x: NDArray[np.float64]) -> _Point:
        if self.n_steps >= self.max_steps:
            raise NoStepsLeftError
        self._system.set_positions(x)
        energy = free_energy(self.atoms)
        force = np.array(self._system.get_forces())
        if self._fixed_ions:
            force[: len(self.atoms)] = 0.0
        self.n_steps += 1
        self.record()
        return _Point(x.copy(), energy, force)


def free_energy(atoms: Any) -> float:
    """
    Return the energy that the forces are derivatives of.

    Parameters
    ----------
    atoms
        The structure, with a calculator.

    Returns
    -------
    float
        The free energy, or the energy of a calculator that knows only one, eV.
    """
    calculators = import_extra("ase.calculators.calculator", "ase", "the stand-in for VASP")
    try:
        return float(atoms.get_potential_energy(force_consistent=True))
    except calculators.PropertyNotImplementedError:
        return float(atoms.get_potential_energy())

"""Calculators of ASE in which crystals do not hold together, for the stand-in for VASP."""

from __future__ import annotations

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Exploding(Calculator):
    """The energy falls with the volume, for ever."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        tension = 0.05  # eV/A^3
        self.results = {
            "energy": -tension * atoms.get_volume(),
            "forces": np.zeros((len(atoms), 3)),
            "stress": -tension * np.array([1.0, 1, 1, 0, 0, 0]),
        }


class Colliding(Calculator):
    """The first two atoms pull each other to 0.3 A."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        vector = atoms.get_distance(0, 1, mic=True, vector=True)
        length = np.linalg.norm(vector)
        pull = 2.0 * (length - 0.3) * vector / length
        forces = np.zeros((len(atoms), 3))
        forces[0], forces[1] = pull, -pull
        stress = np.outer(pull, vector) / atoms.get_volume()
        self.results = {
            "energy": (length - 0.3) ** 2,
            "forces": forces,
            "stress": stress.ravel()[[0, 4, 8, 5, 2, 1]],
        }

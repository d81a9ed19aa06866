"""Calculators that the tests of batched relaxations name by their path."""

from __future__ import annotations

from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

asked: list[str] = []
"""The formula of each crystal that CountingEMT was asked about."""

NOT_CALLABLE = 7


class CountingEMT(EMT):
    """EMT that writes down what it is asked."""

    def calculate(self, atoms=None, *args, **kwargs):
        asked.append(atoms.get_chemical_formula())
        super().calculate(atoms, *args, **kwargs)


class AboveVolume(EMT):
    """EMT for crystals above a volume, by formula; it fails for others."""

    def __init__(self, volumes, **kwargs):
        super().__init__(**kwargs)
        self.volumes = volumes

    def calculate(self, atoms=None, *args, **kwargs):
        formula = atoms.get_chemical_formula()
        if atoms.get_volume() < self.volumes.get(formula, 0):
            raise ValueError(f"too small: {formula}")
        super().calculate(atoms, *args, **kwargs)


class NoStress(Calculator):
    """A calculator of energies and forces alone."""

    implemented_properties = ("energy", "forces")

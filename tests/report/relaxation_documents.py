"""Relaxations with numbers that are easy to follow, of real crystals."""

from __future__ import annotations

from pymatgen.core import Lattice, Structure

from crystens_flows.relaxation.results import summarise_steps_read
from crystens_flows.relaxation.steps import RelaxStep
from crystens_flows.schemas import RelaxDocument


def halite(a: float = 5.6, shift: float = 0.0) -> Structure:
    """NaCl, its first site off its place by so many fractions of the cell."""
    cations = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    anions = [[x + 0.5, y, z] for x, y, z in cations]
    structure = Structure(Lattice.cubic(a), ["Na"] * 4 + ["Cl"] * 4, cations + anions)
    structure.translate_sites([0], [shift, 0, 0])
    return structure


def relaxation(
    candidate_id: str = "c-1",
    before: Structure | None = None,
    energies: tuple[float, ...] = (-26.0, -26.8, -26.9, -26.92, -26.92),
    pressures: tuple[float, ...] = (12.0, -3.0, 0.5, 0.1),
    engine: str = "VASP 6.4.2",
    stand_in: bool = False,
) -> RelaxDocument:
    """Four relaxations, or as many as there are pressures; each cell is 0.02 A longer."""
    before = before or halite(shift=0.01)
    steps = [
        RelaxStep(
            structure=halite(5.6 + 0.02 * k),
            initial_energy=energies[k - 1],
            energy=energies[k],
            stress=[[p, 0, 0], [0, p, 0], [0, 0, p]],
            converged=k != 1,
            engine=engine,
            dir_name=f"host:/job{k}",
            stand_in=stand_in,
        )
        for k, p in enumerate(pressures, start=1)
    ]
    uuids = ["u1", "u2", "u3", "u4"]
    return summarise_steps_read([*steps, *[None] * (4 - len(steps))], candidate_id, uuids, before)

from __future__ import annotations

import numpy as np
import pytest

from crystens_flows.relaxation.potential_fire import CellFire

pytest.importorskip("ase", reason="FIRE is held against ASE's")


def crystal(seed):
    """Copper and nickel, compressed, sheared and disturbed, with a calculator."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True, a=rng.uniform(3.3, 3.9))
    atoms.numbers[rng.integers(4)] = 28
    atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.05, (3, 3))), scale_atoms=True)
    atoms.rattle(0.2, rng=rng)
    atoms.calc = EMT()
    return atoms


@pytest.mark.parametrize("seed", range(3))
def test_goes_the_way_of_ase(seed):
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    theirs, ours = crystal(seed), crystal(seed)
    cell_filter = FrechetCellFilter(theirs)
    optimizer = FIRE(cell_filter, logfile=None)
    fire = CellFire(ours.positions, ours.cell[:])
    largest = []
    for _ in range(40):
        ours.set_cell(fire.cell)
        ours.set_positions(fire.positions)
        assert ours.positions == pytest.approx(theirs.positions, abs=1e-9)
        assert ours.cell[:] == pytest.approx(theirs.cell[:], abs=1e-9)
        forces = fire.generalised(ours.get_forces(), ours.get_stress(voigt=False))
        assert forces == pytest.approx(cell_filter.get_forces(), abs=1e-8)
        largest.append(np.linalg.norm(forces, axis=1).max())
        fire.step(forces)
        optimizer.step()
    assert fire.n_steps == 40
    assert largest[0] > 2  # it went somewhere, not downhill all the way
    assert largest[-1] < largest[0] / 5
    assert np.diff(largest).max() > 0


def test_forces_on_the_cell_are_slopes_of_the_energy():
    """After some steps, where the deformation is none of the first order any more."""
    atoms, step = crystal(5), 1e-4
    fire = CellFire(atoms.positions, atoms.cell[:])
    for _ in range(8):
        energy_and_forces(fire, atoms)
        fire.step(fire.generalised(atoms.get_forces(), atoms.get_stress(voigt=False)))
    energy_and_forces(fire, atoms)
    forces = fire.generalised(atoms.get_forces(), atoms.get_stress(voigt=False))
    here = fire._coordinates
    for row, column in ((0, 1), (2, 0), (4, 0), (5, 1), (6, 2), (5, 0), (4, 2)):
        energies = []
        for sign in (1, -1):
            fire._coordinates = here.copy()
            fire._coordinates[row, column] += sign * step
            energies.append(energy_and_forces(fire, atoms))
        slope = (energies[0] - energies[1]) / (2 * step)
        assert -slope == pytest.approx(forces[row, column], abs=1e-5)


def energy_and_forces(fire, atoms):
    atoms.set_cell(fire.cell)
    atoms.set_positions(fire.positions)
    return atoms.get_potential_energy()


def test_leaves_what_it_was_given_alone():
    atoms = crystal(0)
    positions, cell = atoms.positions.copy(), atoms.cell[:].copy()
    fire = CellFire(positions, cell)
    before = positions.copy(), cell.copy()
    for _ in range(3):
        fire.step(fire.generalised(np.ones_like(positions), np.eye(3)))
    assert (positions == before[0]).all()
    assert (cell == before[1]).all()
    assert not np.allclose(fire.positions, positions)

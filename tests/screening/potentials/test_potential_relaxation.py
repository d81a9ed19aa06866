from __future__ import annotations

import numpy as np
import pytest
from potential_crystals import NAMES, odd_cells, rock_salt
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.errors import InputError
from crystens_flows.screening.potentials import predict, relax


def strained() -> Structure:
    structure = rock_salt()
    structure.apply_strain([0.06, -0.03, 0.02])
    structure.translate_sites([0], [0.03, 0.01, 0.0])
    return structure


@pytest.mark.parametrize("potential", NAMES)
def test_strained_rock_salt_goes_back(potential):
    (found,) = relax([strained()], potential)
    before, at_rest = predict([strained(), rock_salt()], potential)
    assert found.converged
    assert 0 < found.n_steps < 50
    assert found.structure.volume == pytest.approx(rock_salt().volume, rel=0.02)
    assert found.structure.matches(rock_salt())
    assert found.formation_energy_per_atom < before.formation_energy_per_atom - 0.005
    assert found.formation_energy_per_atom == pytest.approx(
        at_rest.formation_energy_per_atom, abs=0.005
    )
    assert predict([found.structure], potential)[0].formation_energy_per_atom == pytest.approx(
        found.formation_energy_per_atom, abs=1e-5
    )


@pytest.mark.parametrize("potential", NAMES)
def test_left_handed_cells_relax_to_the_same_crystal(potential):
    right = strained()
    left = Structure(
        Lattice(right.lattice.matrix[[0, 2, 1]]), right.species, right.frac_coords[:, [0, 2, 1]]
    )
    assert left.lattice.volume == pytest.approx(right.volume)
    assert np.linalg.det(left.lattice.matrix) < 0 < np.linalg.det(right.lattice.matrix)
    found, expected = relax([left, right], potential)
    assert found.converged
    assert found.structure.volume == pytest.approx(expected.structure.volume, rel=1e-3)
    assert found.formation_energy_per_atom == pytest.approx(
        expected.formation_energy_per_atom, abs=1e-4
    )


def test_goes_where_chgnets_own_optimizer_goes():
    from chgnet.model import StructOptimizer

    structure = shipped().structure(300)
    structure.apply_strain([0.04, -0.02, 0.03])
    optimizer = StructOptimizer(use_device="cpu")
    final = optimizer.relax(structure.copy(), fmax=0.05, steps=12, verbose=False)
    (found,) = relax([structure], steps=12)
    assert found.structure.volume == pytest.approx(final["final_structure"].volume, rel=1e-3)
    assert predict([found.structure])[0].energy_per_atom == pytest.approx(
        final["trajectory"].energies[-1] / len(structure), abs=1e-4
    )


def test_stops_after_the_steps_allowed():
    (found,) = relax([strained()], steps=3)
    assert found.n_steps == 3
    assert not found.converged
    assert found.formation_energy_per_atom is not None
    assert found.reason is None


def test_runaways_have_a_reason():
    wide, narrow = rock_salt(), rock_salt()
    wide.scale_lattice(3 * wide.volume)
    narrow.scale_lattice(narrow.volume / 4)
    found = relax([wide, narrow, rock_salt()])
    kinds = [None if each.reason is None else each.reason.split(":")[0] for each in found]
    assert kinds == [
        "volume ran away in relaxation",
        "volume ran away in relaxation",
        None,
    ]
    assert all(each.structure is None for each in found[:2])
    assert all(each.formation_energy_per_atom is None for each in found[:2])


def test_what_cannot_be_relaxed_has_a_reason():
    cells = {name: each for name, each in odd_cells().items() if each[1] is not None}
    found = relax([structure for structure, _ in cells.values()], steps=2)
    kinds = {name: each.reason.split(":")[0] for name, each in zip(cells, found, strict=True)}
    assert kinds == {name: reason for name, (_, reason) in cells.items()}


def test_sites_keep_their_order():
    structure = shipped().structure(9000)
    (found,) = relax([structure], steps=5)
    assert [site.specie for site in found.structure] == [site.specie for site in structure]
    assert np.isfinite(found.structure.lattice.matrix).all()


@pytest.mark.parametrize(("steps", "fmax"), [(0, 0.05), (5, 0.0), (5, float("nan"))])
def test_refuses_limits_that_are_none(steps, fmax):
    with pytest.raises(InputError, match="positive"):
        relax([], steps=steps, fmax=fmax)

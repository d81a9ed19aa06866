"""Energies and relaxations of samples, against ASE and plain loops."""

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.evaluation import energies
from crystens_flows.evaluation.hull import chgnet_hull, on_hull
from crystens_flows.relaxation import RelaxStep
from crystens_flows.screening.hull import load_hull
from crystens_flows.screening.potentials import predict, relax

pytest.importorskip("chgnet", reason="structures are relaxed with CHGNet")


def few_crystals():
    """Two that ship, pushed out of their minimum."""
    small = (shipped().structure(i) for i in range(200, 400))
    strained, disturbed = [c for c in small if 3 <= len(c) <= 4][:2]
    strained.apply_strain([0.03, -0.02, 0.01])
    moved = np.random.default_rng(0).normal(0, 0.12, (len(disturbed), 3))
    for i, vector in enumerate(moved):
        disturbed.translate_sites(i, vector, frac_coords=False)
    return [strained, disturbed]


def test_relaxed_together_as_one_after_the_other_with_ase(monkeypatch):
    """ASE's FIRE on its cell filter, which :func:`relax` drives."""
    monkeypatch.setattr(energies, "RELAX_STEPS", 15)
    crystals = few_crystals()
    collapsed = Structure(Lattice.cubic(3), ["Na", "Cl"], [[0, 0, 0], [0.1, 0, 0]])
    *found, bad = energies.relaxed([*crystals, collapsed])
    assert bad.rmsd is bad.energy_above_hull is None
    assert "too close" in bad.reason
    matcher = StructureMatcher(0.5, 0.5, 10, scale=False, attempt_supercell=True)
    ends = relax(crystals, "chgnet", 15, energies.RELAX_FORCE)
    for before, end, ours in zip(crystals, ends, found, strict=True):
        after, energy = end.structure, end.formation_energy_per_atom
        assert ours.rmsd == pytest.approx(moved(matcher, before, after), abs=5e-3)
        (stands,) = chgnet_hull().evaluate([before.composition], [energy])
        assert ours.energy_above_hull == pytest.approx(stands.energy_above_hull, abs=1e-3)
        ((stands, _),) = load_hull().evaluate([before.composition], [energy])
        assert ours.energy_above_shipped_hull == pytest.approx(stands.energy_above_hull, abs=1e-3)
    assert max(ours.rmsd for ours in found) > 0.01  # they went somewhere


def moved(matcher, before, after):
    """As MatterGen's evaluation has it; half the edge of an atom's cube where nothing matches."""
    both = np.add(before.lattice.parameters, after.lattice.parameters) / 2
    edge = (Lattice.from_parameters(*both).volume / len(before)) ** (1 / 3)
    distance = matcher.get_rms_dist(before, after)
    return edge * (0.5 if distance is None else distance[0])


def test_what_has_become_another_crystal_has_moved_far(monkeypatch):
    """Of a pair of sites in a long cell one goes over to the other half."""
    before = Structure(Lattice.tetragonal(3, 9), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.3]])
    after = Structure(Lattice.tetragonal(5, 4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    step = RelaxStep(after, None, None, None, True, "CHGNet", None)
    monkeypatch.setattr(energies, "relax_once", lambda *_, **__: [step])
    (found,) = energies.relaxed([before])
    volume = 4 * 4 * 6.5
    assert found.rmsd == pytest.approx(0.5 * (volume / 2) ** (1 / 3))


def test_both_sides_of_the_hull_are_by_one_method():
    """Crystals that ship are not below it, by the energies that it is made of."""
    dataset = shipped()
    rows = np.random.default_rng(2).choice(len(dataset), 40, replace=False)
    crystals = list(dataset.structures(rows))
    own = [each.formation_energy_per_atom for each in predict(crystals, "chgnet")]
    above = [
        each.energy_above_hull
        for each in chgnet_hull().evaluate([c.composition for c in crystals], own)
    ]
    assert min(above) > -1e-4
    assert sum(each < 1e-4 for each in above) > 10
    # most real crystals are near the hull of density functionals; CHGNet has them there too
    assert np.median(above) < 0.03


def test_what_lies_above_the_hull_is_left_out():
    rows = [("Na", 0.0, "a"), ("NaCl", -2.0, "b"), ("NaCl", -1.9, "c"), ("Na2Cl", -0.5, "d")]
    assert [name for *_, name in on_hull(rows)] == ["a", "b"]
    assert {"O", "Fe"} <= {el.symbol for f in chgnet_hull().formulas for el in Composition(f)}

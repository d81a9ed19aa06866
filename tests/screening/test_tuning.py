from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from crystens_flows.datasets import shipped
from crystens_flows.errors import InputError
from crystens_flows.screening.element_correction import element_corrections
from crystens_flows.screening.symmetrize import nearby_symmetries, space_group_number
from crystens_flows.screening.tuning import TuningOptions, tune
from crystens_flows.screening.validity import smact_validity


@pytest.fixture(scope="module")
def held_out():
    dataset = shipped()
    rows = np.random.default_rng(5).choice(dataset.split["holdout_a"], 40, replace=False)
    return list(dataset.structures(rows))


def disturb(rng, structure):
    parameters = np.array(structure.lattice.parameters) * (1 + 0.01 * rng.normal(size=6))
    coords = structure.frac_coords + rng.normal(0, 0.02, (len(structure), 3))
    return Structure(Lattice.from_parameters(*parameters), structure.species, coords)


def rock_salt(cation="Na", anion="Cl"):
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), [cation, anion], [[0] * 3, [0.5] * 3]
    )


def chgnet(structures):
    from crystens_flows.screening.potentials import predict

    return [prediction.formation_energy_per_atom for prediction in predict(structures)]


def test_disturbed_crystals_get_their_space_group_back(held_out):
    rng = np.random.default_rng(0)
    disturbed = [disturb(rng, crystal) for crystal in held_out]
    own = [space_group_number(crystal) for crystal in held_out]
    before = [space_group_number(structure) for structure in disturbed]
    results = tune(disturbed, None)
    back = np.mean(
        [one.space_group_after == number for one, number in zip(results, own, strict=True)]
    )
    assert np.mean(np.array(before) == own) < 0.1
    assert back >= 0.8
    for result, structure in zip(results, disturbed, strict=True):
        assert result.structure.species == structure.species
        assert result.max_displacement <= TuningOptions().max_displacement
        if result.changed:
            analyzer = SpacegroupAnalyzer(result.structure, 1e-4)
            assert analyzer.get_space_group_number() == result.space_group_after


def test_undisturbed_crystals_stay_what_they_are(held_out):
    results = tune(held_out, None)
    assert sum(result.changed for result in results) <= 2
    kept = [result for result in results if not result.changed]
    assert all(
        result.structure is crystal
        for result, crystal in zip(results, held_out, strict=True)
        if not result.changed
    )
    assert {result.reason for result in kept} == {"nothing better nearby"}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 4, 6]), st.integers(0, 1))
def test_snapped_structures_are_symmetric_and_near(seed, n_sites, shear):
    rng = np.random.default_rng(seed)
    base = Structure(Lattice.cubic(5), ["Na"] * n_sites, np.round(rng.random((n_sites, 3)) * 4) / 4)
    matrix = (
        base.lattice.matrix
        + rng.normal(0, 0.05, (3, 3))
        + shear * np.array([[0, 5.0, 0], [0, 0, 0], [0, 0, 0]])
    )
    noisy = Structure(matrix, base.species, base.frac_coords + rng.normal(0, 0.01, (n_sites, 3)))
    for found in nearby_symmetries(noisy, 1.0):
        # in the same setting, within what is promised, whatever the cell
        shift = found.structure.frac_coords - noisy.frac_coords
        moved = np.linalg.norm(shift @ noisy.lattice.matrix, axis=1)
        assert moved.max() == pytest.approx(found.max_displacement, abs=1e-6)
        assert found.max_displacement <= 1.0
        stretches = np.linalg.svd(
            np.linalg.inv(noisy.lattice.matrix) @ found.structure.lattice.matrix, compute_uv=False
        )
        assert np.abs(stretches - 1).max() < 0.15
        if (
            len(found.structure) == 1
            or found.structure.distance_matrix[~np.eye(n_sites, dtype=bool)].min() > 0.5
        ):
            n_found = len(SpacegroupAnalyzer(found.structure, 1e-3).get_symmetry_operations())
            assert n_found >= found.n_operations


def test_groups_grow_and_supercells_are_seen():
    rng = np.random.default_rng(0)
    cell = rock_salt() * (1, 1, 2)
    cell.perturb(0.05, seed=0)
    found = nearby_symmetries(Structure(cell.lattice, cell.species, cell.frac_coords), 1.0)
    sizes = [one.n_operations for one in found]
    assert sizes == sorted(set(sizes))
    assert found[-1].n_operations == 16 * 8  # of the tetragonal supercell of eight primitive cells
    assert space_group_number(found[-1].structure) == 225
    coords = rng.random((5, 3))
    lattice = Lattice.from_parameters(4, 5.5, 7.3, 81, 95, 107)
    assert nearby_symmetries(Structure(lattice, ["Na", "K", "Cl", "Br", "O"], coords), 0.3) == []


def test_energy_forbids_what_geometry_likes():
    rng = np.random.default_rng(0)
    disturbed = disturb(rng, rock_salt().get_primitive_structure())
    assert tune([disturbed], None)[0].space_group_after == 225

    def against(structures):
        return [0.0 if structure is structures[0] else 0.02 for structure in structures]

    result = tune([disturbed], against)[0]
    assert not result.changed
    assert result.structure is disturbed
    assert (result.energy_before, result.energy_after) == (0.0, 0.0)
    allowed = tune([disturbed], against, TuningOptions(energy_tolerance=0.03))[0]
    assert allowed.space_group_after == 225
    assert allowed.energy_after == 0.02


def test_energies_are_asked_in_batches():
    rng = np.random.default_rng(0)
    structures = [disturb(rng, rock_salt(a).get_primitive_structure()) for a in ("Na", "K", "Kr")]
    asked = []

    def energies(batch):
        asked.append(len(batch))
        return [0.0] * len(batch)

    tune(structures, energies)
    assert len(asked) == 2
    assert asked[0] > 3
    with pytest.raises(InputError, match="0 energies for"):
        tune(structures, lambda _: [])
    assert tune([], energies) == []


def test_krypton_was_rubidium():
    result = tune([rock_salt("Kr")], chgnet)[0]
    assert result.elements_replaced == {"Kr": "Rb"}
    assert result.structure.composition.reduced_formula == "RbCl"
    assert result.energy_after < -1
    assert result.changed
    assert result.reason is None


def test_corrections_are_valid_neighbours():
    structure = rock_salt("Kr")
    found = list(element_corrections(structure))
    # RbCl, and with chlorine's own kind BrCl and SeCl, whose charges balance too
    assert sorted(replaced["Kr"] for replaced, _ in found) == ["Br", "Rb", "Se"]
    assert list(element_corrections(rock_salt())) == []
    for _, corrected in found:
        assert smact_validity(corrected) is True
    assert structure.composition.reduced_formula == "KrCl"


def test_relaxing_and_invalid_structures():
    close = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.01]])
    wide = Structure.from_spacegroup("Fm-3m", Lattice.cubic(7), ["Na", "Cl"], [[0] * 3, [0.5] * 3])

    def relax(structure):
        return None if len(structure) == 1 else rock_salt()

    sodium = Structure(Lattice.cubic(3.5), ["Na"], [[0, 0, 0]])
    results = tune([close, wide, sodium], chgnet, TuningOptions(relax=relax))
    assert results[0].reason.startswith("sites too close: ")
    assert results[0].structure is close
    assert results[0].space_group_after is None
    assert results[1].structure.volume == pytest.approx(5.6**3)
    assert results[1].energy_after < results[1].energy_before
    assert not results[2].changed

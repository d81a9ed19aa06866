from __future__ import annotations

import time

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.screening.duplicates import find_duplicates


def brute_force(structures):
    """Compare each with all kept so far, with nothing but the matcher."""
    matcher = StructureMatcher(comparator=ElementComparator())
    found = []
    for i, structure in enumerate(structures):
        found.append(
            next(
                (j for j in range(i) if found[j] is None and matcher.fit(structures[j], structure)),
                None,
            )
        )
    return found


@pytest.fixture(scope="module")
def crystals():
    """Polymorphs, strained and shifted copies, supercells and other crystals, mixed."""
    dataset = shipped()
    formulas = np.array(dataset.reduced_formulas)
    names, counts = np.unique(formulas, return_counts=True)
    polymorphic = names[np.argsort(-counts, kind="stable")][:5]
    indices = [i for name in polymorphic for i in np.flatnonzero(formulas == name)[:5]]
    indices += list(range(0, len(dataset), len(dataset) // 10))
    crystals = [dataset.structure(int(i)) for i in indices]
    crystals = [crystal for crystal in crystals if len(crystal) <= 24]
    rng = np.random.default_rng(0)
    copies = []
    for crystal in crystals[::2]:
        copy = crystal.copy()
        copy.perturb(0.05)
        copy.translate_sites(range(len(copy)), rng.uniform(size=3))
        copies.append(copy.apply_strain(rng.uniform(-0.02, 0.02, 3), inplace=False))
    copies.append(crystals[1] * (1, 1, 2))
    far = crystals[3].copy()
    far.perturb(1.0)
    mixed = [*crystals, *copies, far]
    return [mixed[i] for i in rng.permutation(len(mixed))]


@pytest.mark.parametrize("reverse", [False, True])
def test_equals_the_loop_over_all_pairs(crystals, reverse):
    structures = crystals[::-1] if reverse else crystals
    found = find_duplicates(structures)
    assert found == brute_force(structures)
    assert sum(j is not None for j in found) >= 10
    assert sum(j is None for j in found) >= 10


def test_the_first_of_equal_ones_is_kept():
    nacl = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    )
    primitive = nacl.get_primitive_structure()
    cscl_type = Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    charged = primitive.copy()
    charged.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    kcl = nacl.copy()
    kcl.replace_species({"Na": "K"})
    structures = [nacl, kcl, cscl_type, primitive, charged, cscl_type]
    assert find_duplicates(structures) == [None, None, None, 0, 0, 2]
    assert find_duplicates([]) == []


def test_flat_cells_do_not_stop_it():
    # pymatgen needs minutes to reduce or to compare these
    flat = Structure(Lattice.from_parameters(4, 4, 4, 60, 60, 119.99999), ["Na"], [[0, 0, 0]])
    sodium = Structure(Lattice.cubic(4), ["Na"], [[0, 0, 0]])
    started = time.process_time()
    assert find_duplicates([flat, sodium, sodium]) == [None, None, 1]
    needle = Structure(Lattice.orthorhombic(0.6, 0.6, 60), ["Na"], [[0, 0, 0]])
    assert find_duplicates([needle, sodium, flat, sodium, needle]) == [None, None, None, 1, 0]
    assert time.process_time() - started < 10


def test_thousands_of_different_crystals_take_seconds():
    dataset = shipped()
    structures = list(dataset.structures(np.arange(0, len(dataset), len(dataset) // 2000)[:2000]))
    started = time.process_time()
    found = find_duplicates(structures)
    assert time.process_time() - started < 30
    assert sum(j is None for j in found) > 1900


def test_groups_are_those_of_group_structures():
    # many structures of one formula: random ones, some of them again, displaced and strained
    rng = np.random.default_rng(3)
    species = ["Ca", "Ti", "O", "O", "O"]
    structures = []
    for _ in range(60):
        lattice = Lattice.from_parameters(*rng.uniform(3.6, 4.4, 3), *rng.uniform(80, 100, 3))
        structures.append(Structure(lattice, species, rng.random((5, 3))))
    for structure in structures[:20]:
        copy = structure.copy()
        copy.perturb(0.25, min_distance=0)
        structures.append(copy.apply_strain(rng.uniform(-0.05, 0.05, 3), inplace=False))
    structures = [structures[i] for i in rng.permutation(len(structures))]
    found = find_duplicates(structures)
    groups = {}
    for i, j in enumerate(found):
        groups.setdefault(i if j is None else j, set()).add(i)
    where = {id(structure): i for i, structure in enumerate(structures)}
    expected = StructureMatcher(comparator=ElementComparator()).group_structures(structures)
    assert {frozenset(group) for group in groups.values()} == {
        frozenset(where[id(structure)] for structure in group) for group in expected
    }
    assert 5 < len(groups) < 75

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.errors import InputError
from crystens_flows.screening.novelty import KnownCrystals


@pytest.fixture(scope="module")
def dataset():
    return shipped()


@pytest.fixture(scope="module")
def queries(dataset):
    """Copies of known crystals and structures of known and of unknown formulas."""
    rng = np.random.default_rng(0)
    formulas = np.array(dataset.reduced_formulas)
    names, counts = np.unique(formulas, return_counts=True)
    common = names[np.argsort(-counts, kind="stable")][:12]
    rows = [i for name in common for i in np.flatnonzero(formulas == name)[:3]]
    rows = [i for i in rows if dataset.n_sites[i] <= 30]
    queries = []
    for row in rows:
        crystal = dataset.structure(row)
        if row % 3 == 0:
            crystal = crystal * (1, 1, 2) if len(crystal) < 12 else crystal
        elif row % 3 == 1:
            crystal.perturb(0.1)
            crystal.apply_strain(rng.uniform(-0.02, 0.02, 3))
        else:
            crystal.perturb(1.2)
        crystal.translate_sites(range(len(crystal)), rng.random(3))
        queries.append(crystal)
    return queries


def test_equals_a_loop_over_all_known_of_the_formula(dataset, queries):
    matcher = StructureMatcher(comparator=ElementComparator())
    formulas = np.array(dataset.reduced_formulas)
    expected = []
    for query in queries:
        same = np.flatnonzero(formulas == query.composition.reduced_formula)
        expected.append(
            next(
                (
                    dataset.material_ids[i]
                    for i in same
                    if matcher.fit(dataset.structure(int(i)), query)
                ),
                None,
            )
        )
    found = KnownCrystals.from_dataset(dataset).find(queries)
    assert found == expected
    assert sum(name is None for name in found) >= 3
    assert sum(name is not None for name in found) >= 10


def test_makes_structures_of_the_formulas_asked_for_alone(dataset):
    made = []

    def structure(row):
        made.append(row)
        return dataset.structure(row)

    known = KnownCrystals(dataset.material_ids, dataset.reduced_formulas, structure)
    assert len(known) == len(dataset)
    unheard = Structure(Lattice.cubic(4), ["Au", "Xe"], [[0] * 3, [0.5] * 3])
    assert known.find([unheard]) == [None]
    assert made == []
    row = next(i for i, f in enumerate(dataset.reduced_formulas) if f == "NaCl")
    for _ in range(2):
        assert known.find([dataset.structure(row)] * 2) == [dataset.material_ids[row]] * 2
    assert sorted(made) == [i for i, f in enumerate(dataset.reduced_formulas) if f == "NaCl"]


def test_every_crystal_is_known(dataset):
    rows = np.random.default_rng(1).choice(len(dataset), 200, replace=False)
    found = KnownCrystals.from_dataset().find(list(dataset.structures(rows)))
    formulas = {dataset.material_ids[i]: dataset.reduced_formulas[i] for i in range(len(dataset))}
    assert None not in found
    assert [formulas[name] for name in found] == [dataset.reduced_formulas[i] for i in rows]


def test_structures():
    cubic = Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    rock_salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    )
    known = KnownCrystals.from_structures(["a", "b"], [cubic, cubic])
    assert known.find([rock_salt, cubic * (2, 1, 1)]) == [None, "a"]
    flat = Structure(
        Lattice.from_parameters(4, 4, 4, 60, 60, 119.99999), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    )
    assert known.find([flat]) == [None]
    with pytest.raises(InputError, match="1 ids and 2"):
        KnownCrystals.from_structures(["a"], [cubic, cubic])

from __future__ import annotations

import time

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure

from crystens_flows.screening.validity import smact_validity, structural_validity


def shortest_distance(structure, images=3):
    """Loop over all pairs and images: the independent oracle."""
    best = np.inf
    steps = range(-images, images + 1)
    for i, a in enumerate(structure.frac_coords):
        for j, b in enumerate(structure.frac_coords):
            for u in steps:
                for v in steps:
                    for w in steps:
                        if i == j and (u, v, w) == (0, 0, 0):
                            continue
                        vector = (b + np.array([u, v, w]) - a) @ structure.lattice.matrix
                        best = min(best, np.linalg.norm(vector))
    return best


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_a_loop_over_pairs_and_images(seed):
    rng = np.random.default_rng(seed)
    lattice = Lattice.from_parameters(*rng.uniform(0.3, 2.5, 3), *rng.uniform(60, 110, 3))
    n_sites = int(rng.integers(1, 4))
    structure = Structure(lattice, ["Na"] * n_sites, rng.uniform(0, 1, (n_sites, 3)))
    expected = shortest_distance(structure) > 0.5 and structure.volume > 0.1
    assert (structural_validity(structure) is None) == expected


def test_both_answers_occur_above():
    answers = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        lattice = Lattice.from_parameters(*rng.uniform(0.3, 2.5, 3), *rng.uniform(60, 110, 3))
        n_sites = int(rng.integers(1, 4))
        structure = Structure(lattice, ["Na"] * n_sites, rng.uniform(0, 1, (n_sites, 3)))
        answers.add(structural_validity(structure) is None)
    assert answers == {True, False}


def test_names_what_is_wrong():
    nacl = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    )
    assert structural_validity(nacl) is None
    close = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.999]])
    assert "0.004 A apart" in structural_validity(close)
    own_image = Structure(Lattice.from_parameters(0.4, 9, 9, 90, 90, 90), ["Na"], [[0, 0, 0]])
    assert "0.400 A apart" in structural_validity(own_image)
    flat = Structure(Lattice.from_parameters(4, 4, 4, 60, 60, 119.999), ["Na"], [[0, 0, 0]])
    assert structural_validity(flat) is not None
    disordered = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    assert structural_validity(disordered) == "disordered sites"
    broken = Structure(Lattice.cubic(4), ["Na"], [[np.nan, 0, 0]])
    assert "not finite" in structural_validity(broken)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("NaCl", True),
        ("Fe2O3", True),
        ("CsPbI3", True),
        ("Si8", True),  # an element
        ("FeNi3", True),  # an alloy
        ("NaCl2", False),
        ("KO5F", False),
        ("HeNe", False),
    ],
)
def test_smact(formula, expected):
    assert smact_validity(formula) is expected
    assert smact_validity(Composition(formula)) is expected


def test_smact_takes_structures_with_oxidation_states():
    nacl = Structure(Lattice.cubic(3.5), ["Na+", "Cl-"], [[0] * 3, [0.5] * 3])
    assert smact_validity(nacl) is True


def test_smact_cannot_say():
    assert smact_validity("Fe0.5O1.3") is None
    assert smact_validity(Composition({})) is None
    assert smact_validity("OgO") is None
    started = time.perf_counter()
    assert smact_validity("FeMnCoNiCrVWO10S2Se3Te") is None  # 67 s of combinations otherwise
    assert time.perf_counter() - started < 5

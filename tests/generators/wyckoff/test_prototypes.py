"""Known crystals as structure types: found, renamed, kept, recalled, and started from."""

from functools import cache
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from random_streams import streams
from symmetric_crystals import crystals

from crystens_flows.generators.conditions import Conditions
from crystens_flows.generators.wyckoff.arrangement import Arranger
from crystens_flows.generators.wyckoff.coupling import match_noise, variants
from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal, symmetrise
from crystens_flows.generators.wyckoff.prototypes import Prototypes
from crystens_flows.generators.wyckoff.recall import Formulas, Memory, Recall, padded
from crystens_flows.generators.wyckoff.sentences import composition
from crystens_flows.generators.wyckoff.starts import reduced, starts_of


def cubic(group, a, species, sites):
    return Structure.from_spacegroup(group, Lattice.cubic(a), species, sites)


FLUORITE = [[0, 0, 0], [0.25] * 3]
ROCK_SALT = [[0, 0, 0], [0.5] * 3]
PEROVSKITE = [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]


@cache
def known_structures():
    """Return pairs and triples of crystals that share a structure type, and some alone."""
    return [
        *crystals().values(),
        cubic("Fm-3m", 4.21, ["Mg", "O"], ROCK_SALT),
        cubic("Fm-3m", 4.62, ["Na", "F"], ROCK_SALT),
        cubic("Pm-3m", 4.12, ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3]),
        cubic("Fm-3m", 5.46, ["Ca", "F"], FLUORITE),
        cubic("Fm-3m", 4.62, ["O", "Li"], FLUORITE),
        cubic("Pm-3m", 4.0, ["Ba", "Ti", "O"], PEROVSKITE),
        cubic("Pm-3m", 3.9, ["N", "Sn", "Ca"], PEROVSKITE),
        cubic("Fd-3m", 8.4, ["Fe", "Cr", "S"], [[0, 0, 0], [0.625] * 3, [0.38] * 3]),
    ]


@pytest.fixture(scope="module")
def known():
    return Prototypes.of([symmetrise(each) for each in known_structures()])


@pytest.fixture(scope="module")
def memory(known):
    torch.manual_seed(0)
    return Memory(Recall(width=16, size=6, layers=1, heads=2).double().eval(), known)


def index_of(known, formula):
    found = [
        k for k, s in enumerate(known_structures()) if s.composition.reduced_formula == formula
    ]
    return found[0]


def test_types_are_those_that_differ_in_elements_alone(known):
    def number(formula):
        return known.type_number(known.crystal(index_of(known, formula)))

    assert number("NaCl") == number("MgO") == number("NaF")
    assert number("SrTiO3") == number("BaTiO3")
    assert number("NaCl") != number("CsCl")
    assert number("CaTiO3") != number("SrTiO3")
    # the same arrangement, but metal and anion have changed places
    assert number("CaF2") != number("Li2O")


@pytest.mark.parametrize(
    ("source", "target", "structure"),
    [
        ("NaCl", ("K", "Br"), None),
        ("CaF2", ("Na", "Te"), {"Ca": "Te", "F": "Na"}),
        ("CaTiO3", ("La", "Al", "O"), None),
        ("MgAl2O4", ("Zn", "Ga", "O"), None),
        ("ZnO", ("Ga", "N"), None),
    ],
)
def test_renamed_crystals_are_those_of_pymatgen(known, source, target, structure):
    """With elements replaced in the structure, whatever the order of electronegativity."""
    original = known_structures()[index_of(known, source)]
    names = [str(each) for each in original.composition.elements]
    swapped = original.copy()
    swapped.replace_species(structure or dict(zip(names, target, strict=True)))
    made = symmetrise(swapped)
    elements, counts = reduced(composition(made.numbers, made.multiplicities))
    found = known.candidates(counts)
    wanted = known.type_number(made)
    rows = np.flatnonzero((found.types == wanted) & (found.crystals == index_of(known, source)))
    assert len(rows)
    for row in rows:
        renamed, sources = known.renamed(int(found.crystals[row]), found.roles[row], elements)
        assert renamed.number == made.number
        assert np.array_equal(renamed.numbers, made.numbers)
        assert np.array_equal(renamed.letters, made.letters)
        assert StructureMatcher().fit(renamed.structure(), swapped)
        before = {z for z, _ in zip(sources.tolist(), renamed.numbers, strict=True)}
        assert before == set(known.crystal(index_of(known, source)).numbers.tolist())


def test_candidates_are_all_assignments_of_equal_counts(known):
    """A brute-force loop over crystals and orders of their elements."""
    for counts in ((1, 1), (1, 2), (2, 1), (1, 1, 3), (1, 3, 1), (7, 7)):
        expected = {
            (k, order)
            for k in range(len(known))
            for order in permutations(range(len(known.counts[k])))
            if tuple(known.counts[k][r] for r in order) == counts
        }
        found = known.candidates(counts)
        rows = zip(found.crystals.tolist(), found.roles.tolist(), strict=True)
        assert {(k, tuple(roles)) for k, roles in rows} == expected
        for k, group, sites in zip(found.crystals, found.groups, found.sites, strict=True):
            assert group == known.crystal(k).number
            assert sites == known.crystal(k).multiplicities.sum()


def test_crystals_come_back_from_arrays(known):
    again = Prototypes(known.arrays)
    for k, structure in enumerate(known_structures()):
        one, other = symmetrise(structure), again.crystal(k)
        assert one.number == other.number
        assert np.array_equal(one.numbers, other.numbers)
        assert np.array_equal(one.letters, other.letters)
        apart = one.coordinates - other.coordinates
        assert np.abs(apart - np.round(apart)).max() < 2e-6
        assert np.allclose(one.lattice, other.lattice, rtol=1e-6)


def test_a_formula_is_never_recalled_from_itself(known, memory):
    found, likely = memory.recall((11, 17), (1, 1))
    assert likely.sum() == pytest.approx(1)
    own = [k for k in range(len(known)) if known.elements[k] == (11, 17)]
    assert own
    assert not likely[np.isin(found.crystals, own)].any()
    # what no crystal is arranged like
    assert not memory.recall((11, 17), (3, 5))[1].any()


def test_what_is_asked_for_bounds_what_is_recalled(known, memory):
    found, likely = memory.recall((19, 35), (1, 1), group=221)
    assert {known.crystal(k).number for k in found.crystals[likely > 0]} == {221}
    found, likely = memory.recall((19, 35), (1, 1), sites=4)
    assert set(found.sites[likely > 0]) == {4}
    assert not memory.recall((19, 35), (1, 1), group=62)[1].any()


def test_types_in_which_the_formula_is_known_are_less_likely_or_left_out(known, memory):
    salt = known.crystal(index_of(known, "NaCl"))
    numbers, counts = reduced(composition(salt.numbers, salt.multiplicities))
    found, likely = memory.recall(numbers, counts)
    same = found.types == known.type_number(salt)
    assert likely[same].sum() > 0
    assert likely[~same].sum() > 0
    _, less = memory.recall(numbers, counts, known=0.1)
    weights = likely * np.where(same, 0.1, 1.0)
    assert np.allclose(less, weights / weights.sum())
    _, none = memory.recall(numbers, counts, known=0.0)
    assert not none[same].any()
    assert np.allclose(none[~same], likely[~same] / likely[~same].sum())


def test_likelihoods_are_those_of_a_loop(known, memory):
    """Each formula against each candidate by itself."""
    formulas = Formulas.of(known, known)
    rows = np.arange(len(known))
    got, right = formulas.log_likelihood(memory.model, rows, torch.device("cpu"))
    points = [
        memory.model(*padded([known.elements[k]], [known.counts[k]]))[0].detach().numpy()
        for k in rows
    ]
    scale = float(memory.model.log_scale.exp())
    expected, hits = {}, 0
    for k in rows:
        n = len(known.counts[k])
        weights: dict[int, float] = {}
        best = (-np.inf, -1)
        found = known.candidates(known.counts[k])
        for other, roles, kind in zip(found.crystals, found.roles, found.types, strict=True):
            same = (known.elements[other], known.counts[other]) == (
                known.elements[k],
                known.counts[k],
            )
            if same:
                continue
            score = -scale * ((points[k][:n] - points[other][roles]) ** 2).sum()
            weights[kind] = weights.get(kind, 0.0) + np.exp(score)
            best = max(best, (score, kind))
        own = formulas.types[k]
        if own in weights:
            expected[k] = np.log(weights[own] / sum(weights.values()))
            hits += best[1] == own
    assert len(expected) >= 8
    assert np.allclose(sorted(got.detach().numpy()), sorted(expected.values()), atol=1e-9)
    assert right == hits


def test_steps_have_every_formula_once(known):
    formulas = Formulas.of(known, known)
    for seed in range(3):
        steps = formulas.steps(np.random.default_rng(seed))
        assert sorted(np.concatenate(steps).tolist()) == list(range(len(known)))


def test_a_flow_starts_near_its_known_crystal(known, memory):
    """The difference to go is that of the free coordinates, whatever describes them."""
    made = known.crystal(index_of(known, "MgAl2O4"))
    starts, likely = starts_of(memory, made)
    assert len(starts) == 1
    assert likely.tolist() == [1.0]
    assert starts[0].sources.tolist() != made.numbers.tolist()
    described = variants(made)
    _, difference = match_noise(described, np.random.default_rng(0), starts[0].free)
    # 0.3888 against 0.38 along the diagonal, with noise of 0.02
    assert np.abs(difference).max() < 0.08
    assert np.abs(difference).max() > 0


@pytest.fixture(scope="module")
def arranger(memory, model):
    return Arranger(memory, model, 1.0, 1.0, recall=1.0, power=4.0, known=0.1)


def test_arrangements_have_what_is_asked_for(arranger):
    for asked in (
        {"formula": "KBr"},
        {"formula": "KBr", "space_group": 221},
        {"formula": "KBr", "space_group": 225, "n_sites": 2},
        {"formula": "KBr3"},  # no known crystal has these counts
        {"space_group": 225},
        {"chemical_system": "K-Br", "n_sites": 2},
    ):
        for made in arranger.draw(Conditions(**asked), streams(6)):
            crystal = SymmetricCrystal(
                made.space_group, made.numbers, made.letters, np.zeros((len(made.numbers), 3)), 0
            )
            atoms = composition(crystal.numbers, crystal.multiplicities)
            if "formula" in asked:
                assert reduced(atoms) == reduced(Conditions(**asked).compositions[0])
            if "chemical_system" in asked:
                assert set(atoms) == {19, 35}
            if "space_group" in asked:
                assert made.space_group == asked["space_group"]
            if "n_sites" in asked:
                assert sum(atoms.values()) == asked["n_sites"]


def test_recalled_arrangements_start_from_known_crystals(arranger):
    assert all(made.start for made in arranger.draw(Conditions(formula="KBr"), streams(6)))
    written = Arranger(
        arranger.memory, arranger.specification, 1.0, 1.0, recall=0.0, power=4.0, known=0.1
    )
    groups = {made.space_group for made in written.draw(Conditions(formula="KBr"), streams(30))}
    assert groups - {225, 221, 186}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 8))
def test_an_arrangement_depends_on_its_stream_alone(arranger, seed, n):
    conditions = Conditions(formula="KBr")
    whole = arranger.draw(conditions, streams(n, seed))
    last = arranger.draw(conditions, streams(n, seed)[-1:])[0]
    assert (last.space_group, last.letters.tolist()) == (
        whole[-1].space_group,
        whole[-1].letters.tolist(),
    )

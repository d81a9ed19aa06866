"""Likelihoods of ions, guesses of oxidation states, counted replacements, fitted volumes."""

import math
from itertools import product

import numpy as np
import pytest
from pymatgen.analysis.structure_prediction.substitution_probability import (
    SubstitutionProbability,
)
from pymatgen.core import Composition, Element, Species
from scipy.optimize import least_squares

from crystens_flows.datasets import shipped
from crystens_flows.errors import CheckpointError
from crystens_flows.generators.elements import MAX_Z
from crystens_flows.generators.substitution.ions import KEPT, IonTable
from crystens_flows.generators.substitution.replacement import replacement_probabilities
from crystens_flows.generators.substitution.volumes import fit_volumes


@pytest.fixture(scope="module")
def table(shipped_substitution):
    return shipped_substitution.table


@pytest.fixture(scope="module")
def oracle():
    return SubstitutionProbability()


def place(table, symbol, charge):
    wanted = (table.numbers == Element(symbol).Z) & (table.charges == charge)
    return int(np.flatnonzero(wanted)[0])


def test_likelihoods_are_those_of_pymatgen(table, oracle):
    known = sorted((s for s in oracle.species if s.Z <= MAX_Z), key=str)
    places = [place(table, s.symbol, s.oxi_state) for s in known]
    assert len(known) > 200
    found = table.conditional[np.ix_(places, places)]
    stream = np.random.default_rng(0)
    often = [(i, i) for i in range(len(known))]
    for new, old in often + stream.integers(len(known), size=(3_000, 2)).tolist():
        expected = oracle.cond_prob(known[new], known[old])
        assert found[new, old] == pytest.approx(expected, rel=1e-9)
    # Three ions of the table are of elements beyond those that are generated.
    np.testing.assert_allclose(found.sum(0), 1, atol=2e-2)


def test_what_the_table_lacks_is_replaced_by_its_charge(table):
    telluride = place(table, "Te", -2)
    column = table.conditional[:, telluride]
    assert column[telluride] == KEPT
    others = (table.charges == -2) & (np.arange(len(column)) != telluride)
    assert column[others].sum() == pytest.approx(1 - KEPT)
    assert column[table.charges != -2].max() < 1e-6
    nickel = Element("Ni").Z  # without a charge
    np.testing.assert_allclose(
        np.delete(table.conditional[: MAX_Z + 1, nickel], nickel),
        np.delete(np.maximum((1 - KEPT) * table.replaced[:, nickel], 1e-9), nickel),
    )


def test_only_what_was_seen_is_drawn(table, oracle):
    iron = place(table, "Fe", 3)
    probability = np.diff(table.drawable[iron], prepend=0.0)
    assert probability.sum() == pytest.approx(1)
    drawn = np.flatnonzero(probability > 1e-15)
    assert len(drawn) > 50
    for k in drawn:
        species = Species(Element.from_Z(int(table.numbers[k])).symbol, int(table.charges[k]))
        assert frozenset([species, Species("Fe", 3)]) in oracle._l
    # and in the proportions of the likelihoods
    ratio = probability[drawn] / table.conditional[drawn, iron]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


@pytest.mark.parametrize(
    ("formula", "states"),
    [
        ("NaCl", {"Na": 1, "Cl": -1}),
        ("SrTiO3", {"Sr": 2, "Ti": 4, "O": -2}),
        ("Bi2Te3", {"Bi": 3, "Te": -2}),
        ("Li4Fe4P4O16", {"Li": 1, "Fe": 2, "P": 5, "O": -2}),
        ("Fe3O4", None),  # in two states
        ("Ni3Al", None),
        ("Si", None),
    ],
)
def test_known_oxidation_states(table, formula, states):
    composition = Composition(formula)
    numbers = tuple(sorted(e.Z for e in composition))
    counts = np.array([[composition[Element.from_Z(z)] for z in numbers]])
    (found,) = table.neutral(numbers, counts)
    if states is None:
        assert found is None
    else:
        assert {
            Element.from_Z(int(table.numbers[k])).symbol: int(table.charges[k]) for k in found
        } == states
        assert states in [dict(guess) for guess in composition.oxi_state_guesses()]


def test_guesses_are_the_likeliest_that_balance(table):
    """Of all states that pymatgen tries, one for each element, by a loop."""
    Composition("NaCl").oxi_state_guesses()  # pymatgen reads its table at the first guess
    dataset = shipped()
    for row in dataset.split["holdout_a"][:150]:
        composition = dataset.structure(int(row)).composition
        elements = sorted(composition, key=lambda e: e.Z)
        best = -math.inf
        for states in product(
            *(e.icsd_oxidation_states or e.common_oxidation_states for e in elements)
        ):
            if sum(q * composition[e] for q, e in zip(states, elements, strict=True)) == 0:
                score = sum(
                    composition[e] * Composition.oxi_prob.get(Species(e.symbol, q), 0)
                    for q, e in zip(states, elements, strict=True)
                )
                best = max(best, score)
        counts = np.array([[composition[e] for e in elements]])
        (found,) = table.neutral(tuple(e.Z for e in elements), counts)
        if len(elements) == 1 or best == -math.inf:
            assert found is None
        else:
            assert table.charges[found].astype(int) @ counts[0] == 0
            assert table.occurrence[found] @ counts[0] == pytest.approx(best)


def test_damaged_tables_are_named(table):
    arrays = table.arrays()
    again = IonTable.of_arrays(arrays)
    np.testing.assert_array_equal(again.conditional, table.conditional)
    for name, wrong in (
        ("ions.pairs", arrays["ions.pairs"] + len(table.numbers)),
        ("ions.charges", arrays["ions.charges"][1:]),
        ("ions.replaced", arrays["ions.replaced"][1:]),
    ):
        with pytest.raises(CheckpointError, match="does not fit together"):
            IonTable.of_arrays({**arrays, name: wrong})


def test_replacements_are_counted():
    """By comparing all pairs of crystals."""
    dataset = shipped()
    crystals = []
    for row in dataset.split["train"][:1500]:
        numbers, counts = np.unique(
            dataset.numbers[row, : dataset.n_sites[row]], return_counts=True
        )
        group = int(dataset.space_groups[row])
        crystals.append((group, dict(zip(numbers.tolist(), counts.tolist(), strict=True))))
    distinct = {(group, frozenset(atoms.items())) for group, atoms in crystals}
    partners: dict = {}
    for group, one in distinct:
        for other_group, other in distinct:
            if group == other_group and len(one) == len(other) and len(one - other) == 1:
                (((old, n),), ((new, m),)) = (one - other, other - one)
                if n == m:
                    partners.setdefault((group, one & other, n, old), []).append(new)
    expected = np.zeros((MAX_Z + 1, MAX_Z + 1))
    for (*_, old), replacements in partners.items():
        for new in replacements:
            expected[new, old] += 1 / len(replacements)
    found = replacement_probabilities(crystals, prior=1e-9)
    seen = expected.sum(0) > 0
    assert seen.sum() > 40
    expected = expected[:, seen] / expected[:, seen].sum(0)
    np.testing.assert_allclose(found[:, seen], expected, atol=1e-6)


def test_never_seen_replacements_are_by_distance_on_pettifors_scale():
    found = replacement_probabilities([(225, {11: 1, 17: 1}), (216, {30: 1, 16: 1, 19: 1})])
    sodium = found[:, 11]
    assert sodium.sum() == pytest.approx(1)
    assert set(np.flatnonzero(sodium)) == {16, 17, 19, 30}
    assert sodium[19] == sodium.max()
    apart = [abs(Element("Na").mendeleev_no - Element(e).mendeleev_no) for e in ("K", "Zn")]
    assert sodium[19] / sodium[30] == pytest.approx((1 + apart[1]) / (1 + apart[0]))


def test_volumes_are_the_least_squares():
    dataset = shipped()
    present = [8, 12, 20, 38]
    train = dataset.split["train"]
    rows = train[np.isin(dataset.numbers[train], [0, *present]).all(1)]
    atoms = np.array([np.bincount(dataset.numbers[r], minlength=MAX_Z + 1) for r in rows])
    atoms[:, 0] = 0
    volumes = np.array([dataset.structure(int(r)).volume for r in rows])
    assert len(rows) >= 8
    prior = 0.5
    mean = np.mean([v / a.sum() for a, v in zip(atoms, volumes, strict=True)])

    def errors(x):
        of_crystals = [
            sum(a[z] * x[k] for k, z in enumerate(present)) / v - 1
            for a, v in zip(atoms, volumes, strict=True)
        ]
        return of_crystals + [np.sqrt(prior) * (v / mean - 1) for v in x]

    best = least_squares(errors, np.full(4, 15.0))
    fitted = fit_volumes(atoms, volumes, prior)
    np.testing.assert_allclose(fitted[present], best.x, rtol=1e-4)
    assert fitted[79] == pytest.approx(mean)

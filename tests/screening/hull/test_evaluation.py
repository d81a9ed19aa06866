from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from crystens_flows.datasets import shipped
from crystens_flows.errors import InputError
from crystens_flows.screening.hull import HullReference, HullResult
from crystens_flows.screening.hull import programme as programme_module
from crystens_flows.screening.hull.programme import lowest_mixtures

ELEMENTS = ["Li", "Na", "O", "Fe", "Cl"]


def make(rows, name="test"):
    """Make a reference of (formula, energy), with the row's number as the id."""
    return HullReference.from_rows(
        name, [(f"row {i}", f"id-{i}", formula, e) for i, (formula, e) in enumerate(rows)]
    )


def diagram(rows, symbols):
    """Make pymatgen's diagram of the same, with total energies and the elements at zero."""
    entries = [PDEntry(Composition(symbol), 0.0, name="element") for symbol in symbols]
    for formula, energy in rows:
        composition = Composition(formula)
        if {el.symbol for el in composition} <= set(symbols):
            entries.append(PDEntry(composition, energy * composition.num_atoms))
    return PhaseDiagram(entries)


def above(phase_diagram, formula, energy):
    composition = Composition(formula)
    entry = PDEntry(composition, energy * composition.num_atoms)
    return phase_diagram.get_e_above_hull(entry, allow_negative=True)


def check_balance(result: HullResult, rows, formula, energy):
    """The phases hold the candidate's atoms, and have the energy of the hull."""
    composition = Composition(formula)
    total = dict.fromkeys(composition, 0.0)
    hull = 0.0
    energies = {f"id-{i}": value for i, (_, value) in enumerate(rows)}
    for (phase, amount), name in zip(
        result.decomposition.items(), result.decomposition_ids, strict=True
    ):
        assert amount > 0
        hull += amount * (0.0 if name is None else energies[name])
        for element in Composition(phase):
            total[element] += amount * Composition(phase).get_atomic_fraction(element)
    for element, share in total.items():
        assert share == pytest.approx(composition.get_atomic_fraction(element), abs=1e-7)
    assert energy - hull == pytest.approx(result.energy_above_hull, abs=1e-7)


@st.composite
def systems(draw):
    k = draw(st.integers(2, 5))
    symbols = ELEMENTS[:k]

    def formula(minimum):
        counts = draw(
            st.lists(st.integers(minimum, 4), min_size=k, max_size=k).filter(lambda x: sum(x) > 0)
        )
        return "".join(f"{s}{c}" for s, c in zip(symbols, counts, strict=True) if c)

    # rounded, so that ties and phases on one plane occur
    energy = st.integers(-30, 8).map(lambda i: i / 10)
    rows = []
    for _ in range(draw(st.integers(0, 12))):
        name = formula(0)
        lowest = -0.4 if len(Composition(name)) == 1 else -9.0
        rows.append((name, max(draw(energy), lowest)))
    rows += draw(st.lists(st.sampled_from(rows), max_size=3)) if rows else []
    candidates = [(formula(1), draw(energy)) for _ in range(draw(st.integers(1, 4)))]
    candidates += draw(st.lists(st.sampled_from(rows), max_size=2)) if rows else []
    return symbols, rows, candidates


@settings(max_examples=100)
@given(systems())
@example((["Li", "Na"], [("LiNa", -0.5), ("LiNa", -0.5), ("Li3Na", -0.25)], [("LiNa", -0.5)]))
@example((["Li", "Na"], [("Li", -0.4), ("Na", 0.3)], [("Li", 0.0), ("LiNa3", -0.1)]))
def test_small_systems_against_pymatgen(drawn):
    symbols, rows, candidates = drawn
    reference = make([*rows, *((symbol, 0.0) for symbol in symbols)])
    compositions = [Composition(formula) for formula, _ in candidates]
    results = reference.evaluate(compositions, [energy for _, energy in candidates])
    for (formula, energy), result in zip(candidates, results, strict=True):
        elements = [el.symbol for el in Composition(formula)]
        expected = above(diagram(rows, elements), formula, energy)
        assert result.energy_above_hull == pytest.approx(expected, abs=1e-6)
        check_balance(result, [*rows, *((symbol, 0.0) for symbol in symbols)], formula, energy)
        n = sum(
            len(Composition(name)) > 1 and {el.symbol for el in Composition(name)} <= set(elements)
            for name, _ in rows
        )
        assert (result.n_entries, result.elements_only) == (n, n == 0)


def held_out(number):
    dataset = shipped()
    rows = np.concatenate([dataset.split["holdout_a"], dataset.split["holdout_b"]])
    symbols_known = HullReference.shipped().elements
    rows = [i for i in rows if set(dataset.numbers[i, : dataset.n_sites[i]]) <= symbols_known]
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, number).astype(int)]
    return (
        [dataset.structure(i).composition for i in chosen],
        [float(dataset.formation_energy_per_atom[i]) for i in chosen],
        [dataset.material_ids[i] for i in chosen],
    )


def test_real_crystals_against_pymatgen():
    reference = HullReference.shipped()
    compositions, energies, ids = held_out(60)
    results = reference.evaluate(compositions, energies, exclude=[{name} for name in ids])
    n_multiple = 0
    for composition, energy, name, result in zip(compositions, energies, ids, results, strict=True):
        symbols = [el.symbol for el in composition]
        zs = {Element(symbol).Z for symbol in symbols} | {0}
        rows = [
            (reference.formulas[i], reference.energies[i])
            for i in np.flatnonzero(np.isin(reference.numbers, list(zs)).all(axis=1))
            if reference.ids[i] != name
        ]
        pd = diagram(rows, symbols)
        assert result.energy_above_hull == pytest.approx(
            above(pd, composition.formula, energy), abs=1e-6
        )
        expected = {e.composition.reduced_formula: x for e, x in
                    pd.get_decomposition(composition).items()}  # fmt: skip
        assert result.decomposition == pytest.approx(expected, abs=1e-6)
        assert name not in result.decomposition_ids
        assert result.chemical_system == composition.chemical_system
        n_multiple += len(expected) > 1
    assert n_multiple > 20


def test_results_do_not_depend_on_the_batch(monkeypatch):
    reference = HullReference.shipped()
    compositions, energies, ids = held_out(60)
    exclude = [{name} for name in ids]
    together = reference.evaluate(compositions, energies, exclude)
    order = random.Random(0).sample(range(60), 60)
    monkeypatch.setattr("crystens_flows.screening.hull.evaluation.MAX_NUMBERS", 200)
    shuffled = reference.evaluate(
        [compositions[i] for i in order],
        [energies[i] for i in order],
        [exclude[i] for i in order],
    )
    for place, i in enumerate(order):
        one, other = together[i], shuffled[place]
        assert other.energy_above_hull == pytest.approx(one.energy_above_hull, abs=1e-12)
        assert list(other.decomposition) == list(one.decomposition)
        assert other.decomposition_ids == one.decomposition_ids


@pytest.mark.parametrize("n_elements", [1, 3, 7])
def test_steps_run_out(monkeypatch, n_elements):
    """HiGHS finds the same hull where the steps do not suffice."""
    rng = np.random.default_rng(n_elements)
    points = rng.dirichlet(np.ones(n_elements), size=(2, 30))
    points[:, :n_elements] = np.eye(n_elements)
    energies = np.concatenate(
        [np.zeros((9, n_elements)), rng.normal(-1, 1, (9, 30 - n_elements))], axis=1
    )
    energies[:, -3:] = np.inf
    systems_of, fractions = np.arange(9) % 2, rng.dirichlet(np.ones(n_elements), size=9)

    def solve():
        corners, amounts = lowest_mixtures(points, energies, systems_of, fractions)
        mixed = np.einsum("nc,nci->ni", amounts, points[systems_of[:, None], corners])
        assert mixed == pytest.approx(fractions, abs=1e-8)
        return (np.take_along_axis(energies, corners, axis=1) * amounts).sum(axis=1)

    quick = solve()
    monkeypatch.setattr(programme_module, "MAX_STEPS", 0)
    assert solve() == pytest.approx(quick, abs=1e-8)
    assert (quick < 0).all()


def test_below_the_hull_is_negative():
    reference = make([("NaCl", -2.0)])
    stable, same, over = reference.evaluate(["Na2Cl2", "NaCl", "Na3Cl"], [-2.3, -2.0, 0.1])
    assert stable.energy_above_hull == pytest.approx(-0.3)
    assert same.energy_above_hull == pytest.approx(0.0)
    assert over.energy_above_hull == pytest.approx(1.1)
    assert over.decomposition == pytest.approx({"Na": 0.5, "NaCl": 0.5})
    assert set(over.decomposition_ids) == {None, "id-0"}


def test_excluded_ids():
    reference = make([("NaCl", -2.0), ("NaCl", -1.5), ("Na3Cl", 0.5), ("O2", 0.0)])
    results = reference.evaluate(
        ["NaCl"] * 4 + ["O"],
        [-2.0] * 4 + [0.0],
        exclude=[set(), {"id-0"}, ["id-0", "id-1"], {"id-2", "nowhere"}, {"id-3"}],
    )
    assert [r.energy_above_hull for r in results] == pytest.approx([0.0, -0.5, -2.0, 0.0, 0.0])
    assert [r.n_entries for r in results] == [3, 2, 1, 2, 0]
    assert [r.decomposition_ids[0] for r in results] == ["id-0", "id-1", None, "id-0", None]
    assert reference.evaluate(["O"], [0.0])[0].decomposition_ids == ("id-3",)


def test_elements_only():
    reference = make([("NaCl", -2.0), ("FeO", -1.3)])
    result, element = reference.evaluate(["Na2O", "Fe"], [-1.4, 0.2])
    assert result.elements_only
    assert result.energy_above_hull == pytest.approx(-1.4)
    assert result.decomposition == pytest.approx({"Na": 2 / 3, "O2": 1 / 3})
    assert result.decomposition_ids == (None, None)
    assert element.elements_only
    assert element.energy_above_hull == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("composition", "energy", "reason"),
    [
        ("NaF", -1.0, "element unknown to the reference: F"),
        (Composition("Na2Po"), -1.0, "element unknown to the reference: Po"),
        ("NaCl", None, "no energy: it is missing"),
        ("NaCl", float("nan"), "no energy: nan is not finite"),
        ("", -1.0, "no composition: '' holds no atoms"),
        (None, -1.0, "no composition: None holds no atoms"),
        ("Na(Cl", -1.0, "no composition: 'Na(Cl'"),
        ("Xx3Na", -1.0, "no composition: 'Xx3Na'"),
    ],
)
def test_what_cannot_be_judged(composition, energy, reason):
    reference = make([("NaCl", -2.0)])
    good, bad, other = reference.evaluate(["NaCl", composition, "Na3Cl"], [-1.9, energy, 0])
    assert bad.reason is not None
    assert bad.reason.startswith(reason)
    assert bad.energy_above_hull is None
    assert (bad.decomposition, bad.elements_only) == ({}, False)
    assert good.reason is None
    assert good.energy_above_hull == pytest.approx(0.1)
    assert other.reason is None


def test_species_count_as_elements():
    reference = make([("NaCl", -2.0), ("H2O", -1.0)])
    plain, species, isotope, grouped = reference.evaluate(
        ["NaCl", Composition({"Na+": 2, "Cl-": 2}), "D2O", "(NaCl)2(H2O)0"],
        [-1.9, -1.9, -0.9, -1.9],
    )
    assert species == plain
    assert grouped == plain
    assert isotope.energy_above_hull == pytest.approx(0.1)


def test_lists_of_different_length():
    reference = make([("NaCl", -2.0)])
    with pytest.raises(InputError, match="1 compositions and 2 formation energies"):
        reference.evaluate(["NaCl"], [0.0, 0.0])
    with pytest.raises(InputError, match="1 compositions and 2 sets of excluded ids"):
        reference.evaluate(["NaCl"], [0.0], exclude=[set(), set()])
    with pytest.raises(InputError, match="'id-0' is one id"):
        reference.evaluate(["NaCl"], [0.0], exclude=["id-0"])
    assert reference.evaluate([], []) == []


def test_many_elements():
    """As many as a generator may dream up: subsystems are not listed one by one."""
    reference = HullReference.shipped()
    symbols = sorted(Element.from_Z(z).symbol for z in reference.elements)[:20]
    formula = "".join(symbols)
    result = reference.evaluate([formula], [-0.1])[0]
    assert result.n_entries > 100
    assert result.energy_above_hull is not None
    assert result.energy_above_hull > 0
    energies = {reference.ids[i]: reference.energies[i] for i in range(len(reference))}
    shares = zip(result.decomposition_ids, result.decomposition.values(), strict=True)
    hull = sum(share * energies[name] for name, share in shares if name is not None)
    assert -0.1 - hull == pytest.approx(result.energy_above_hull, abs=1e-9)


def test_only_the_systems_used_last_are_kept(monkeypatch):
    monkeypatch.setattr("crystens_flows.screening.hull.reference.MAX_SYSTEMS", 2)
    reference = make([("NaCl", -2.0), ("LiFe", -0.1), ("Li2O", -2.0)])
    first = reference.evaluate(["NaCl", "LiFe", "NaCl2", "LiO", "NaCl"], [0.0] * 5)
    assert len(reference._systems) == 2
    assert reference.evaluate(["NaCl"], [0.0])[0] == first[0] == first[4]


def test_shipped_reference():
    reference = HullReference.shipped()
    ytterbium = [i for i, formula in enumerate(reference.formulas) if "Yb" in formula]
    assert len(reference) > 33_758 + len(ytterbium)
    assert len(ytterbium) > 400
    assert HullReference.shipped() is reference
    symbols = {Element.from_Z(z).symbol for z in reference.elements}
    assert len(symbols) == 103
    assert {"Hg", "Pr", "Ar", "Lr"} <= symbols
    noble = reference.evaluate(["ArCl"], [0.5])[0]
    assert noble.elements_only
    assert noble.energy_above_hull == 0.5
    # the entries that are on the hull are stable against all others, those above are not
    results = reference.evaluate(reference.formulas[::50], reference.energies[::50])
    over = np.array([result.energy_above_hull for result in results])
    assert over.min() > -1e-9
    assert (over < 1e-9).mean() > 0.7

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Composition

from crystens_flows.datasets import shipped
from crystens_flows.errors import DatasetError, InputError
from crystens_flows.screening.hull import HullReference, HullShift, fit_shift

TRUE = {"O": -0.08, "Na": 0.05, "Mg": 0.03, "S": 0.06, "Fe": -0.02}


@pytest.fixture(scope="module")
def dataset():
    return shipped().subset(range(0, 12_000, 8))


def moved(dataset, seed=None):
    """A reference of the same crystals with known shifts, and outliers if there is a seed."""
    energies = dataset.formation_energy_per_atom.astype(float)
    shift = np.zeros(len(dataset))
    for i, structure in enumerate(dataset.structures()):
        fractions = structure.composition.fractional_composition
        if len(fractions) > 1:
            shift[i] = sum(TRUE.get(el.symbol, 0.0) * x for el, x in fractions.items())
    if seed is not None:
        rng = np.random.default_rng(seed)
        shift += rng.normal(0, 0.002, len(dataset))
        wrong = rng.random(len(dataset)) < 0.1
        shift[wrong] += rng.uniform(0.15, 0.5, wrong.sum())
    # energies below zero for elements would be refused; there are few
    rows = [
        ("x", name, formula, max(e + s, -0.4) if len(Composition(formula)) == 1 else e + s)
        for name, formula, e, s in zip(
            dataset.material_ids, dataset.reduced_formulas, energies, shift, strict=True
        )
    ]
    return HullReference.from_rows("moved", rows), energies + shift


@pytest.mark.parametrize("seed", [None, 0])
def test_recovers_known_shifts(dataset, seed):
    reference, _ = moved(dataset, seed)
    shift = fit_shift(dataset, reference)
    for symbol, value in TRUE.items():
        assert shift.values[symbol] == pytest.approx(value, abs=0.006)
    # an element seen once or twice takes up the noise of its compounds
    others = np.array([v for symbol, v in shift.values.items() if symbol not in TRUE])
    assert np.median(np.abs(others)) < 0.003
    assert shift.reduces_difference
    assert "the shift reduces" in shift.verdict
    if seed is None:
        assert shift.n_outliers == 0
        assert shift.mean_absolute_difference_after < 0.01 * shift.mean_absolute_difference_before
    else:
        assert 0.07 * shift.n_materials < shift.n_outliers < 0.13 * shift.n_materials
    n_compounds = sum(len(Composition(f)) > 1 for f in dataset.reduced_formulas)
    assert shift.n_materials == n_compounds


def test_order_does_not_matter(dataset):
    few = dataset.subset(range(300))
    reference, _ = moved(few, 1)
    turned = few.subset(range(299, -1, -1))
    one, other = fit_shift(few, reference), fit_shift(turned, reference)
    assert one.values == pytest.approx(other.values, abs=1e-4)
    assert one.mean_absolute_difference_after == pytest.approx(
        other.mean_absolute_difference_after, abs=1e-5
    )


def test_says_so_when_it_does_not_help(dataset):
    few = dataset.subset(range(400))
    energies = few.formation_energy_per_atom.astype(float)
    noise = np.random.default_rng(3).normal(0, 0.05, len(few))
    noise[[len(Composition(f)) == 1 for f in few.reduced_formulas]] = 0.0
    rows = zip(
        few.material_ids, few.material_ids, few.reduced_formulas, energies + noise, strict=True
    )
    shift = fit_shift(few, HullReference.from_rows("noise", rows))
    assert not shift.reduces_difference
    assert "the shift does not reduce" in shift.verdict


def test_other_compositions_are_not_compared(dataset):
    few = dataset.subset(range(30))
    rows = [("x", name, "NaCl", -1.0) for name in few.material_ids]
    with pytest.raises(InputError, match="0 compounds are in both"):
        fit_shift(few, HullReference.from_rows("others", rows))
    unknown = replace(few, formation_energy_per_atom=np.full(30, np.nan, dtype=np.float32))
    with pytest.raises(InputError, match="0 compounds are in both"):
        fit_shift(unknown, moved(few)[0])


def test_apply():
    shift = HullShift({"Na": 0.02, "Cl": 0.04}, 10, 1, 0.02, 0.01, 0.02, 0.01)
    salt, unknown, element, missing, broken = shift.apply(
        ["NaCl", Composition("Na2OF"), "Na", "NaCl", "Na(Cl"], [-2.0, -1.0, 0.1, None, -1.0]
    )
    assert salt.formation_energy_per_atom == pytest.approx(-1.97)
    assert (salt.shift, salt.elements_without_shift) == (pytest.approx(0.03), ())
    assert unknown.formation_energy_per_atom == pytest.approx(-0.99)
    assert unknown.elements_without_shift == ("O", "F")
    assert (element.formation_energy_per_atom, element.shift) == (0.1, 0.0)
    assert missing.formation_energy_per_atom is None
    assert broken.shift is None
    with pytest.raises(InputError, match="give one for each"):
        shift.apply(["NaCl"], [])


def test_file(tmp_path):
    shift = HullShift({"Na": 0.02, "Cl": 0.04}, 10, 1, 0.02, 0.03, 0.02, 0.01)
    path = shift.save(tmp_path / "shift.json")
    assert HullShift.load(path) == shift
    assert json.loads(path.read_text())["verdict"].startswith("the shift does not reduce")
    path.write_text('{"values": 3}')
    with pytest.raises(DatasetError, match="is no shift"):
        HullShift.load(path)
    with pytest.raises(DatasetError, match="is no shift"):
        HullShift.load(tmp_path / "none.json")


def test_shipped_shift():
    """It says what it does, and does so for the crystals that it has not seen."""
    shift, reference, dataset = HullShift.shipped(), HullReference.shipped(), shipped()
    assert shift.n_materials > 7000
    assert shift.reduces_difference
    rows = {name: row for row, name in enumerate(reference.ids)}
    held_out = [i for i in dataset.split["holdout_a"] if dataset.material_ids[i] in rows]
    before = dataset.formation_energy_per_atom[held_out].astype(float)
    target = reference.energies[[rows[dataset.material_ids[i]] for i in held_out]]
    formulas = [dataset.reduced_formulas[i] for i in held_out]
    after = np.array([x.formation_energy_per_atom for x in shift.apply(formulas, before)])
    assert np.abs(target - after).mean() < np.abs(target - before).mean()
    assert np.median(np.abs(target - after)) < 0.5 * np.median(np.abs(target - before))

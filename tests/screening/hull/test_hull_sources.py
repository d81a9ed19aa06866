from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition, Element
from pymatgen.entries.computed_entries import ComputedEntry

from crystens_flows.datasets import shipped
from crystens_flows.errors import DatasetError, InputError
from crystens_flows.screening.hull import HullReference
from crystens_flows.screening.hull.compositions import read_composition

TABLE = "material_id,formula,formation_energy_per_atom\nmp-1,NaCl,-2.1\n,NaN,0.3\nx,Na(ClO)2,-1\n"


def test_csv(tmp_path):
    path = tmp_path / "hull.csv"
    path.write_text(TABLE)
    reference = HullReference.from_csv(path)
    assert reference.ids == ("mp-1", None, "x")
    # sodium nitride, not a missing value
    assert reference.formulas[1] == "NaN"
    assert reference.fractions[2].tolist() == pytest.approx([0.4, 0.2, 0.4])
    assert reference.name == str(path)
    assert reference.evaluate(["NaCl"], [-2.0])[0].decomposition_ids == ("mp-1",)
    packed = tmp_path / "hull.csv.gz"
    packed.write_bytes(gzip.compress(b"formula,formation_energy_per_atom\nNaCl,-2.1\n"))
    assert HullReference.from_csv(str(packed)).ids == (None,)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,Na(Cl,-1", "row 2: no composition: 'Na\\(Cl'"),
        ("a,,-1", "row 2: no composition: '' holds no atoms"),
        ("a,Zz2,-1", "row 2: no composition: 'Zz2'"),
        ("a,NaCl,", "row 2: no energy: it is missing"),
        ("a,NaCl,low", "row 2: no energy: 'low' is no number"),
        ("a,NaCl,inf", "row 2: no energy: inf is not finite"),
        ("a,Na,-1.3", "row 2: no formation energy: an element stands at -1.3 eV/atom"),
    ],
)
def test_bad_row_of_a_csv(tmp_path, row, message):
    path = tmp_path / "hull.csv"
    path.write_text(f"material_id,formula,formation_energy_per_atom\nmp-1,NaCl,-2.1\n{row}\n")
    with pytest.raises(InputError, match=message):
        HullReference.from_csv(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: give a CSV with the columns"),
        (b"formula,formation_energy_per_atom\n", "has no rows"),
        (b"formula,energy\nNaCl,-1\n", "no column 'formation_energy_per_atom' .*formula, energy"),
        (b"formula,formation_energy_per_atom\nNa\xff,-1\n", "cannot be read"),
        (b"formula,formation_energy_per_atom\na,b,c\nd,e,f,g\n", "cannot be read"),
    ],
)
def test_bad_csv(tmp_path, content, message):
    path = tmp_path / "hull.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        HullReference.from_csv(path)


def test_missing_and_damaged_csv(tmp_path):
    with pytest.raises(DatasetError, match="is no file"):
        HullReference.from_csv(tmp_path / "none.csv")
    damaged = tmp_path / "hull.csv.gz"
    damaged.write_bytes(gzip.compress(TABLE.encode() * 50)[:-20])
    with pytest.raises(DatasetError, match="cannot be read"):
        HullReference.from_csv(damaged)


def test_computed_entries():
    entries = [
        ComputedEntry("Na4", -5.2, entry_id="a"),
        ComputedEntry("Na", -1.1, entry_id="b"),
        ComputedEntry("Cl2", -3.6, entry_id="c"),
        ComputedEntry("Na2Cl2", -13.0, correction=-0.4, entry_id="d"),
    ]
    reference = HullReference.from_entries(entries)
    assert reference.ids == ("a", "b", "c", "d")
    assert reference.formulas == ("Na", "Na", "Cl2", "NaCl")
    assert reference.energies == pytest.approx([0, 0.2, 0, (-13.4 + 2 * 1.3 + 3.6) / 4])
    assert reference.energies[0] == 0
    result = reference.evaluate(["Na3Cl"], [0.0])[0]
    assert set(result.decomposition_ids) == {"a", "d"}


def test_computed_entries_without_an_element():
    entries = [ComputedEntry("Na", -1.1), ComputedEntry("NaClO", -9.0)]
    with pytest.raises(InputError, match="no entry for the elements Cl-O"):
        HullReference.from_entries(entries)
    with pytest.raises(InputError, match=r"entry 0 \(x\): no energy: nan is not finite"):
        HullReference.from_entries([ComputedEntry("Na", float("nan"), entry_id="x")])
    with pytest.raises(InputError, match="no entries"):
        HullReference.from_entries([])


def test_dataset():
    dataset = shipped().subset(range(200))
    energies = dataset.formation_energy_per_atom.copy()
    energies[3] = np.nan
    reference = HullReference.from_dataset(replace(dataset, formation_energy_per_atom=energies))
    assert len(reference) == 199
    assert dataset.material_ids[3] not in reference.ids
    over = reference.evaluate(reference.formulas, reference.energies)
    assert min(result.energy_above_hull for result in over) > -1e-9
    unknown = replace(dataset, formation_energy_per_atom=np.full(200, np.nan, dtype=np.float32))
    with pytest.raises(DatasetError, match="no formation energies"):
        HullReference.from_dataset(unknown)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Element.from_Z(z).symbol for z in range(1, 119)]),
            st.integers(1, 99),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_plain_formulas_read_as_pymatgen_reads_them(parts):
    formula = "".join(symbol + (str(n) if n > 1 else "") for symbol, n in parts)
    numbers, fractions, reason = read_composition(formula)
    expected = Composition(formula).fractional_composition
    assert reason is None
    assert {Element.from_Z(z): x for z, x in zip(numbers, fractions, strict=True)} == pytest.approx(
        {element: expected[element] for element in expected}
    )
    assert numbers == sorted(numbers)
    assert read_composition(Composition(formula))[0] == numbers


@given(st.text(alphabet="NaClO02.()+-x ", max_size=12))
def test_any_text_is_a_composition_or_has_a_reason(text):
    numbers, fractions, reason = read_composition(text)
    assert (reason is None) == bool(numbers)
    if reason is None:
        assert sum(fractions) == pytest.approx(1.0)
        assert min(fractions) > 0
        assert {Element.from_Z(z).symbol for z in numbers} == {
            el.symbol for el, amount in Composition(text).items() if amount
        }

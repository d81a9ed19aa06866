"""Screening on its own: every screen on every structure, then the selection."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.errors import DatasetError
from crystens_flows.screening.hull import load_hull
from crystens_flows.screening.pipeline import (
    ScreeningOptions,
    default_models,
    nested_record,
    screen_structures,
)
from crystens_flows.screening.screens import Candidate, CHGNetScreen, NoveltyScreen
from crystens_flows.screening.selection import SelectionRules

OPTIONS = ScreeningOptions(
    models=["cgcnn", "chgnet"], selection=SelectionRules(max_energy_above_hull=0.1, n_select=2)
)


def bad_structures():
    """Return what nobody wants to screen, and the kind of the reason it is rejected for."""
    overlapping = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.01]])
    collapsed = Structure(Lattice.cubic(0.3), ["Na"], [[0, 0, 0]])
    argon = Structure(Lattice.cubic(3.7), ["Ar"], [[0, 0, 0]])
    lawrencium = Structure(Lattice.cubic(4), ["Lr", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    gas = Structure(Lattice.cubic(60), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    salt = Structure.from_spacegroup(
        225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]]
    )
    dummy = Structure(Lattice.cubic(4), ["X", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return [overlapping, collapsed, argon, lawrencium, gas, salt * (5, 5, 5), dummy]


@pytest.fixture(scope="module")
def screened():
    dataset = shipped()
    crystals = [dataset.structure(int(row)) for row in dataset.split["holdout_a"][:12]]
    structures = [*crystals, *bad_structures(), None, crystals[0].copy()]
    ids = [f"{i:03d}" for i in range(len(structures))]
    why = [None if s is not None else "unreadable: no CIF" for s in structures]
    calls = []
    found = screen_structures(
        ids, structures, OPTIONS, lambda *call: calls.append(call), unreadable=why
    )
    return structures, found, calls


def test_every_input_has_its_record_in_order(screened):
    structures, found, calls = screened
    assert [each.candidate_id for each in found] == [f"{i:03d}" for i in range(len(structures))]
    names = [screen.name for screen in OPTIONS.screens()]
    assert names == ["validity", "novelty", "cgcnn", "chgnet", "hull"]
    for structure, each in zip(structures, found, strict=True):
        assert list(each.records) == ([] if structure is None else names)
        assert (each.status == "rejected") == (each.rejected_by is not None)
        assert each.status == "rejected" or each.selection is not None
    assert calls[-1] == (len(structures) - 1, len(structures) - 1, "hull")


def test_bad_structures_have_reasons_and_stop_nobody(screened):
    structures, found, _ = screened
    overlapping, collapsed, argon, lawrencium, gas, large, dummy, missing = found[12:20]
    assert (missing.rejected_by, missing.reason) == ("read", "unreadable: no CIF")
    assert overlapping.rejected_by == collapsed.rejected_by == "validity"
    assert "0.040 A apart" in overlapping.reason
    assert (dummy.rejected_by, dummy.reason) == ("validity", "no element: X0+")
    assert lawrencium.rejected_by == "cgcnn"
    assert lawrencium.reason == "element unknown to CGCNN: Lr"
    assert argon.status == gas.status == "rejected"
    assert len(structures[17]) == 1000
    assert large.records["chgnet"].formation_energy_per_atom == pytest.approx(-2.0, abs=0.2)
    assert [each.status for each in found[:12]].count("rejected") < 12


def test_known_crystals_are_marked_and_copies_fall(screened):
    _, found, _ = screened
    dataset = shipped()
    for row, each in zip(dataset.split["holdout_a"][:12], found, strict=False):
        assert each.records["novelty"].known_as is not None
        assert (
            dataset.reduced_formulas[dataset.material_ids.index(each.records["novelty"].known_as)]
            == dataset.reduced_formulas[row]
        )
    first, copy = found[0], found[-1]
    assert first.rejected_by is None
    assert copy.selection.duplicate_of == first.candidate_id
    assert copy.records["chgnet"] == first.records["chgnet"].model_copy(
        update={"candidate_id": copy.candidate_id}
    )


def test_energies_above_hull_are_those_of_the_hull(screened):
    structures, found, _ = screened
    judged = [
        (structure, each.records)
        for structure, each in zip(structures, found, strict=True)
        if each.records and each.records["hull"].energy_above_hull is not None
    ]
    assert len(judged) >= 12
    expected = load_hull().evaluate(
        [structure.composition for structure, _ in judged],
        [
            records["chgnet"].formation_energy_per_atom
            or records["cgcnn"].formation_energy_per_atom
            for _, records in judged
        ],
    )
    for (_, records), (result, _) in zip(judged, expected, strict=True):
        above = records["hull"].energy_above_hull
        assert above == pytest.approx(result.energy_above_hull, abs=2e-6)


def test_records_are_complete_json_without_nan(screened):
    _, found, _ = screened
    names = [screen.name for screen in OPTIONS.screens()]
    records = [nested_record(each, names) for each in found]
    text = json.dumps(records, allow_nan=False)
    assert json.loads(text) == records
    for record in records:
        assert {"status", "reason", "energy_above_hull", "cgcnn", "chgnet"} <= record.keys()
        assert "formation_energy_per_atom" in record["cgcnn"]
        assert record["status"] in ("selected", "screened", "rejected")
    unreadable = records[19]
    assert unreadable["energy_above_hull"] is None
    assert unreadable["chgnet"] == {"formation_energy_per_atom": None}
    assert records[0]["cgcnn"]["band_gap"] is not None


def test_the_best_are_selected(screened):
    _, found, _ = screened
    passed = [each for each in found if each.rejected_by is None]
    values = [each.records["hull"].energy_above_hull for each in passed]
    order = [passed[i] for i in np.argsort(values, kind="stable")]
    assert all(value <= 0.1 for value in values)
    assert [each.status for each in order[:1]] == ["selected"]
    assert sum(each.status == "selected" for each in found) == min(2, len(passed))


def test_what_is_missing_is_said_before_any_model_works(monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    monkeypatch.setattr("pymatgen.core.SETTINGS", {})
    monkeypatch.setattr(CHGNetScreen, "screen", lambda *_: pytest.fail("a model was asked"))
    structures = [shipped().structure(0)]
    with pytest.raises(DatasetError, match="set MP_API_KEY"):
        screen_structures(["a"], structures, OPTIONS.model_copy(update={"hull": "mp"}))
    with pytest.raises(DatasetError, match=r"nowhere\.csv"):
        screen_structures(["a"], structures, OPTIONS.model_copy(update={"known": "nowhere.csv"}))


def test_known_crystals_of_equal_names_are_all_known(tmp_path):
    """Rows without an id in two files have the same."""
    salt, sylvite = (
        Structure.from_spacegroup(225, Lattice.cubic(a), [m, "Cl"], [[0] * 3, [0.5, 0, 0]])
        for m, a in (("Na", 5.64), ("K", 6.29))
    )
    for folder, structure in (("one", salt), ("two", sylvite)):
        (tmp_path / folder).mkdir()
        structure.to(str(tmp_path / folder / "crystal.cif"), fmt="cif")
    rows = "\n".join(
        ["material_id,structure"]
        + [f'same,"{s.to_json().replace(chr(34), chr(34) * 2)}"' for s in (salt, sylvite)]
    )
    (tmp_path / "known.csv").write_text(rows)
    screen = NoveltyScreen(str(tmp_path / "known.csv"), reject=True)
    assert screen.model()["n_crystals"] == 2
    records = screen.screen([Candidate("a", salt), Candidate("b", sylvite)])
    assert [record.reason for record in records] == ["known crystal: same"] * 2


def test_nothing_to_screen():
    assert screen_structures([], [], OPTIONS) == []


def test_all_models_are_asked_by_default():
    assert default_models()[:3] == ["cgcnn", "m3gnet", "chgnet"]
    again = ScreeningOptions.model_validate(json.loads(ScreeningOptions().model_dump_json()))
    assert again == ScreeningOptions()

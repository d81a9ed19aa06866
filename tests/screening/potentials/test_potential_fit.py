from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Element
from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

from crystens_flows.datasets import shipped
from crystens_flows.errors import DatasetError
from crystens_flows.screening.potentials import predict, references
from crystens_flows.screening.potentials.fit import (
    MIN_CRYSTALS,
    WANTED_CRYSTALS,
    choose_rows,
    fit_potential,
    main,
)
from crystens_flows.screening.potentials.references import PotentialReferences, load_references
from crystens_flows.screening.potentials.sevennet import SevenNetPotential


@pytest.fixture(scope="module")
def dataset():
    return shipped()


def count_elements(dataset, rows, beside=()):
    """Count in a loop in how many crystals each element stands: the independent way."""
    found = Counter()
    for sites in dataset.numbers[rows].tolist():
        if not beside or set(sites) & set(beside):
            found.update(set(sites) - {0})
    return found


def test_all_elements_are_among_the_chosen(dataset):
    metals = SevenNetPotential.shifted
    rows = choose_rows(dataset, 2000, 0, metals)
    train = dataset.split["train"]
    assert len(rows) == len(set(rows)) == 2000
    assert set(rows) <= set(train)
    for beside, elements in (((), range(1, 119)), ((8, 9), metals)):
        there = count_elements(dataset, train, beside)
        chosen = count_elements(dataset, rows, beside)
        assert all(chosen[z] >= min(there[z], WANTED_CRYSTALS) for z in elements)


def test_the_choice_depends_on_the_seed_alone(dataset):
    assert choose_rows(dataset, 900, 1).tolist() == choose_rows(dataset, 900, 1).tolist()
    assert choose_rows(dataset, 900, 1).tolist() != choose_rows(dataset, 900, 2).tolist()


def test_fits_and_judges(dataset, tmp_path):
    small = replace(
        dataset,
        split={"train": dataset.split["train"][:120], "validation": dataset.split["validation"]},
    )
    small.split["validation"] = small.split["validation"][:20]
    found = fit_potential(small, "chgnet", n=90)
    origin = found.origin
    assert origin["held_out"]["n"] <= 20
    assert origin["n"] <= 90
    assert min(origin["crystals"].values()) >= 1
    seen = choose_rows(small, 90, 0)
    counts = count_elements(small, seen)
    rare = {Element.from_Z(z).symbol for z, count in counts.items() if count < MIN_CRYSTALS}
    assert set(origin["left_out"]) == rare
    assert rare
    assert rare.isdisjoint(found.references.to_dict())

    rows = small.split["validation"]
    totals = np.array([p.energy_per_atom for p in predict(list(small.structures(rows)))])
    error = totals - found.references.per_atom(small.numbers[rows])
    error = np.abs(error - small.formation_energy_per_atom[rows])
    error = error[np.isfinite(error)]
    assert len(error) == origin["held_out"]["n"]
    assert origin["held_out"]["mean_absolute_error"] == pytest.approx(error.mean(), abs=1e-4)
    assert error.mean() < 0.3

    again = PotentialReferences.from_json(found.save(tmp_path / "found.json").read_text())
    assert again.origin == origin
    assert again.references.to_dict() == found.references.to_dict()


def test_needs_the_splits(dataset):
    with pytest.raises(DatasetError, match="validation"):
        fit_potential(replace(dataset, split={"train": dataset.split["train"]}))


def test_the_shipped_references_are_as_far_off_as_they_say(dataset):
    origin = load_references("chgnet").origin
    rows = dataset.split["validation"][::10]
    found = np.array(
        [p.formation_energy_per_atom for p in predict(list(dataset.structures(rows)))], dtype=float
    )
    error = np.abs(found - dataset.formation_energy_per_atom[rows])
    assert np.nanmedian(error) == pytest.approx(
        origin["held_out"]["median_absolute_error"], abs=0.008
    )


def test_sevennets_shifts_are_the_corrections_of_the_materials_project():
    """Its energies are uncorrected: the fit finds again what MP2020 adds for the Hubbard U."""
    text = (references.FOLDER / "7net-l3i5.json").read_text()
    shifts = PotentialReferences.from_json(text).references.oxide_shifts_to_dict()
    published = MaterialsProject2020Compatibility().u_corrections["O"]
    assert set(shifts) == set(published)
    for metal, shift in shifts.items():
        assert shift == pytest.approx(-published[metal], abs=0.1)


def test_knows_only_the_potentials_there_are(capsys):
    with pytest.raises(SystemExit):
        main(["7net-9"])
    assert "7net-l3i5" in capsys.readouterr().err

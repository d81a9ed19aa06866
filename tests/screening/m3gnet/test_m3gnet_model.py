import json
import shutil
import warnings

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.errors import CheckpointError
from crystens_flows.screening.m3gnet import model as model_module
from crystens_flows.screening.m3gnet.model import load_m3gnet

TOLERANCE = 1e-4  # eV/atom


@pytest.fixture(scope="module")
def crystals(model):
    """Return shipped crystals of elements that the model knows, of all sizes."""
    dataset = shipped()
    known = set(model.target.references.to_dict())
    found = (dataset.structure(i) for i in range(0, len(dataset), 7))
    kept = [s for s in found if {site.specie.symbol for site in s} <= known]
    return sorted(kept[:120], key=len)[::3]


def energies(model, structures):
    return np.array([p.formation_energy_per_atom for p in model.predict(structures)], dtype=float)


def energies_of_matgl(model, structures):
    """Predict with matgl's own pass, one structure at a time."""
    import matgl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = matgl.load_model(model.folder)
    references = json.loads((model.folder / "target.json").read_text())
    return np.array(
        [
            float(network.predict_structure(s)) * references["std"]
            + np.mean([references["references"][site.specie.symbol] for site in s])
            for s in structures
        ]
    )


def reason_kinds(model, structures):
    return [p.reason and p.reason.split(":")[0] for p in model.predict(structures)]


def test_equals_matgl_on_real_crystals(model, crystals):
    assert len(crystals) > 20
    np.testing.assert_allclose(
        energies(model, crystals), energies_of_matgl(model, crystals), rtol=0, atol=TOLERANCE
    )


def test_equals_matgl_where_weights_are_large(model, crystals, tmp_path):
    """Differences that two epochs of training leave too small to see would show here."""
    import torch

    folder = tmp_path / "large"
    shutil.copytree(model.folder, folder)
    state = torch.load(folder / "state.pt", weights_only=True)
    generator = torch.Generator().manual_seed(0)
    for values in state.values():
        if values.is_floating_point() and values.dim() == 2:
            values.mul_(1.5).add_(0.1 * torch.randn(values.shape, generator=generator))
    torch.save(state, folder / "state.pt")
    (folder / "uncertainty.npz").unlink()
    large = load_m3gnet(folder)
    expected = energies_of_matgl(large, crystals)
    assert np.std(expected - energies_of_matgl(model, crystals)) > 0.1
    np.testing.assert_allclose(energies(large, crystals), expected, rtol=0, atol=TOLERANCE)


def test_batches_and_order_do_not_matter(model, crystals, monkeypatch):
    together = energies(model, crystals)
    alone = np.array([energies(model, [crystal])[0] for crystal in crystals])
    np.testing.assert_allclose(alone, together, rtol=0, atol=TOLERANCE)
    backwards = energies(model, crystals[::-1])[::-1]
    np.testing.assert_allclose(backwards, together, rtol=0, atol=TOLERANCE)
    monkeypatch.setattr(model_module, "BATCH_PAIRS", 10**9)
    np.testing.assert_allclose(energies(model, crystals), together, rtol=0, atol=TOLERANCE)
    sigmas = [p.uncertainty for p in model.predict(crystals)]
    alone = [model.predict([crystal])[0].uncertainty for crystal in crystals]
    np.testing.assert_allclose(alone, sigmas, rtol=0, atol=TOLERANCE)


def test_threads_do_not_matter(model, crystals):
    import torch

    many = crystals * (1 + 3 * model_module.CHUNK // len(crystals))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = energies(model, many)
        torch.set_num_threads(2)
        two = energies(model, many)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(two, one, rtol=0, atol=TOLERANCE)


def test_batches_are_bounded_by_pairs(model, crystals):
    graphs = [model._graph(crystal) for crystal in crystals]
    batches = list(model_module._batches(graphs))
    assert [graph for batch in batches for graph in batch] == graphs
    for batch in batches:
        pairs = sum(graph.pairs.shape[1] for graph in batch)
        assert len(batch) == 1 or pairs <= model_module.BATCH_PAIRS


def test_the_same_crystal_in_another_cell(model):
    magnesia = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0] * 3, [0.5] * 3]
    )
    slanted = magnesia.copy().make_supercell(
        [[1, 0, 0], [30, 1, 0], [7, 45, 1]], to_unit_cell=False
    )
    moved = magnesia.copy().translate_sites(range(8), [0.3, 11.7, -5.2], to_unit_cell=False)
    cells = [magnesia, magnesia.get_primitive_structure(), magnesia * (2, 1, 3), slanted, moved]
    found = energies(model, cells)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, found[0], rtol=0, atol=TOLERANCE)


def test_cells_of_one_and_of_a_thousand_atoms(model):
    iron = Structure(
        Lattice.cubic(2.87).matrix / 2 @ (np.ones((3, 3)) - 2 * np.eye(3)), ["Fe"], [[0] * 3]
    )
    iron = iron.get_primitive_structure()
    large = iron * (10, 10, 10)
    assert len(large) == 1000
    one, thousand = model.predict([iron, large])
    assert thousand.formation_energy_per_atom == pytest.approx(
        one.formation_energy_per_atom, abs=TOLERANCE
    )


def test_structures_that_cannot_be_predicted_have_a_reason(model):
    cell = Lattice.cubic(4.2)
    bad = {
        "disordered sites": Structure(cell, [{"Fe": 0.5, "Co": 0.5}], [[0] * 3]),
        "sites too close": Structure(cell, ["O", "O"], [[0] * 3, [0.01, 0, 0]]),
        "cell has collapsed": Structure(Lattice.cubic(0.3), ["O"], [[0] * 3]),
        "lattice or coordinates are not finite": Structure(cell, ["O"], [[np.nan] * 3]),
        "element unknown to the M3GNet": Structure(cell, ["Og"], [[0] * 3]),
        "site without a neighbour within 5 A": Structure(
            Lattice.cubic(20), ["O", "O", "O"], [[0] * 3, [0.05, 0, 0], [0.5] * 3]
        ),
        "too many neighbours": Structure(Lattice.cubic(0.51), ["O"], [[0] * 3]) * (6, 6, 6),
    }
    good = Structure(cell, ["Mg", "O"], [[0] * 3, [0.5] * 3])
    found = model.predict([good, *bad.values(), good])
    assert [p.reason.split(":")[0] for p in found[1:-1]] == list(bad)
    for each in found[1:-1]:
        assert each.formation_energy_per_atom is None
        assert each.uncertainty is None
    assert found[0] == found[-1]
    assert found[0].reason is None
    assert model.predict([]) == []


def test_a_heap_in_a_large_cell_has_too_many_neighbours(model):
    """On the mean of the cell it has few."""
    points = np.stack(np.meshgrid(*[np.arange(9) * 0.6] * 3), axis=-1).reshape(-1, 3)
    heap = Structure(Lattice.cubic(40), ["O"] * 729, points, coords_are_cartesian=True)
    (found,) = model.predict([heap])
    pairs = len(heap.get_neighbor_list(5.0)[0])
    assert found.reason == f"too many neighbours: {pairs} pairs within 5 A, at most 300000"


def test_elements_that_were_not_trained_on_have_a_reason(model):
    dataset = shipped()
    trained = set(model.target.references.to_dict())
    structures = [dataset.structure(i) for i in range(0, len(dataset), 300)]
    kinds = reason_kinds(model, structures)
    for structure, kind in zip(structures, kinds, strict=True):
        known = {site.specie.symbol for site in structure} <= trained
        assert kind == (None if known else "element unknown to the M3GNet")
    assert None in kinds
    assert "element unknown to the M3GNet" in kinds


def test_progress_is_told(model, crystals):
    seen = []
    model.predict(crystals, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(crystals), len(crystals))


def test_the_card_says_which_model_it_is(model, trained_folder):
    import hashlib
    from importlib.metadata import version

    card = model.card()
    assert card["name"] == f"M3GNet {trained_folder}"
    assert card["packages"]["matgl"] == version("matgl")
    assert card["n_train"] == 64
    assert card["data"] == "96 minerals"
    for name, digest in card["sha256"].items():
        assert digest == hashlib.sha256((trained_folder / name).read_bytes()).hexdigest()
    assert set(card["sha256"]) == {"state.pt", "target.json", "uncertainty.npz"}
    assert json.loads(json.dumps(card)) == card


def test_a_model_of_matgl_is_taken_as_it_is(tmp_path, crystals):
    import torch
    from matgl.models import M3GNet, MEGNet

    torch.manual_seed(0)
    for kind, network in {
        "M3GNet": M3GNet(is_intensive=True, units=16, readout_type="reduce_atom"),
        "MEGNet": MEGNet(),
    }.items():
        network.eval().save(tmp_path / kind)
        model = load_m3gnet(tmp_path / kind)
        odd = Structure(Lattice.cubic(4), ["Og"], [[0] * 3])
        some = crystals[:5]
        *found, unknown = model.predict([*some, odd])
        expected = [float(network.predict_structure(s)) for s in some]
        assert [p.formation_energy_per_atom for p in found] == pytest.approx(expected, abs=1e-5)
        assert {p.uncertainty for p in found} == {None}
        assert unknown.reason == "element unknown to the M3GNet: Og"
        assert model.card()["n_train"] is None


def test_a_model_that_fails_on_a_structure_gives_a_reason(tmp_path):
    from matgl.models import MEGNet

    MEGNet().save(tmp_path)
    lonely = Structure(Lattice.cubic(30), ["O"], [[0] * 3])
    (found,) = load_m3gnet(tmp_path).predict([lonely])
    assert (found.reason is None) != (found.formation_energy_per_atom is None)


@pytest.mark.parametrize("name", ["state.pt", "model.pt", "model.json", "target.json"])
@pytest.mark.parametrize("damage", ["truncated", "noise", "empty"])
def test_damaged_files_are_told(trained_folder, tmp_path, name, damage):
    folder = tmp_path / "damaged"
    shutil.copytree(trained_folder, folder)
    data = (folder / name).read_bytes()
    damaged = {"truncated": data[: len(data) // 2], "noise": bytes(range(256)) * 9, "empty": b""}
    (folder / name).write_bytes(damaged[damage])
    with pytest.raises(CheckpointError, match="damaged") as caught:
        load_m3gnet(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["state.pt", "model.pt", "model.json"])
def test_missing_files_are_told(trained_folder, tmp_path, name):
    folder = tmp_path / "missing"
    shutil.copytree(trained_folder, folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"it has no {name}"):
        load_m3gnet(folder)


def test_what_is_no_model_is_told(trained_folder, tmp_path):
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "absent", tmp_path / "file", str(tmp_path / "absent"), "./absent"):
        with pytest.raises(CheckpointError, match="is no folder of a model"):
            load_m3gnet(wrong)
    with pytest.raises(CheckpointError, match="is no model of matgl"):
        load_m3gnet(tmp_path)


def test_a_folder_names_no_class_outside_matgl(trained_folder, tmp_path):
    folder = tmp_path / "wrong"
    shutil.copytree(trained_folder, folder)
    described = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(described | {"@module": "os"}))
    with pytest.raises(CheckpointError, match=r"its class is os"):
        load_m3gnet(folder)


def test_a_potential_is_no_model_of_the_formation_energy(tmp_path):
    from matgl.apps.pes import Potential
    from matgl.models import M3GNet

    Potential(M3GNet(is_intensive=False, units=8)).save(tmp_path)
    with pytest.raises(CheckpointError, match="predicts no property of a structure"):
        load_m3gnet(tmp_path)


def test_a_model_that_cannot_be_fetched_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match="materialyze/No-Such-Model cannot be fetched"):
        load_m3gnet("No-Such-Model")


def test_another_model_in_the_same_folder_is_seen(trained_folder, tmp_path):
    folder = tmp_path / "changing"
    shutil.copytree(trained_folder, folder)
    crystal = Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0] * 3, [0.5] * 3])
    before = load_m3gnet(folder)
    assert load_m3gnet(folder) is before
    target = json.loads((folder / "target.json").read_text())
    target["references"]["Mg"] += 1.0
    (folder / "target.json").write_text(json.dumps(target))
    after = load_m3gnet(folder)
    assert energies(after, [crystal]) - energies(before, [crystal]) == pytest.approx(0.5, abs=1e-4)


def test_the_shipped_model_is_accurate():
    from crystens_flows.screening.cgcnn import predict_formation_energies

    dataset = shipped()
    rows = dataset.split["holdout_a"][::8]
    structures = list(dataset.structures(rows))
    known = dataset.formation_energy_per_atom[rows]
    ours = np.abs(energies(load_m3gnet(), structures) - known)
    theirs = np.array(
        [p.formation_energy_per_atom for p in predict_formation_energies(structures)], dtype=float
    )
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert both.mean() > 0.95
    assert ours[both].mean() < 0.06
    assert ours[both].mean() < np.abs(theirs - known)[both].mean()

import shutil
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.errors import CheckpointError, DatasetError
from crystens_flows.screening.m3gnet.model import load_m3gnet
from crystens_flows.screening.m3gnet.uncertainty import Uncertainty, fit_uncertainty


def errors_and_sigmas(model, dataset, rows):
    found = model.predict(list(dataset.structures(rows)))
    known = dataset.formation_energy_per_atom[rows]
    pairs = [
        (abs(each.formation_energy_per_atom - energy), each.uncertainty)
        for each, energy in zip(found, known, strict=True)
        if each.reason is None
    ]
    return np.array(pairs).T


def test_is_positive_finite_and_right_for_68_percent_of_the_validation(model, minerals):
    errors, sigmas = errors_and_sigmas(model, minerals, minerals.split["validation"])
    assert len(errors) == 32
    assert (sigmas > 0).all()
    assert np.isfinite(sigmas).all()
    assert abs(np.mean(errors <= sigmas) - 0.68) <= 1 / 32


def test_is_larger_for_alloys_where_salts_were_trained_on(model, minerals):
    _, usual = errors_and_sigmas(model, minerals, minerals.split["train"])
    pairs = [("Fe", "Ti"), ("K", "Si"), ("Na", "Mn"), ("Ca", "Al"), ("Li", "K"), ("Mg", "Ti")]
    alloys = [Structure(Lattice.cubic(3.4), pair, [[0] * 3, [0.5] * 3]) for pair in pairs]
    far = [each.uncertainty for each in model.predict(alloys)]
    assert np.mean(far) > np.mean(usual)


def test_grows_without_end_away_from_the_training_structures():
    random = np.random.default_rng(0)
    numbers = [np.array([3, 8])] * 200
    features = random.normal(size=(200, 3))
    uncertainty = Uncertainty.fit(features, numbers, 0.1 * random.normal(size=200), 50)
    direction = np.array([0.3, -1.0, 0.5])
    far = uncertainty.of(np.outer([10, 100, 1000], direction), numbers[:3])
    assert far[0] > 1.1 * np.median(uncertainty.of(features, numbers))
    assert (far[1:] > 5 * far[:-1]).all()


def test_the_variance_is_that_of_bayesian_regression():
    """By brute force: the posterior of the weights is sampled."""
    random = np.random.default_rng(0)
    numbers = [np.array([3, 8, 8])] * 300
    features = random.normal(size=(300, 3))
    errors = random.normal(size=300) * 0.1
    uncertainty = Uncertainty.fit(features, numbers, errors, 100)
    flat = replace(uncertainty, slope=0 * uncertainty.slope, level=np.array([-20.0, -20.0, -20.0]))
    draws = random.multivariate_normal(np.zeros(6), uncertainty.covariance, size=200_000)
    point = np.array([[2.0, -1.0, 4.0]])
    standardised = (point[0] - uncertainty.mean[:3]) / uncertainty.scale[:3]
    sampled = draws @ np.array([*standardised, 0.0, 0.0, 1.0])
    assert flat.of(point, numbers[:1])[0] == pytest.approx(
        uncertainty.factor * sampled.std(), rel=0.02
    )


def test_errors_that_depend_on_the_element_are_found():
    """Made so that errors with iron are ten times those with magnesium."""
    random = np.random.default_rng(1)
    metals = random.choice([12, 26], size=2000)
    numbers = [np.array([metal, 8]) for metal in metals]
    true = np.where(metals == 26, 0.5, 0.05)
    errors = true * random.normal(size=2000)
    features = random.normal(size=(2000, 4))
    uncertainty = Uncertainty.fit(features[:1500], numbers[:1500], errors[:1500], 500)
    sigmas = uncertainty.of(features[1500:], numbers[1500:])
    assert np.median(sigmas / true[1500:]) == pytest.approx(1, abs=0.15)
    assert np.quantile(np.abs(np.log(sigmas / true[1500:])), 0.9) < 0.35


def test_is_read_as_it_was_written(model, trained_folder, minerals):
    assert (trained_folder / "uncertainty.npz").stat().st_size < 200_000
    structures = list(minerals.structures(minerals.split["train"][:20]))
    before = [each.uncertainty for each in model.predict(structures)]
    fit_uncertainty(trained_folder, minerals)
    after = [each.uncertainty for each in load_m3gnet(trained_folder).predict(structures)]
    np.testing.assert_allclose(after, before, rtol=1e-3)


def test_a_model_without_one_predicts_energies_alone(model, trained_folder, minerals, tmp_path):
    folder = tmp_path / "without"
    shutil.copytree(trained_folder, folder)
    (folder / "uncertainty.npz").unlink()
    structures = list(minerals.structures(minerals.split["train"][:10]))
    for with_it, without in zip(
        model.predict(structures), load_m3gnet(folder).predict(structures), strict=True
    ):
        assert without == replace(with_it, uncertainty=None)


@pytest.mark.parametrize("damage", ["truncated", "noise", "empty", "other arrays"])
def test_a_damaged_file_is_told(trained_folder, tmp_path, damage):
    folder = tmp_path / "damaged"
    shutil.copytree(trained_folder, folder)
    file = folder / "uncertainty.npz"
    if damage == "other arrays":
        np.savez(file, a=np.zeros(3))
    else:
        data = file.read_bytes()
        file.write_bytes(
            {"truncated": data[:2000], "noise": bytes(range(256)), "empty": b""}[damage]
        )
    with pytest.raises(CheckpointError, match="damaged"):
        load_m3gnet(folder)


def test_one_of_other_weights_is_refused(trained_folder, tmp_path):
    import torch

    folder = tmp_path / "other"
    shutil.copytree(trained_folder, folder)
    state = torch.load(folder / "state.pt", weights_only=True)
    torch.save({name: values + 0 for name, values in state.items()}, folder / "state.pt")
    (folder / "state.pt").write_bytes((folder / "state.pt").read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="fitted to other weights"):
        load_m3gnet(folder)


def test_data_that_do_not_fit_the_model_are_told(trained_folder, minerals, tmp_path):
    folder = tmp_path / "trained"
    shutil.copytree(trained_folder, folder)
    dataset = shipped()
    others = np.flatnonzero((dataset.numbers == 54).any(axis=1))
    foreign = replace(dataset, split={"train": others[:1], "validation": others[1:2]})
    assert len(others) > 1
    with pytest.raises(DatasetError, match="predicts no structure"):
        fit_uncertainty(folder, foreign)


def test_the_shipped_uncertainties_hold_on_crystals_never_seen():
    from scipy.stats import spearmanr

    dataset = shipped()
    errors, sigmas = errors_and_sigmas(load_m3gnet(), dataset, dataset.split["holdout_a"][::6])
    assert 0.6 < np.mean(errors <= sigmas) < 0.76
    assert spearmanr(errors, sigmas).statistic > 0.15
    surest = errors[np.argsort(sigmas)[: len(errors) // 2]]
    assert surest.mean() < 0.9 * errors.mean()

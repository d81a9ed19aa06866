import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest

from crystens_flows.errors import DatasetError, OutputFolderError
from crystens_flows.screening.element_references import ElementReferences, fit_references
from crystens_flows.screening.m3gnet.folder import Target
from crystens_flows.screening.m3gnet.training import train_m3gnet


def weights(folder):
    import torch

    return torch.load(folder / "state.pt", weights_only=True)


def history(folder):
    with (folder / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def largest_difference(first, second):
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    minerals, settings, trained_folder, tmp_path
):
    def interrupt(done, total):
        assert total == settings.epochs
        if done == 2:
            raise KeyboardInterrupt

    folder = tmp_path / "resumed"
    with pytest.raises(KeyboardInterrupt):
        train_m3gnet(minerals, folder, settings, progress=interrupt)
    assert not (folder / "state.pt").exists()
    seen = []
    train_m3gnet(minerals, folder, settings, progress=lambda *now: seen.append(now[0]))
    assert seen == [2]  # the first epoch was not trained again
    assert largest_difference(folder, trained_folder) < 1e-6
    for ours, theirs in zip(history(folder), history(trained_folder), strict=True):
        assert ours["validation_mae"] == pytest.approx(theirs["validation_mae"], abs=2e-5)
        assert ours["train_mae"] == pytest.approx(theirs["train_mae"], abs=2e-5)


def test_a_model_lost_at_the_end_is_the_same_again(minerals, settings, trained_folder, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(trained_folder, folder)
    (folder / "model.json").unlink()
    (folder / "state.pt").unlink()
    seen = []
    train_m3gnet(minerals, folder, settings, progress=lambda *now: seen.append(now))
    assert not seen
    assert largest_difference(folder, trained_folder) < 1e-6


def test_training_lowers_the_error(trained_folder):
    first, last = (row["train_mae"] for row in history(trained_folder))
    assert last < first - 1e-3


def test_the_history_has_the_error_of_the_model_that_is_kept(minerals, trained_folder, model):
    rows = minerals.split["validation"]
    found = model.predict(list(minerals.structures(rows)))
    errors = [
        abs(each.formation_energy_per_atom - known)
        for each, known in zip(found, minerals.formation_energy_per_atom[rows], strict=True)
        if each.reason is None
    ]
    assert history(trained_folder)[-1]["validation_mae"] == pytest.approx(np.mean(errors), abs=1e-4)


def test_another_seed_makes_another_model(minerals, settings, trained_folder, tmp_path):
    train_m3gnet(minerals, tmp_path / "other", replace(settings, seed=1, epochs=1))
    assert largest_difference(tmp_path / "other", trained_folder) > 1e-3


def test_a_folder_of_another_training_is_refused(minerals, settings, trained_folder, tmp_path):
    with pytest.raises(OutputFolderError, match="seed 0, not 5"):
        train_m3gnet(minerals, trained_folder, replace(settings, seed=5))
    fewer = replace(minerals, split={**minerals.split, "train": minerals.split["train"][:40]})
    with pytest.raises(OutputFolderError, match="data_sha256"):
        train_m3gnet(fewer, trained_folder, settings)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputFolderError, match="something else"):
        train_m3gnet(minerals, tmp_path, settings)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_data_that_cannot_be_trained_on(minerals, settings, tmp_path):
    few = replace(minerals, split={"train": np.arange(3), "validation": np.arange(3, 6)})
    without = replace(minerals, split={"train": np.arange(30)})
    unknown = replace(
        minerals, formation_energy_per_atom=np.full(len(minerals), np.nan, dtype=np.float32)
    )
    for dataset, words in (
        (few, "too few"),
        (without, "no split 'validation'"),
        (unknown, "no structure of the split 'train' has a formation energy"),
    ):
        with pytest.raises(DatasetError, match=words):
            train_m3gnet(dataset, tmp_path / "none", settings)
    assert not (tmp_path / "none").exists()


def test_the_target_is_read_as_it_was_written(minerals, trained_folder, tmp_path):
    train = minerals.split["train"]
    energies = minerals.formation_energy_per_atom[train].astype(float)
    references = fit_references(minerals.numbers[train], energies)
    target = Target.read(trained_folder)
    np.testing.assert_allclose(target.references.energies, references.energies, atol=1e-6)
    left = energies - references.per_atom(minerals.numbers[train])
    assert target.std == pytest.approx(left.std())
    assert (target.n_train, target.data) == (64, "96 minerals")
    again = Target(0.25, ElementReferences.from_dict({"Fe": -0.5, "O": 1.5}), 7, "x")
    again.write(tmp_path)
    assert Target.read(tmp_path).references.to_dict() == {"O": 1.5, "Fe": -0.5}

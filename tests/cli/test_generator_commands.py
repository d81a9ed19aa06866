"""crystens train and sample."""

import csv
import sys

import numpy as np
import pytest
from pymatgen.core import Structure

from crystens_flows.datasets import shipped
from crystens_flows.generators.adversarial.library import import_keras
from crystens_flows.generators.checkpoints import write_checkpoint


def small_csv(path, n):
    dataset = shipped()
    rows = np.flatnonzero(dataset.n_sites <= 6)[:n]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["material_id", "cif"])
        for row in rows:
            writer.writerow([dataset.material_ids[row], dataset.structure(row).to(fmt="cif")])


def test_train_on_ones_own_crystals_then_sample(crystens, tmp_path):
    small_csv(tmp_path / "mine.csv", 60)
    result = crystens("train", "--data", "mine.csv", "-o", "mine", "--steps", "3")
    assert result.code == 0, result.err
    assert (tmp_path / "mine" / "weights.safetensors").is_file()
    result = crystens("sample", "-n", "3", "--generator", "mine", "-o", "samples")
    assert result.code == 0, result.err
    assert np.load(tmp_path / "samples" / "crystens.npy").shape == (3, 4, 64, 64)


def test_too_few_crystals_to_train_on(crystens, tmp_path):
    small_csv(tmp_path / "mine.csv", 2)
    result = crystens("train", "--data", "mine.csv", "-o", "mine", "--steps", "3")
    assert result.code == 1
    assert "too few to train on" in result.err.splitlines()[-1]
    assert not (tmp_path / "mine").exists()


def test_a_checkpoint_folder_that_cannot_be_made(crystens, tmp_path):
    small_csv(tmp_path / "mine.csv", 60)
    result = crystens("train", "--data", "mine.csv", "-o", "mine.csv/mine", "--steps", "3")
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "mine.csv/mine" in result.err
    assert "mine.csv is a file" in result.err


def test_train_from_something_that_is_no_data(crystens, tmp_path):
    (tmp_path / "notes.npz").write_text("nothing")
    for source, words in (("notes.npz", "notes.npz"), ("absent.csv", "absent.csv")):
        result = crystens("train", "--data", source, "-o", "mine", "--steps", "3")
        assert result.code == 1
        assert words in result.err
        assert result.err.count("\n") == 1
        assert not (tmp_path / "mine").exists()


def test_samples_do_not_depend_on_how_they_are_divided(crystens, tmp_path):
    assert crystens("sample", "-n", "4", "--seed", "7", "-o", "whole").code == 0
    assert crystens("sample", "-n", "2", "--seed", "7", "--start", "2", "-o", "part").code == 0
    whole = np.load(tmp_path / "whole" / "crystens.npy")
    part = np.load(tmp_path / "part" / "crystens.npy")
    assert np.array_equal(whole[2:], part)
    rows = list(csv.DictReader((tmp_path / "part" / "index.csv").open()))
    assert [row["index"] for row in rows] == ["2", "3"]
    for row in rows:
        structure = Structure.from_file(tmp_path / "part" / row["file"])
        assert len(structure) == int(row["n_sites"])


def test_settings_of_a_generator_come_from_the_option_or_a_file(crystens, tmp_path):
    (tmp_path / "run.yaml").write_text("output: mine\nsettings:\n  depth: 3\n")
    for arguments in (["--config", "run.yaml"], ["-o", "mine", "--settings", "{depth: 3}"]):
        result = crystens("train", *arguments)
        assert result.code == 1
        assert result.err == "error: settings of 'wyckoff': depth is unknown: it has none\n"
        assert not (tmp_path / "mine").exists()


def test_settings_that_are_none(crystens):
    for text in ("depth", "{depth"):
        result = crystens("train", "-o", "mine", "--settings", text)
        assert result.code == 2
        assert result.err.startswith("error: --settings: ")
        assert result.err.count("\n") == 1


def test_training_pauses_in_time_and_goes_on(crystens, tmp_path):
    """The folder has the name of a generator that ships, so the hint says which one it means."""
    small_csv(tmp_path / "mine.csv", 60)
    command = ["train", "--data", "mine.csv", "-o", "default", "--steps", "1", "--minutes", "1e-9"]
    for step in (1, 2):
        result = crystens(*command)
        assert result.code == 0, result.err
        assert result.err.endswith(
            f"paused: step {step} of 3, state in default\ngo on: start the same command again\n"
        )
        assert not (tmp_path / "default" / "config.json").exists()
    result = crystens(*command)
    assert result.code == 0, result.err
    assert "trained: kind 'wyckoff'" in result.err
    assert result.err.endswith("crystens sample --generator ./default\n")
    assert (tmp_path / "default" / "config.json").is_file()


def test_a_time_that_is_none(crystens, tmp_path):
    result = crystens("train", "-o", "mine", "--minutes", "0")
    assert result.code == 1
    assert result.err == "error: the time for a training must be positive, not 0 s\n"
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("kind", "package", "extra"), [("gan", "tensorflow", "gan"), ("imagen", "torch", "imagen")]
)
def test_sampling_without_the_library_says_what_to_install(
    crystens, tmp_path, monkeypatch, kind, package, extra
):
    config = {"architecture": {}, "sampling": {}}
    write_checkpoint(tmp_path / "mine", kind, config, {}, {"weight": np.zeros(1)})
    import_keras.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)  # what is not installed cannot be imported
    result = crystens("sample", "--generator", "mine", "-o", "samples")
    assert result.code == 1
    assert result.err.startswith(f"error: {package} is needed for ")
    assert result.err.endswith(f"is not installed: pip install 'crystens-flows[{extra}]'\n")
    assert result.err.count("\n") == 1
    assert not (tmp_path / "samples").exists()


def test_crystals_of_a_formula_are_the_same_files_each_time(crystens, tmp_path):
    asked = ("--formula", "Ca(TiO3)", "-n", "3", "--seed", "1")
    for folder in ("one", "other"):
        result = crystens("sample", *asked, "-o", folder)
        assert result.code == 0, result.err
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len([name for name in files if name.endswith("-CaTiO3.cif")]) == 3
    assert files == sorted(path.name for path in (tmp_path / "other").iterdir())
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
        assert str(tmp_path).encode() not in (tmp_path / "one" / name).read_bytes()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--formula", "Xx2"], "'Xx2' is no formula"),
        (["--n-sites", "53"], "a cell has 1 to 52 sites, not 53"),
        (["--formula", "NaF", "--chemical-system", "F-Na"], "not both"),
        (
            ["--formula", "SrTiO3", "--space-group", "229", "--n-sites", "5"],
            "space group 229 cannot hold SrTiO3 with 5 sites",
        ),
        (
            ["--generator", "small-gan", "--formula", "NaF"],
            "kind 'gan' cannot be asked for",
        ),
    ],
)
def test_names_what_cannot_be_asked_for(crystens, tmp_path, asked, words):
    for command in ("sample", "discover"):
        result = crystens(command, *asked, "-n", "2", "-o", "out")
        assert result.code == 1
        assert words in result.err.splitlines()[-1]
        assert not (tmp_path / "out").exists()

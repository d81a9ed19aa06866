"""The configurations of trainings in workflows/, and the small ones from training to the page."""

import csv
import inspect
import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml

from crystens_flows.cli.generate import train
from crystens_flows.datasets import shipped
from crystens_flows.evaluation.metrics import METRICS
from crystens_flows.evaluation.reference import FLOOR
from crystens_flows.generators import TRAINABLE_GENERATORS
from crystens_flows.generators.adversarial.settings import GanSettings, WganSettings
from crystens_flows.generators.imagen.settings import DEFAULT_STEPS, ImagenSettings
from crystens_flows.generators.settings import read_settings
from trainings import only_with_trainings

WORKFLOWS = Path(__file__).parents[1] / "workflows"
TRAININGS = sorted([*WORKFLOWS.glob("paper-*.yaml"), *WORKFLOWS.glob("small-*.yaml")])
SETTINGS = {"gan": GanSettings, "wgan": WganSettings, "imagen": ImagenSettings}
SMALL = ("small-gan", "small-wgan", "small-imagen")


def test_there_are_a_small_and_a_published_one_of_each():
    names = {f"{size}-{kind}" for size in ("paper", "small") for kind in SETTINGS}
    assert {file.stem for file in TRAININGS} == names


@pytest.mark.parametrize("file", TRAININGS, ids=lambda file: file.stem)
def test_configurations_are_accepted(file):
    config = yaml.safe_load(file.read_text())
    assert set(config) <= set(inspect.signature(train).parameters)
    kind = TRAINABLE_GENERATORS[config["generator"]]
    settings = read_settings(SETTINGS[kind], config["settings"], kind)
    assert f"crystens train --config workflows/{file.name}" in file.read_text()
    if file.stem.startswith("paper"):
        # the one default that is not the published one
        published = {"downscale": "nearest"} if kind == "imagen" else {}
        assert settings == SETTINGS[kind](**published)
        assert config.get("steps", DEFAULT_STEPS) == DEFAULT_STEPS


@pytest.mark.slow
@only_with_trainings
def test_small_ones_are_trained_sampled_and_evaluated(tmp_path):
    """A few steps of each on a few crystals, by the commands that a user gives."""
    # looked for, not imported: both in this process, in this order, end it
    for package, extra in (("tensorflow", "gan"), ("imagen_pytorch", "imagen")):
        if find_spec(package) is None:
            pytest.skip(f"needs the extra {extra}")

    def crystens(*arguments):
        done = subprocess.run(
            [str(Path(sys.executable).with_name("crystens")), *arguments],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    dataset = shipped()
    small = np.flatnonzero(dataset.n_sites <= 6)[:60]
    few = replace(dataset, split={"train": small[:50], "validation": small[50:]})
    few.save(tmp_path / "few.npz")
    for name in SMALL:
        config = str(WORKFLOWS / f"{name}.yaml")
        crystens("train", "--config", config, "--data", "few.npz", "--steps", "4", "-o", name)
        crystens("sample", "--generator", name, "-n", "4", "-o", f"{name}-samples")
        tensors = np.load(tmp_path / f"{name}-samples" / "crystens.npy")
        assert tensors.shape == (4, 4, 64, 64)
        assert np.isfinite(tensors).all()
        assert np.ptp(tensors, axis=0).max() > 0  # the noise is another for each

    sources = [argument for name in SMALL for argument in ("--generator", name)]
    little = ("-n", "4", "--relax", "0", "--formulas", "0", "--no-baseline")
    printed = crystens("evaluate", *sources, *little, "-o", "evaluation").stdout.splitlines()
    assert max(map(len, printed)) <= 100
    heading = next(line for line in printed if FLOOR in line)
    assert [heading.index(name) for name in (*SMALL, FLOOR)] == sorted(
        heading.index(name) for name in (*SMALL, FLOOR)
    )

    folder = tmp_path / "evaluation"
    with (folder / "table.csv").open() as stream:
        rows = {row["metric"]: row for row in csv.DictReader(stream)}
    assert list(next(iter(rows.values()))) == ["group", "metric", *SMALL, FLOOR]
    # they have tables 1 and 2, which real crystals have not, and speed
    for name in ("length_variance", "pairwise_disagreement", "samples_per_second"):
        row = rows[METRICS[name].label]
        assert "-" not in [row[source] for source in SMALL]
    assert rows[METRICS["structurally_valid"].label][FLOOR] == "100.0%"
    found = json.loads((folder / "evaluation.json").read_text())
    assert [source["name"] for source in found["sources"]] == [*SMALL, FLOOR]
    page = (folder / "evaluation.html").read_text()
    assert all(page.count(name) > 3 for name in SMALL)

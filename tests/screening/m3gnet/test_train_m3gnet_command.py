"""crystens train-m3gnet, as the command line runs it."""

import typer
import yaml
from typer.testing import CliRunner

from crystens_flows.cli.train_m3gnet import train_m3gnet_command
from crystens_flows.errors import OutputFolderError
from crystens_flows.screening.m3gnet.model import load_m3gnet

app = typer.Typer()
app.command()(train_m3gnet_command)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_trains_goes_on_and_refuses_another_training(minerals, tmp_path):
    minerals.save(tmp_path / "mine.npz")
    options = {"data": str(tmp_path / "mine.npz"), "epochs": 1, "n-train": 40, "batch-size": 20}
    (tmp_path / "options.yaml").write_text(yaml.safe_dump(options))
    command = ("-o", tmp_path / "model", "--config", tmp_path / "options.yaml")
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert "mean absolute error 0." in result.stderr
    model = load_m3gnet(tmp_path / "model")
    assert model.card()["n_train"] == 40
    assert model.card()["data"] == str(tmp_path / "mine.npz")
    known = minerals.structure(minerals.split["validation"][0])
    assert model.predict([known])[0].uncertainty > 0
    weights = (tmp_path / "model" / "state.pt").stat().st_mtime_ns
    assert run(*command).exit_code == 0
    assert (tmp_path / "model" / "state.pt").stat().st_mtime_ns == weights
    result = run(*command, "--seed", 3)
    assert isinstance(result.exception, OutputFolderError)
    assert "in use by a training with seed 0, not 3" in str(result.exception)


def test_wrong_options_are_refused(tmp_path):
    for option in ("--epochs", "--n-train", "--batch-size"):
        result = run("-o", tmp_path / "model", option, 0)
        assert result.exit_code == 2
        assert option in result.output
    assert not (tmp_path / "model").exists()

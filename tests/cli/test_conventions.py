"""What all commands share: help, usage errors, configuration files, tracebacks."""

import subprocess
import sys

import pytest
import yaml

import crystens_flows
from crystens_flows.cli import app
from crystens_flows.errors import CheckpointError

COMMANDS = [
    *(c.callback.__name__ for c in app.registered_commands),
    *(
        f"candidates {c.callback.__name__}"
        for c in app.registered_groups[0].typer_instance.registered_commands
    ),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(crystens, command):
    result = crystens(*command.split(), "--help")
    assert result.code == 0
    assert "Usage: crystens " + command in result.out


def test_version(crystens):
    assert crystens("--version").out.split() == ["crystens_flows", crystens_flows.__version__]


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "-n", "0"),
        ("sample", "--seed", "-1"),
        ("sample", "--format", "xml"),
        ("sample", "--no-such-option"),
        ("discover", "-n", "many"),
        ("discover", "--select", "10", "--pool", "5"),
        ("candidates", "query", "--status", "perfect"),
        ("no-such-command",),
        ("train",),
    ],
)
def test_usage_errors_have_exit_code_2(crystens, arguments, tmp_path):
    result = crystens(*arguments)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert not list(tmp_path.iterdir())


def test_a_missing_generator_is_one_line(crystens, tmp_path):
    result = crystens("sample", "--generator", "nowhere")
    assert result.code == 1
    assert result.err.startswith("error: no generator 'nowhere'")
    assert len(result.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_traceback_is_there_when_asked_for(crystens):
    with pytest.raises(CheckpointError):
        crystens("--traceback", "sample", "--generator", "nowhere")


def test_options_from_a_file(crystens, tmp_path):
    (tmp_path / "options.yaml").write_text(yaml.safe_dump({"generator": "nowhere", "number": 3}))
    result = crystens("sample", "--config", "options.yaml")
    assert "no generator 'nowhere'" in result.err
    result = crystens("sample", "--config", "options.yaml", "--generator", "elsewhere")
    assert "no generator 'elsewhere'" in result.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("numbr: 3", "unknown option 'numbr'"),
        ("- 3", "'option: value' lines"),
        ("a: b: c", "cannot be read as YAML"),
        ("number: many", "valid integer"),
    ],
)
def test_a_wrong_file_of_options_is_a_usage_error(crystens, tmp_path, text, words):
    (tmp_path / "options.yaml").write_text(text)
    result = crystens("sample", "--config", "options.yaml")
    assert result.code == 2
    assert words in result.err


def test_a_missing_file_of_options_is_a_usage_error(crystens):
    result = crystens("sample", "--config", "absent.yaml")
    assert result.code == 2
    assert "there is no file absent.yaml" in result.err


def test_import_loads_nothing_heavy():
    code = (
        "import sys, crystens_flows, crystens_flows.cli;"
        "heavy = {'torch', 'tensorflow', 'atomate2', 'matgl', 'pymatgen', 'jobflow', 'pandas'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "[]"

"""What all commands share: help, usage errors, configuration files, tracebacks."""

import subprocess
import sys
from pathlib import Path

import pymongo
import pytest
import yaml

import crystens_flows
from crystens_flows.cli import app
from crystens_flows.cli.errors import failure_line
from crystens_flows.errors import CheckpointError, OutputFolderError

COMMANDS = [
    *(c.name or c.callback.__name__ for c in app.registered_commands),
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


def test_without_a_command_there_is_help(crystens):
    for arguments in ((), ("candidates",)):
        result = crystens(*arguments)
        assert result.code == 0
        assert result.out == crystens(*arguments, "--help").out
        assert not result.err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sample -n 0", "--number: 0 is not possible: give at least 1"),
        ("sample --seed -1", "--seed: -1 is not possible: give at least 0"),
        ("sample --format xml", "--format: 'xml' is not one of 'table', 'json', 'csv'"),
        ("sample --no-such-option", "no such option: --no-such-option (see 'crystens sample"),
        ("sample --generatr x", "(perhaps --generator)"),
        ("sample --generator nowhere", "--generator: there is no generator 'nowhere'"),
        ("train --generator nowhere -o x", "--generator: 'nowhere' cannot be trained"),
        ("discover -n many", "--number: 'many' is not an integer"),
        ("discover -n", "option '-n' requires an argument"),
        ("discover --select 10 --pool 5", "--select 10 is more than --pool 5"),
        ("discover --max-energy-above-hull inf", "--max-energy-above-hull inf is no finite number"),
        ("discover --known nowhere", "--known: there is no file or folder nowhere: give known"),
        ("build --interval inf", "--interval: inf is not possible: give at most 86400"),
        ("build --interval often", "--interval: 'often' is not a number"),
        ("candidates query --status perfect", "--status: 'perfect' is not one of 'decoded'"),
        ("candidates query --saved none", "--saved: there is no saved query 'none': `crystens"),
        ("candidates query --sort beauty", "--sort: candidates have no field 'beauty'; known:"),
        ("candidates query --elements Na,Xx", "--elements: 'Xx' is not the symbol"),
        ("candidates export -o x --chemsys Na-Xx", "--chemsys: 'Xx' is not the symbol"),
        ("candidates export -o x --formula 3:4", "--formula: formula '3:4' cannot be read"),
        ("candidates nothing", "no such command 'nothing' (see 'crystens candidates --help')"),
        ("no-such-command", "no such command 'no-such-command' (see 'crystens --help')"),
        ("train", "missing option '-o' / '--output' (see 'crystens train --help')"),
        ("decode", "missing argument 'tensors'"),
        ("encode one two", "unexpected extra argument(s) (two)"),
    ],
)
def test_usage_errors_are_one_line_with_exit_code_2(crystens, command, words, tmp_path):
    result = crystens(*command.split())
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert words in result.err
    assert result.err.count("\n") == 1
    assert not result.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        "discover -n 1",
        "sample -n 1",
        "encode cifs",
        "decode tensors.npy",
        "candidates export",
    ],
)
def test_an_output_folder_that_cannot_be_made_is_one_line(crystens, tmp_path, command):
    (tmp_path / "file").write_text("")
    result = crystens(*command.split(), "-o", "file/below")
    assert result.code == 1
    assert result.err.startswith("error: ")
    assert "file/below" in result.err
    assert "Not a directory" in result.err
    assert result.err.count("\n") == 1
    assert not result.out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_traceback_is_there_when_asked_for(crystens, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError):
        crystens("--traceback", "sample", "--generator", "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputFolderError, match="file/below"):
        crystens("--traceback", "discover", "-n", "1", "-o", "file/below")


def test_a_full_disk_is_one_line(crystens, cif_folder):
    assert crystens("encode", cif_folder, "-o", "encoded").code == 0
    code = "from crystens_flows.cli import main; main()"
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-c", code, "decode", "encoded/crystens.npy", "--format", "json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr == "error: No space left on device\n"


def test_a_server_that_went_away_is_one_line():
    client = pymongo.MongoClient("mongodb://127.0.0.1:9", serverSelectionTimeoutMS=50)
    with pytest.raises(pymongo.errors.PyMongoError) as caught:
        client.db.collection.find_one()
    line = failure_line(caught.value)
    assert line.startswith("the store can no longer be used: 127.0.0.1:9")
    assert "\n" not in line
    assert failure_line(RuntimeError("a mistake of ours")) is None


def test_only_what_goes_on_when_started_again_says_so(crystens, monkeypatch, tmp_path):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("crystens_flows.generators.train_generator", interrupt)
    monkeypatch.setattr("crystens_flows.generators.load_generator", interrupt)
    result = crystens("train", "-o", "trained")
    assert result.code == 130
    assert result.err == "interrupted; start the same command again to go on\n"
    result = crystens("sample", "-o", "samples")
    assert result.code == 130
    assert result.err == "interrupted\n"
    assert not list(tmp_path.iterdir())


def test_options_from_a_file(crystens, tmp_path):
    (tmp_path / "options.yaml").write_text(yaml.safe_dump({"generator": "nowhere", "number": 3}))
    result = crystens("sample", "--config", "options.yaml")
    assert "there is no generator 'nowhere'" in result.err
    result = crystens("sample", "--config", "options.yaml", "--generator", "elsewhere")
    assert "there is no generator 'elsewhere'" in result.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "numbr: 3",
            "unknown option 'numbr': known are band-gap, chemical-system, format, "
            "formation-energy, formula, generator, guidance, n-sites, number, output, seed, "
            "space-group, start\n",
        ),
        ("output_format: json", "unknown option 'output_format'"),
        ("- 3", "'option: value' lines"),
        ("a: b: c", "cannot be read as YAML"),
        ("number: many", "--number: 'many' is not an integer"),
        ("seed: -2", "--seed: -2 is not possible"),
    ],
)
def test_a_wrong_file_of_options_is_a_usage_error(crystens, tmp_path, text, words):
    (tmp_path / "options.yaml").write_text(text)
    result = crystens("sample", "--config", "options.yaml")
    assert result.code == 2
    assert words in result.err
    assert result.err.count("\n") == 1


def test_options_in_a_file_may_have_underscores(crystens, tmp_path):
    (tmp_path / "options.yaml").write_text("max_formation_energy: low")
    result = crystens("candidates", "query", "--config", "options.yaml")
    assert "--max-formation-energy: 'low' is not a number" in result.err


def test_a_missing_file_of_options_is_a_usage_error(crystens):
    result = crystens("sample", "--config", "absent.yaml")
    assert result.code == 2
    assert (
        result.err == "error: --config: there is no file absent.yaml: give a YAML file of options\n"
    )


def test_import_loads_nothing_heavy():
    code = (
        "import sys, crystens_flows, crystens_flows.cli;"
        "heavy = {'torch', 'tensorflow', 'atomate2', 'matgl', 'pymatgen', 'jobflow', 'pandas'};"
        "heavy.add('pymongo');"
        "print(sorted(heavy & set(sys.modules)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "[]"

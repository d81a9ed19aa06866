"""crystens check: what is there, what is missing, how to set it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crystens_flows.testing import stand_in_command, write_potcars


def check(folder, *arguments, **variables):
    """Run the command in a process of its own, as settings are read when packages are loaded."""
    kept = ("PATH", "LANG", "VIRTUAL_ENV")
    environ = {name: os.environ[name] for name in kept if name in os.environ}
    return subprocess.run(
        [str(Path(sys.executable).with_name("crystens")), "check", *map(str, arguments)],
        cwd=folder,
        env={**environ, "HOME": str(folder), "COLUMNS": "200", "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def rows(result):
    return {row["what"]: row for row in csv.DictReader(result.stdout.splitlines())}


def test_vasp_with_nothing_set(tmp_path):
    result = check(tmp_path, "--engine", "vasp", "--elements", "Na,Cl")
    assert result.returncode == 1
    assert result.stderr == "missing: VASP command, POTCARs\n"
    header, *lines = result.stdout.splitlines()
    assert " ".join(header.split()) == "what status found how to set it"
    told = {line.split("  ")[0]: line for line in lines}
    assert " missing " in told["VASP command"]
    assert "vasp_std is not found" in told["VASP command"]
    assert "set ATOMATE2_VASP_CMD" in told["VASP command"]
    assert "PMG_VASP_PSP_DIR is not set" in told["POTCARs"]
    assert " ok " in told["atomate2"]
    assert "not set up" in told["jobflow-remote"]
    assert [path.name for path in tmp_path.iterdir()] == []


def test_vasp_with_all_set_and_one_potcar_missing(tmp_path):
    variables = {
        "ATOMATE2_VASP_CMD": stand_in_command(),
        "PMG_VASP_PSP_DIR": str(write_potcars(tmp_path / "potcars", ["Na", "Cl"])),
    }
    (tmp_path / "a.vasp").write_text(
        "NaCl\n1\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n1 1\ndirect\n0 0 0\n.5 .5 .5\n"
    )
    (tmp_path / "b.cif").write_text("no crystal")
    arguments = ("a.vasp", "b.cif", "--engine", "vasp", "--format", "csv")
    result = check(tmp_path, *arguments, **variables)
    assert result.returncode == 0, result.stderr
    assert "left out: b.cif: " in result.stderr
    assert result.stderr.endswith("all that engine vasp needs is there\n")
    found = rows(result)
    assert found["POTCAR of Na"]["found"] == "Na_pv of PBE_54, a stand-in"
    assert found["POTCAR of Cl"]["status"] == "ok"
    assert "a stand-in, no VASP" in found["VASP command"]["found"]
    more = check(tmp_path, *arguments, "--elements", "K, Na", **variables)
    assert more.returncode == 1
    assert more.stderr.endswith("missing: POTCAR of K\n")
    assert "POT_GGA_PAW_PBE_54/POTCAR.K_sv" in rows(more)["POTCAR of K"]["remedy"]


def test_potentials_and_calculators(crystens):
    result = crystens("check", "--engine", "chgnet", "--format", "json")
    assert result.code == 0, result.err
    found = {each["what"]: each for each in json.loads(result.out)}
    assert found["weights of chgnet"]["found"].startswith("CHGNet 0.3.0")
    assert found["disk space"]["status"] == "ok"
    assert not found["jobflow-remote"]["needed"]
    result = crystens("check", "--engine", "ase.calculators.emt.Nothing")
    assert result.code == 1
    assert result.err == "missing: calculator\n"


def test_all_engines_at_once(crystens, monkeypatch):
    monkeypatch.setenv("ATOMATE2_VASP_CMD", "no-such-vasp")
    result = crystens("check", "--elements", "Na")
    assert result.code == 0, result.out
    assert result.err == "all that any run needs is there\n"
    for what in ("chgnet", "sevenn", "gpaw", "VASP command"):
        assert any(line.startswith(f"{what} ") for line in result.out.splitlines())


def test_stores(crystens, tmp_path):
    result = crystens("check", "--store", "mongodb://127.0.0.1:9/campaign")
    assert result.code == 1
    assert result.err == "missing: store\n"
    assert "cannot be reached" in result.out
    result = crystens("check", "--store", "mine", "-o", "/proc/nothing", "--format", "csv")
    assert result.code == 1
    assert result.err == "missing: working folder, disk space\n"
    assert "will be made in" in result.out
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--engine", "magic"), 2, "--engine: there is no engine 'magic': known are vasp, "),
        (("--elements", "Na,Xx"), 2, "--elements: 'Xx' is not the symbol of an element"),
        (("nowhere.cif",), 1, "nowhere.cif does not exist"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(crystens, arguments, code, words):
    result = crystens("check", *arguments)
    assert result.code == code
    assert words in result.err
    assert result.err.count("\n") == 1
    assert not result.out

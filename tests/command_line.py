"""Running the command line as a user does, in this process."""

import sys
from dataclasses import dataclass

import pytest

from crystens_flows.cli import main


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def crystens(monkeypatch, capsys, tmp_path):
    """Return a function that runs ``crystens`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("CRYSTENS_FLOWS_STORE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["crystens", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run

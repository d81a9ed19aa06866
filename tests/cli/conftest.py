"""Running the command line as a user does."""

import sys
from dataclasses import dataclass

import pytest

from crystens_flows.cli import main

SALT = """data_NaCl
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
 _atom_site_type_symbol
 _atom_site_label
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 Na Na1 0 0 0
 Na Na2 0 0.5 0.5
 Na Na3 0.5 0 0.5
 Na Na4 0.5 0.5 0
 Cl Cl1 0.5 0.5 0.5
 Cl Cl2 0.5 0 0
 Cl Cl3 0 0.5 0
 Cl Cl4 0 0 0.5
"""


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


@pytest.fixture
def cif_folder(tmp_path):
    """Return a folder with one good CIF and one that is none."""
    folder = tmp_path / "cifs"
    folder.mkdir()
    (folder / "salt.cif").write_text(SALT)
    (folder / "broken.cif").write_text("this is no CIF")
    return folder

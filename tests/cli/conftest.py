"""Structures that commands are given."""

import pytest

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


@pytest.fixture
def cif_folder(tmp_path):
    """Return a folder with one good CIF and one that is none."""
    folder = tmp_path / "cifs"
    folder.mkdir()
    (folder / "salt.cif").write_text(SALT)
    (folder / "broken.cif").write_text("this is no CIF")
    return folder

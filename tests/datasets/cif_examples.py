"""CIFs that are good and bad, with the kind of reason for each bad one."""

from __future__ import annotations

NACL = """data_1000041
_cell_length_a 5.62000(10)
_cell_length_b 5.62000
_cell_length_c 5.62000
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_cell_volume 177.5
_chemical_formula_sum 'Cl Na'
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na1+ 0. 0. 0. 1.
Cl1 Cl1- 0.5 0.5 0.5 1.
loop_
_atom_type_symbol
_atom_type_oxidation_number
Na1+ 1.000
Cl1- -1.000
"""

QUARTZ = """# alpha quartz
data_quartz
_cell_length_a 4.9137
_cell_length_b 4.9137
_cell_length_c 5.4047
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_space_group_name_H-M_alt 'P 32 2 1'
loop_
_space_group_symop_operation_xyz
x,y,z
y,x,2/3-z
-y,x-y,2/3+z
-x,-x+y,1/3-z
-x+y,-x,1/3+z
x-y,-y,-z
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Si 0.46970 0.00000 0.00000
O 0.41350 0.26690 0.11910
"""

PYMATGEN_P1 = """# generated using pymatgen
data_TmMgHg2
_symmetry_space_group_name_H-M   'P 1'
_cell_length_a   5.04880040
_cell_length_b   5.04880040
_cell_length_c   5.04880040
_cell_angle_alpha   60.00000000
_cell_angle_beta   60.00000000
_cell_angle_gamma   60.00000000
_symmetry_Int_Tables_number   1
_chemical_formula_structural   TmMgHg2
_chemical_formula_sum   'Tm1 Mg1 Hg2'
_cell_volume   91.00172128
_cell_formula_units_Z   1
loop_
 _symmetry_equiv_pos_site_id
 _symmetry_equiv_pos_as_xyz
  1  'x, y, z'
loop_
 _atom_site_type_symbol
 _atom_site_label
 _atom_site_symmetry_multiplicity
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
  Tm  Tm0  1  0.00000000  0.00000000  0.00000000  1
  Mg  Mg1  1  0.50000000  0.50000000  0.50000000  1
  Hg  Hg2  1  0.25000000  0.25000000  0.25000000  1
  Hg  Hg3  1  0.75000000  0.75000000  0.75000000  1
"""


def p1_cif(*sites: str, a: str = "4.0", gamma: str = "90") -> str:
    """Write a CIF without symmetry; a site is "label symbol x y z occupancy"."""
    return "\n".join(
        [
            "data_p1",
            f"_cell_length_a {a}",
            "_cell_length_b 4.0",
            "_cell_length_c 4.0",
            "_cell_angle_alpha 90",
            "_cell_angle_beta 90",
            f"_cell_angle_gamma {gamma}",
            "loop_",
            "_symmetry_equiv_pos_as_xyz",
            " 'x, y, z'",
            "loop_",
            "_atom_site_label",
            "_atom_site_type_symbol",
            "_atom_site_fract_x",
            "_atom_site_fract_y",
            "_atom_site_fract_z",
            "_atom_site_occupancy",
            *sites,
            "",
        ]
    )


GOOD_CIFS = {"nacl": NACL, "quartz": QUARTZ, "p1": PYMATGEN_P1}

BAD_CIFS = {
    "disordered": (p1_cif("M1 Na 0 0 0 0.5", "M1 K 0 0 0 0.5"), "disordered"),
    "partly occupied": (p1_cif("Na1 Na 0 0 0 0.9"), "disordered"),
    "53 sites": (
        p1_cif(*(f"C{i} C {i / 53:.6f} 0 0 1" for i in range(53)), a="60"),
        "more than 52 sites",
    ),
    "two atoms in one place": (p1_cif("Na1 Na 0 0 0 1", "K1 K 0 0 0 1"), "overlapping atoms"),
    "two atoms close by": (p1_cif("Na1 Na 0 0 0 1", "K1 K 0.1 0 0 1"), "overlapping atoms"),
    "close through the wall": (
        p1_cif("Na1 Na 0.01 0 0 1", "K1 K 0.98 0 0 1"),
        "overlapping atoms",
    ),
    "close to its own image": (p1_cif("Na1 Na 0 0 0 1", a="0.3"), "overlapping atoms"),
    "NaN coordinate": (p1_cif("Na1 Na 0 nan 0 1", "K1 K 0.5 0 0 1"), "not finite"),
    "infinite coordinate": (p1_cif("Na1 Na 0 inf 0 1"), "not finite"),
    "NaN edge": (p1_cif("Na1 Na 0 0 0 1", a="nan"), "not finite"),
    "huge edge": (p1_cif("Na1 Na 0 0 0 1", a="1e30"), "too large a cell"),
    "flat cell": (p1_cif("Na1 Na 0 0 0 1", gamma="0.5"), "too flat a cell"),
    "no volume": (p1_cif("Na1 Na 0 0 0 1", gamma="0"), "too flat a cell"),
    "dummy atom": (p1_cif("X1 X 0 0 0 1"), "no element"),
    "water without hydrogen": (p1_cif("Wat1 Wat 0 0 0 1"), "hydrogen atoms without positions"),
    "question mark": (p1_cif("Na1 Na ? 0 0 1"), "unreadable"),
    "no sites": (p1_cif(), "unreadable"),
    "two structures": (NACL + PYMATGEN_P1, "several structures"),
    "truncated": (PYMATGEN_P1[:300], "unreadable"),
    "other text": ("Dear reader, this is no CIF.", "unreadable"),
    "binary": ("\x00\x01\x02 data_ \x7f", "unreadable"),
    "empty": ("", "unreadable"),
}

"""The files that VASP is given in the four steps, against text written by hand."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from itertools import groupby

import numpy as np
import pytest
from monty.json import MontyDecoder, MontyEncoder
from pymatgen.core import Element, Lattice, Structure

from crystens_flows.generators import load_generator
from crystens_flows.representation import decode
from crystens_flows.testing import stand_in_environment

pytest.importorskip("atomate2.vasp.sets.base", reason="needs the extra vasp")

from crystens_flows.relaxation.vasp_inputs import PaperRelaxSetGenerator
from stand_in_runs import run_stand_in, write_inputs

INCAR = """\
EDIFF = 1e-05
EDIFFG = 1e-05
ENCUT = 400.0
GGA = Ps
IBRION = 2
ISIF = 3
ISMEAR = 0
NSW = 99
SIGMA = 0.1
"""
KPOINTS = """\
Automatic kpoint scheme
0
Gamma
3 3 3
"""
LABELS = """
Ac Ag Al Am Ar As At Au B Ba_sv Be Bi_d Br C Ca_sv Cd Ce Cf Cl Cm Co Cr_pv Cs_sv Cu Dy_3 Er_3 Eu_2
F Fe Fr_sv Ga_d Gd_3 Ge_d H He Hf_pv Hg Ho_3 I In_d Ir K_sv Kr La Li_sv Lu_3 Mg Mn_pv Mo_sv N Na_pv
Nb_sv Nd_3 Ne Ni Np O Os P Pa Pb_d Pd Pm_3 Po_d Pr_3 Pt Pu Ra_sv Rb_sv Re Rh_pv Rn Ru_pv S Sb Sc_sv
Se Si Sm_3 Sn_d Sr_sv Ta_pv Tb_3 Tc_pv Te Th Ti_sv Tl_d Tm_3 U V_sv W_sv Xe Y_sv Yb_3 Zn Zr_sv
"""
LABEL = {label.split("_")[0]: label for label in LABELS.split()}

WITH_F_ELECTRONS = Structure(  # GdFeO3's elements, sites of one element apart from each other
    Lattice.cubic(3.9),
    ["O", "Gd", "O", "Fe", "O"],
    [[0.5, 0.5, 0], [0.02, 0.01, 0], [0.5, 0, 0.5], [0.5, 0.5, 0.5], [0, 0.5, 0.5]],
)


@pytest.fixture(scope="module")
def generated():
    """Crystals of the default generator, with their sites in no order."""
    rng = np.random.default_rng(5)
    crystals = [each.structure for each in decode(load_generator("default").sample(50, 17))]
    assert len(crystals) == 50
    assert None not in crystals
    shuffled = [Structure.from_sites([s[i] for i in rng.permutation(len(s))]) for s in crystals]
    elements = {element for s in shuffled for element in s.composition.elements}
    assert sum(element.is_lanthanoid for element in elements) > 5
    assert sum(element.is_transition_metal for element in elements) > 10
    return shuffled


@pytest.fixture(scope="module")
def previous(tmp_path_factory):
    """An insulator with spin, computed with tags of which none must be taken over."""
    folder = tmp_path_factory.mktemp("previous")
    with stand_in_environment(tmp_path_factory.mktemp("potcars")):
        tags = {"ISPIN": 2, "MAGMOM": [3.0] * 5, "LMAXMIX": 6, "ISMEAR": -5, "SIGMA": 0.05}
        write_inputs(folder, WITH_F_ELECTRONS, **tags, ENCUT=680, ALGO="Fast", NSW=2)
    assert run_stand_in(folder).returncode == 0
    return folder


def written(generator, structure, folder, prev_dir=None):
    """Write the files, and read them as text."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        inputs = generator.get_input_set(structure, prev_dir=prev_dir, potcar_spec=True)
        inputs.write_input(folder)
    files = {file.name: file.read_text() for file in folder.iterdir()}
    return {name: text.rstrip("\n") + "\n" for name, text in files.items()}


def by_hand(structure):
    """Labels of the POTCARs, one for each element, from the least electronegative on."""
    symbols = {site.specie.symbol for site in structure}
    ordered = sorted(symbols, key=lambda s: (Element(s).X if Element(s).X > 0 else 99, s))
    return ordered, "".join(f"{LABEL[symbol]}\n" for symbol in ordered)


def check(files, structure):
    ordered, labels = by_hand(structure)
    assert sorted(files) == ["INCAR", "KPOINTS", "POSCAR", "POTCAR.spec"]
    assert files["INCAR"] == INCAR
    assert files["KPOINTS"] == KPOINTS
    assert files["POTCAR.spec"] == labels
    assert files["POSCAR"].splitlines()[5].split() == ordered
    counts = [sum(site.specie.symbol == symbol for site in structure) for symbol in ordered]
    assert files["POSCAR"].splitlines()[6].split() == [str(count) for count in counts]


@pytest.mark.slow
def test_the_papers_files_for_generated_crystals(generated, previous, tmp_path):
    """In the first step, after a previous calculation, and by a generator that has seen one."""
    generator = PaperRelaxSetGenerator()
    unsorted = 0
    for number, structure in enumerate([*generated, WITH_F_ELECTRONS]):
        symbols = [site.specie.symbol for site in structure]
        unsorted += len(list(groupby(symbols))) > len(set(symbols))
        for step, prev_dir in enumerate((None, previous, None)):
            folder = tmp_path / f"{number}-{step}"
            check(written(generator, structure, folder, prev_dir), structure)
    assert unsorted > 20


def test_the_structure_of_a_previous_step_and_nothing_else(previous, tmp_path):
    files = written(PaperRelaxSetGenerator(), None, tmp_path / "1", previous)
    check(files, WITH_F_ELECTRONS)
    asked = PaperRelaxSetGenerator(auto_ismear=True, auto_ispin=True, inherit_incar=True)
    assert written(asked, None, tmp_path / "2", previous) == files


def test_what_the_paper_leaves_open(tmp_path):
    generator = PaperRelaxSetGenerator(
        max_ionic_steps=7, electronic_convergence=1e-6, centring="monkhorst-pack"
    )
    files = written(generator, WITH_F_ELECTRONS, tmp_path / "1")
    assert files["INCAR"] == INCAR.replace("NSW = 99", "NSW = 7").replace(
        "EDIFF = 1e-05", "EDIFF = 1e-06"
    )
    assert files["KPOINTS"] == KPOINTS.replace("Gamma", "Monkhorst")
    labels = PaperRelaxSetGenerator(user_potcar_settings={"Fe": "Fe_pv", "Gd": "Gd"})
    assert written(labels, WITH_F_ELECTRONS, tmp_path / "2")["POTCAR.spec"] == "Gd\nFe_pv\nO\n"
    assert generator.user_potcar_functional == "PBE_54"


def test_the_user_comes_first(tmp_path):
    generator = PaperRelaxSetGenerator(
        user_incar_settings={"ENCUT": 520, "NSW": 3, "LMAXMIX": 4, "NCORE": 2, "SIGMA": None},
        user_kpoints_settings={"reciprocal_density": 200},
    )
    files = written(generator, WITH_F_ELECTRONS, tmp_path / "1")
    assert files["INCAR"] == (
        "EDIFF = 1e-05\nEDIFFG = 1e-05\nENCUT = 520.0\nGGA = Ps\nIBRION = 2\nISIF = 3\n"
        "ISMEAR = 0\nLMAXMIX = 4\nNCORE = 2\nNSW = 3\n"
    )
    assert files["KPOINTS"].splitlines()[2:] == ["Gamma", "9 9 9"]
    spacing = PaperRelaxSetGenerator(user_incar_settings={"KSPACING": 0.3})
    files = written(spacing, WITH_F_ELECTRONS, tmp_path / "2")
    assert "KPOINTS" not in files
    assert "KSPACING = 0.3\n" in files["INCAR"]
    magnetic = {"ISPIN": 2, "MAGMOM": {"Gd": 7, "Fe": 5, "O": 0.6}}
    magnetic = PaperRelaxSetGenerator(user_incar_settings=magnetic)
    files = written(magnetic, WITH_F_ELECTRONS, tmp_path / "3")
    assert "ISPIN = 2\nMAGMOM = 1*7.0 1*5.0 3*0.6\n" in files["INCAR"].replace("ISMEAR = 0\n", "")


def test_survives_serialisation(tmp_path):
    generator = PaperRelaxSetGenerator(
        max_ionic_steps=5, centring="monkhorst-pack", user_incar_settings={"NCORE": 2}
    )
    again = json.loads(json.dumps(generator, cls=MontyEncoder), cls=MontyDecoder)
    assert type(again) is PaperRelaxSetGenerator
    files = written(generator, WITH_F_ELECTRONS, tmp_path / "1")
    assert written(again, WITH_F_ELECTRONS, tmp_path / "2") == files
    assert "NCORE = 2\nNSW = 5\n" in files["INCAR"]

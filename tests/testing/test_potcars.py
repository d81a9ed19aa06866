from __future__ import annotations

import os

import pytest
from pymatgen.core import SETTINGS, Element, Structure
from pymatgen.io.vasp import Potcar
from pymatgen.io.vasp.sets import (
    MP24RelaxSet,
    MPRelaxSet,
    MPScanRelaxSet,
    VaspInputSet,
)

from crystens_flows.errors import InputError
from crystens_flows.testing import stand_in_environment, write_potcars
from crystens_flows.testing.potcars import nominal_valence

SETS: tuple[type[VaspInputSet], ...] = (MPRelaxSet, MPScanRelaxSet, MP24RelaxSet)


@pytest.mark.parametrize("input_set", SETS)
def test_every_label_of_an_input_set_is_there(input_set):
    config = input_set()._config_dict
    functional = config["POTCAR_FUNCTIONAL"]
    assert len(config["POTCAR"]) > 85
    for symbol, label in config["POTCAR"].items():
        (potcar,) = Potcar([label], functional=functional)
        assert potcar.element == symbol
        assert potcar.symbol == label
        assert potcar.nelectrons == nominal_valence(symbol)
        assert potcar.functional == "PBE"
        assert potcar.potential_type == "PAW"
        assert potcar.pomass == pytest.approx(float(Element(symbol).atomic_mass), abs=1e-3)


def test_labels_of_atomate2_are_there():
    base = pytest.importorskip("atomate2.vasp.sets.base", reason="the labels are atomate2's")
    for symbol, label in base._BASE_VASP_SET["POTCAR"].items():
        assert Potcar([label], functional="PBE_54")[0].element == symbol


def test_several_in_one_file(tmp_path):
    potcar = Potcar(["Ca_sv", "Ti_pv", "O"], functional="PBE_54")
    potcar.write_file(tmp_path / "POTCAR")
    again = Potcar.from_file(tmp_path / "POTCAR")
    assert again.symbols == ["Ca_sv", "Ti_pv", "O"]
    assert [each.element for each in again] == ["Ca", "Ti", "O"]


def test_some_elements_only(tmp_path):
    write_potcars(tmp_path / "new" / "folder", ["Na", "Cl"])
    names = {file.name for file in (tmp_path / "new" / "folder").rglob("POTCAR.*")}
    assert {"POTCAR.Na_pv", "POTCAR.Na", "POTCAR.Cl"} <= names
    assert {name.removeprefix("POTCAR.").split("_")[0] for name in names} == {"Na", "Cl"}
    with pytest.raises(InputError, match="no input set has a POTCAR for Og"):
        write_potcars(tmp_path, ["Og"])


def test_they_say_that_they_are_none(potcars):
    text = (potcars / "POT_GGA_PAW_PBE" / "POTCAR.Na_pv").read_text()
    assert "stand-in, no potential of VASP" in text


def test_the_surroundings_are_put_back(tmp_path, potcars):
    before = SETTINGS["PMG_VASP_PSP_DIR"]
    assert before == os.environ["PMG_VASP_PSP_DIR"] == str(potcars)
    with stand_in_environment(tmp_path) as folder:
        assert SETTINGS["PMG_VASP_PSP_DIR"] == os.environ["PMG_VASP_PSP_DIR"] == str(folder)
    assert SETTINGS["PMG_VASP_PSP_DIR"] == os.environ["PMG_VASP_PSP_DIR"] == before


def test_input_sets_write_them(tmp_path):
    rock_salt = Structure.from_spacegroup(
        "Fm-3m", [[5.64, 0, 0], [0, 5.64, 0], [0, 0, 5.64]], ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]
    )
    MPRelaxSet(rock_salt).write_input(tmp_path)
    assert Potcar.from_file(tmp_path / "POTCAR").symbols == ["Na_pv", "Cl"]

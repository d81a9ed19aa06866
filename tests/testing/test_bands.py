"""Bands from a density that is kept: what the stand-in reads and writes for them."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.electronic_structure.core import Spin
from pymatgen.io.vasp import Chgcar, Incar, Kpoints, Vasprun
from pymatgen.symmetry.bandstructure import HighSymmKpath

from crystens_flows.errors import InputError
from crystens_flows.testing.electrons import BAND_GAP
from crystens_flows.testing.inputs import read_inputs
from crystens_flows.testing.kpoints import read_kpoints
from stand_in_runs import CRYSTALS, ROCK_SALT, run_stand_in, write_inputs

STATIC = {"NSW": 0, "IBRION": -1}


def along_a_line(folder):
    """Turn a static calculation into one of bands along a line; return the points."""
    incar = Incar.from_file(folder / "INCAR")
    Incar({**incar, "ICHARG": 11, "LCHARG": False}).write_file(folder / "INCAR")
    points, labels = HighSymmKpath(ROCK_SALT).get_kpoints(5, coords_are_cartesian=False)
    Kpoints(
        comment="a line",
        style=Kpoints.supported_modes.Reciprocal,
        num_kpts=len(points),
        kpts=points,
        kpts_weights=[1] * len(points),
        labels=labels,
    ).write_file(folder / "KPOINTS")
    return np.array(points)


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("n_spins", [1, 2])
def test_the_density_has_the_electrons(name, n_spins, tmp_path, potcars):
    write_inputs(tmp_path, CRYSTALS[name], **STATIC, ISPIN=n_spins)
    assert run_stand_in(tmp_path).returncode == 0
    density = Chgcar.from_file(tmp_path / "CHGCAR")
    assert density.data["total"].mean() == pytest.approx(read_inputs(tmp_path).n_electrons)
    assert ("diff" in density.data) == (n_spins == 2)
    assert density.structure.lattice.volume == pytest.approx(CRYSTALS[name].lattice.volume)


def test_bands_along_a_line(tmp_path, potcars):
    write_inputs(tmp_path, ROCK_SALT, **STATIC)
    assert run_stand_in(tmp_path).returncode == 0
    points = along_a_line(tmp_path)
    kept = (tmp_path / "CHGCAR").read_bytes()
    done = run_stand_in(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "CHGCAR").read_bytes() == kept
    found = Vasprun(tmp_path / "vasprun.xml", parse_potcar_file=False)
    assert np.array(found.actual_kpoints) == pytest.approx(points, abs=1e-7)
    bands = found.get_band_structure(tmp_path / "KPOINTS", line_mode=True)
    assert bands.get_band_gap()["energy"] == pytest.approx(BAND_GAP, abs=1e-3)
    assert {branch["name"] for branch in bands.branches} >= {"\\Gamma-X", "X-W"}
    # flat: placeholders
    assert np.ptp(bands.bands[Spin.up], axis=1).max() == 0


def test_nbands_says_how_many(tmp_path, potcars):
    write_inputs(tmp_path, ROCK_SALT, **STATIC, NBANDS=21)
    assert run_stand_in(tmp_path).returncode == 0
    found = Vasprun(tmp_path / "vasprun.xml", parse_potcar_file=False)
    assert found.parameters["NBANDS"] == 21
    assert found.eigenvalues[Spin.up].shape[1] == 21
    write_inputs(tmp_path, ROCK_SALT, **STATIC, NBANDS=1)
    done = run_stand_in(tmp_path)
    assert done.returncode == 1
    assert "NBANDS = 1 is too few" in done.stderr


def test_without_a_density_there_are_no_bands(tmp_path, potcars):
    write_inputs(tmp_path, ROCK_SALT, **STATIC)
    along_a_line(tmp_path)
    assert "CHGCAR is missing" in run_stand_in(tmp_path).stderr
    (tmp_path / "CHGCAR").write_text("")
    assert "no density of the atoms in POSCAR" in run_stand_in(tmp_path).stderr
    write_inputs(tmp_path / "other", CRYSTALS["gold and copper"], **STATIC)
    assert run_stand_in(tmp_path / "other").returncode == 0
    (tmp_path / "other" / "CHGCAR").replace(tmp_path / "CHGCAR")
    assert "no density of the atoms in POSCAR" in run_stand_in(tmp_path).stderr


def test_no_density_where_none_is_asked_for(tmp_path, potcars):
    write_inputs(tmp_path, ROCK_SALT, **STATIC, LCHARG=False)
    assert run_stand_in(tmp_path).returncode == 0
    assert not (tmp_path / "CHGCAR").exists()


@pytest.mark.parametrize(
    "text",
    [
        "c\n2\nReciprocal\n0 0 0 1\n",  # one is missing
        "c\n2\nReciprocal\n0 0 0 1\n0 0 x 1\n",
        "c\n1\nReciprocal\n0 0 0 0\n",  # no weight
        "c\n1\nCartesian\n0 0 0 1\n",
        "c\n10\nLine-mode\nReciprocal\n0 0 0\n0.5 0 0\n",
    ],
)
def test_lists_that_are_not_read(text):
    with pytest.raises(InputError, match="KPOINTS: the stand-in reads"):
        read_kpoints(text)


def test_weights_add_to_one():
    found = read_kpoints("c\n2\nReciprocal\n0 0 0 1 \\Gamma\n0.5 0 0 3\n")
    assert found.weights.tolist() == [0.25, 0.75]
    assert found.points.tolist() == [[0, 0, 0], [0.5, 0, 0]]


def test_one_moment_is_a_list(tmp_path, potcars):
    """What pymatgen, and custodian with it, looks into."""
    one = CRYSTALS["gold and copper"].copy()
    one.remove_sites([1])
    write_inputs(tmp_path, one, **STATIC, ISPIN=2, MAGMOM="1*0.6", LDAUU="4.0")
    assert run_stand_in(tmp_path).returncode == 0
    found = Vasprun(tmp_path / "vasprun.xml", parse_potcar_file=False)
    assert found.parameters["MAGMOM"] == found.incar["MAGMOM"] == [0.6]
    assert found.incar["LDAUU"] == [4.0]
    assert found.is_spin

"""What of the GPAW engine needs no GPAW; ``tests/gpaw_engine`` has the rest."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError, MissingExtraError, OutputFolderError
from crystens_flows.relaxation.gpaw import GpawSettings, choose_cutoff, relax
from crystens_flows.relaxation.gpaw_calculator import GpawError, basis_pressure, import_gpaw
from crystens_flows.relaxation.gpaw_cutoffs import (
    MEASURED,
    PAPER_CUTOFF,
    TOLERANCE,
    cutoff_table,
    needed_cutoff,
)
from crystens_flows.relaxation.make_gpaw_cutoffs import CRYSTALS, lowest_cutoff

DONE = Path(__file__).parents[1] / "gpaw_engine" / "naf"
"""Made by ``benchmarks/gpaw_lattice.py``: NaF, 2 % too large, relaxed once by GPAW 25.7.0."""


def naf(constant=1.02 * 4.635):
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(constant), ["Na", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()


@pytest.fixture
def done(tmp_path):
    folder = tmp_path / "naf"
    shutil.copytree(DONE, folder)
    return folder


def test_each_cutoff_follows_from_what_was_measured():
    table = cutoff_table()
    assert table["tolerance"] == TOLERANCE
    assert len(table["elements"]) > 30
    for element, entry in table["elements"].items():
        measured = [table["crystals"][name] for name in entry["crystals"]]
        assert entry["cutoff"] == lowest_cutoff(measured), element
        assert [tuple(each["crystal"]) for each in measured] == CRYSTALS[element]
        assert all(element in each["crystal"][0] for each in measured)


def test_bulk_moduli_are_those_of_the_crystals():
    """Haas, Tran and Blaha's, by F. Tran's private communication to the authors of ASE, GPa."""
    published = {"NaF rocksalt": 48.5, "MgO rocksalt": 158, "NaCl rocksalt": 26.1, "Al": 83.0}
    for name, modulus in published.items():
        assert cutoff_table()["crystals"][name]["bulk_modulus"] == pytest.approx(
            10 * modulus, rel=0.05
        )


def test_lowest_cutoff():
    def measured(*errors, fixed_basis=0.0):
        cutoffs = [f"{cutoff:g}" for cutoff in MEASURED]
        return {
            "errors": dict(zip(cutoffs, errors, strict=False)),
            "fixed_basis_errors": {"400": fixed_basis} | dict.fromkeys(cutoffs[1:], 0.0),
        }

    assert lowest_cutoff([measured(0.0002, -0.0003)]) == 400
    assert lowest_cutoff([measured(0.0002, -0.0003, fixed_basis=-0.02)]) == 500
    assert lowest_cutoff([measured(-0.02, 0.0002, 0.01, 0.0009, -0.0001)]) == 700  # by chance
    assert lowest_cutoff([measured(0.0, 0.0), measured(0.1, 0.01, 0.0, 0.0)]) == 600
    assert lowest_cutoff([measured(0.1, 0.1, 0.1, 0.1, 0.1)]) is None


def test_the_paper_s_cutoff_or_what_the_setups_need():
    assert choose_cutoff(None, ["Si", "Al"]) == (PAPER_CUTOFF, None)
    cutoff, note = choose_cutoff(None, ["Na", "F"])
    assert cutoff == 600
    assert note == "the cutoff is 600 eV, not the paper's 400 eV: the setups of F need more"
    assert choose_cutoff(400, ["Na", "F"]) == (
        400,
        "the cutoff of 400 eV is too low: GPAW needs 600 eV for F",
    )
    assert choose_cutoff(700, ["Na", "F"])[0] == 700
    assert needed_cutoff(["Kr", "Si"]).unmeasured == ["Kr"]
    cutoff, note = choose_cutoff(None, ["Kr", "Si"])
    assert cutoff == max(MEASURED)
    assert "what Kr needs was not measured" in note


def test_basis_pressure_is_that_of_free_electrons():
    """
    N plane waves each of the cutoff's kinetic energy press with 2/3 N E/V.

    Were N so many more with each eV, the energy would fall by N for each eV of the cutoff.
    """
    from ase.units import GPa

    n, cutoff, volume = 1e-4, 600.0, 25.0
    assert basis_pressure(-n, cutoff, volume) == pytest.approx(
        2 / 3 * n * cutoff / volume / GPa * 10
    )


def test_settings():
    assert GpawSettings(kpoints=[3, 3, 3]) == GpawSettings()
    for wrong in ({"max_ionic_steps": 0}, {"cutoff": -1}):
        with pytest.raises(InputError, match="above 0"):
            GpawSettings(**wrong)


def test_a_folder_that_is_done_is_read(done):
    with pytest.warns(UserWarning, match="600 eV, not the paper's 400 eV: the setups of F"):
        result = relax(naf(), done)
    assert result.converged
    assert result.ionic_steps[0].energy > result.ionic_steps[-1].energy
    assert result.structure.volume == pytest.approx(result.ionic_steps[-1].volume)
    assert result.structure.symbol_set == ("F", "Na")
    assert result.method["setups"] == {"F": "F.PBE.gz", "Na": "Na.PBE.gz"}


def test_a_folder_of_another_relaxation_is_refused(done):
    with pytest.raises(OutputFolderError, match="holds another relaxation with GPAW"):
        relax(naf(4.7), done)
    with pytest.raises(OutputFolderError, match="holds another relaxation with GPAW"):
        relax(naf(), done, replace(GpawSettings(), kpoints=(4, 4, 4)))
    (done / "gpaw_result.json").write_text("{")
    with pytest.raises(OutputFolderError, match="no result of GPAW"):
        relax(naf(), done)


def test_mixed_sites_are_refused(tmp_path):
    mixed = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    with pytest.raises(InputError, match="mixed sites"):
        relax(mixed, tmp_path)


def test_gpaw_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gpaw", None)
    with pytest.raises(MissingExtraError, match=r"crystens-flows\[gpaw\].*libxc-dev") as error:
        import_gpaw()
    assert "\n" not in str(error.value)
    with pytest.raises(MissingExtraError):
        relax(naf(), tmp_path)
    assert not (tmp_path / "gpaw_result.json").exists()


def test_a_command_that_dies_is_named(tmp_path):
    command = f"{sys.executable} -c 'import sys; sys.exit(\"no licence\")'"
    with pytest.raises(GpawError, match=r"ended with 1 in .*: no licence"):
        relax(naf(), tmp_path, command=command)
    with pytest.raises(GpawError, match=r"cannot run /nowhere/python .*No such file"):
        relax(naf(), tmp_path, command="/nowhere/python")

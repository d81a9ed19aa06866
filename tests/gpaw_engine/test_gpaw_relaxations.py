"""Relaxations with GPAW itself: ``make test-gpaw`` installs it and runs these."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

pytest.importorskip("gpaw", reason="GPAW is not installed: make test-gpaw")

from crystens_flows.errors import InputError
from crystens_flows.jobs import QuadrupleRelaxMaker
from crystens_flows.jobs.gpaw import GpawRelaxMaker
from crystens_flows.relaxation.gpaw import GpawSettings, relax
from crystens_flows.relaxation.gpaw_calculator import (
    GpawError,
    basis_pressure,
    calculator,
    energy_by_cutoff,
    free_energy,
    setup_files,
    stress_in_kbar,
)
from crystens_flows.relaxation.gpaw_settings import INPUT_FILE, TRAJECTORY_FILE

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:the cutoff")]

PUBLISHED = {"NaF": 4.635, "Si": 5.438}
"""PBEsol: Haas, Tran and Blaha, Phys. Rev. B 79, 085104 (2009), table I, A."""


def rocksalt(cation, anion, constant):
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(constant), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()


def silicon(constant):
    return Structure.from_spacegroup(
        "Fd-3m", Lattice.cubic(constant), ["Si"], [[0, 0, 0]]
    ).get_primitive_structure()


def atoms_of(structure):
    from pymatgen.io.ase import AseAtomsAdaptor

    return AseAtomsAdaptor.get_atoms(structure, msonable=False)


def pressure(stress):
    return float(np.trace(stress)) / 3


def relax_four_times(structure, folder, **settings):
    flow = QuadrupleRelaxMaker.from_relax_maker(GpawRelaxMaker(**settings)).make(structure, None)
    store = JobStore(MemoryStore())
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        run_locally(flow, store=store, log=False, create_folders=True)
    return flow.output.resolve(store)


@pytest.mark.parametrize(
    ("name", "start", "kpoints"),
    [("NaF", rocksalt("Na", "F", 4.73), 4), ("Si", silicon(5.55), 6)],
    ids=["NaF", "Si"],
)
def test_published_lattice_constant_after_four_relaxations(name, start, kpoints, tmp_path):
    document = relax_four_times(start, tmp_path, kpoints=(kpoints,) * 3)
    assert (document.completed_steps, document.reason) == (4, None)
    assert document.converged == [True] * 4
    constant = (4 * document.structure.volume) ** (1 / 3)
    print(f"{name} {kpoints} x {kpoints} x {kpoints}: {constant:.4f} A,", document.pressures)  # noqa: T201
    assert constant == pytest.approx(PUBLISHED[name], rel=0.005)
    assert abs(document.pressures[3]) < 1
    assert document.energies[0] > document.energies[1] >= document.energies[4] - 1e-4
    assert document.energies_zero_sigma[4] >= document.energies[4] - 1e-9
    assert document.engine == "GPAW 25.7.0"
    assert document.method["cutoff"] == {"NaF": 600, "Si": 400}[name]
    assert document.steps[0].space_group == {"NaF": 225, "Si": 227}[name]


def test_pressure_is_the_derivative_of_the_energy_at_a_fixed_cutoff():
    """And that of the plane waves alone is not: for MgO at 600 eV it is 54 kbar lower."""
    crystal = atoms_of(rocksalt("Mg", "O", 4.222))
    volume, cutoff, kpoints = crystal.get_volume(), 600.0, (3, 3, 3)
    dedecut = energy_by_cutoff(crystal, cutoff, kpoints=kpoints)
    crystal.calc = calculator(cutoff, kpoints, dedecut=dedecut)
    free_energy(crystal)
    corrected = pressure(stress_in_kbar(crystal))
    energies = []
    for factor in (0.98, 1.02):
        strained = crystal.copy()
        strained.set_cell(crystal.cell * factor ** (1 / 3), scale_atoms=True)
        strained.calc = calculator(cutoff, kpoints)
        energies.append(free_energy(strained))
    numeric = -(energies[1] - energies[0]) / (0.04 * volume) * 1602.18
    assert corrected == pytest.approx(numeric, abs=8)  # 2 meV by which single plane waves change it
    assert abs(corrected - basis_pressure(dedecut, cutoff, volume) - numeric) > 40


def test_smearing_is_gaussian():
    """The occupation numbers of VASP's ISMEAR = 0 with SIGMA = 0.1."""
    from scipy.special import erfc

    aluminium = atoms_of(Structure(Lattice.rhombohedral(2.84, 60), ["Al"], [[0, 0, 0]]))
    aluminium.calc = calculator(200, (3, 3, 3), smearing_width=0.1)
    energy = free_energy(aluminium)
    partly = 0
    for k, weight in enumerate(aluminium.calc.get_k_point_weights()):
        levels = aluminium.calc.get_eigenvalues(kpt=k) - aluminium.calc.get_fermi_level()
        found = aluminium.calc.get_occupation_numbers(kpt=k) / weight
        assert found == pytest.approx(erfc(levels / 0.1), abs=1e-6)
        partly += np.count_nonzero((found > 0.01) & (found < 1.99))
    assert partly
    assert aluminium.get_potential_energy() > energy  # extrapolated to zero smearing


def test_goes_on_from_the_last_ionic_step_after_a_kill(tmp_path):
    from ase.io import read

    start = rocksalt("Na", "Cl", 5.8)
    start.translate_sites([1], [0.02, 0.01, 0])
    settings = GpawSettings(kpoints=(2, 2, 2))
    whole = relax(start, tmp_path / "whole", settings)
    assert len(whole.ionic_steps) > 4
    killed = tmp_path / "killed"
    killed.mkdir()
    shutil.copy(tmp_path / "whole" / INPUT_FILE, killed)
    command = [sys.executable, "-m", "crystens_flows.relaxation.gpaw_run"]
    process = subprocess.Popen(command, cwd=killed)
    n_done = 0
    while n_done < 3 and process.poll() is None:
        time.sleep(0.05)
        with contextlib.suppress(Exception):  # the file is not there, or half there
            n_done = len(read(killed / TRAJECTORY_FILE, index=":"))
    process.kill()
    process.wait()
    assert 3 <= n_done < len(whole.ionic_steps)
    again = relax(start, killed, settings, command=sys.executable)
    assert len(read(killed / TRAJECTORY_FILE, index=":")) == len(again.ionic_steps)
    assert len(again.ionic_steps) == len(whole.ionic_steps)
    assert again.converged
    for one, other in zip(whole.ionic_steps, again.ionic_steps, strict=True):
        assert one.energy == pytest.approx(other.energy, abs=2e-5)
        assert one.volume == pytest.approx(other.volume, rel=1e-3)


def test_a_trajectory_cut_off_at_its_start_is_begun_anew(tmp_path):
    settings = GpawSettings(kpoints=(1, 1, 1), cutoff=200, max_ionic_steps=1)
    (tmp_path / TRAJECTORY_FILE).write_bytes(b"- of Ulm")
    result = relax(rocksalt("Na", "Cl", 5.7), tmp_path, settings)
    assert (len(result.ionic_steps), result.converged, result.reason) == (1, False, None)
    assert result.structure.volume == pytest.approx(5.7**3 / 4)


def test_fixed_basis_is_that_of_the_first_cell(tmp_path):
    """As with VASP, the energy jumps where a step makes the basis for its own cell."""
    start, settings = (
        rocksalt("Na", "F", 4.8),
        GpawSettings(kpoints=(2, 2, 2), cutoff=500, fixed_basis=True, max_ionic_steps=2),
    )
    first = relax(start, tmp_path / "1", settings)
    second = relax(first.structure, tmp_path / "2", settings)
    free = relax(
        first.structure,
        tmp_path / "3",
        GpawSettings(kpoints=(2, 2, 2), cutoff=500, max_ionic_steps=1),
    )
    assert first.structure.volume != pytest.approx(start.volume, rel=0.01)
    assert abs(second.ionic_steps[0].energy - first.ionic_steps[-1].energy) > 0.01
    assert second.ionic_steps[0].energy == pytest.approx(free.ionic_steps[0].energy, abs=1e-4)
    plain = pressure(free.ionic_steps[0].stress) - free.method["basis_pressure"]
    assert pressure(second.ionic_steps[0].stress) == pytest.approx(plain, abs=0.1)


def test_a_cell_that_explodes_ends_the_relaxation(tmp_path):
    """One k-point is too few for a cell of two ions to hold together."""
    start = rocksalt("Na", "Cl", 5.8)
    start.translate_sites([1], [0.03, 0.01, 0])
    document = relax_four_times(start, tmp_path, kpoints=(1, 1, 1))
    assert document.reason.startswith("relaxation failed: step 1 of 4, the cell exploded")
    assert document.completed_steps == 0
    (folder,) = (path.parent for path in tmp_path.glob(f"*/{TRAJECTORY_FILE}"))
    kept = json.loads((folder / "gpaw_result.json").read_text())
    assert kept["reason"] in document.reason


def test_what_cannot_be_relaxed_is_a_reason(tmp_path):
    technetium = Structure(Lattice.cubic(3), ["Tc"], [[0, 0, 0]])
    assert relax(technetium, tmp_path / "Tc").reason == "GPAW has no PBE setup for Tc"
    with pytest.raises(GpawError, match="for Tc, U"):
        setup_files(["Tc", "Na", "U"])
    near = Structure(Lattice.cubic(4), ["Na", "F"], [[0, 0, 0], [0.05, 0, 0]])
    result = relax(near, tmp_path / "near")
    assert result.reason == "atoms collided, two are 0.20 A apart at the start"
    assert not (tmp_path / "near" / TRAJECTORY_FILE).exists()


def test_electrons_that_do_not_converge_are_a_reason():
    crystal = atoms_of(rocksalt("Na", "Cl", 5.6))
    crystal.calc = calculator(200, (1, 1, 1)).new(maxiter=2, txt=None)
    with pytest.raises(GpawError, match="did not reach self-consistency"):
        free_energy(crystal)


def test_settings_of_another_kind_are_refused():
    with pytest.raises(InputError):
        GpawRelaxMaker(max_ionic_steps=0).make.original(
            GpawRelaxMaker(max_ionic_steps=0), silicon(5.4)
        )


def test_under_mpi(tmp_path):
    from gpaw.mpi import have_mpi

    mpirun = shutil.which("mpirun")
    if mpirun is None or not have_mpi:
        pytest.skip("needs mpirun and a GPAW that was compiled with MPI")
    settings = GpawSettings(kpoints=(2, 2, 2), max_ionic_steps=2)
    start = rocksalt("Na", "Cl", 5.8)
    serial = relax(start, tmp_path / "serial", settings, command=sys.executable)
    command = f"{mpirun} --allow-run-as-root --oversubscribe -np 2 {sys.executable}"
    parallel = relax(start, tmp_path / "parallel", settings, command=command)
    assert "cores used: 2" in (tmp_path / "parallel" / "gpaw.txt").read_text()
    for one, other in zip(serial.ionic_steps, parallel.ionic_steps, strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-5)
        assert np.allclose(one.stress, other.stress, atol=0.05)

"""The stand-in's numbers and files, against ASE, finite differences, and pymatgen's readers."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Outcar, Vasprun, Xdatcar
from pymatgen.io.vasp.outputs import Oszicar

from crystens_flows.jobs import QuadrupleRelaxMaker
from crystens_flows.testing import ENTROPY, STAND_IN_VERSION, stand_in_command
from crystens_flows.testing.calculators import load_calculator
from stand_in_runs import (
    BADDELEYITE,
    CRYSTALS,
    GOLD_COPPER,
    PEROVSKITE,
    ROCK_SALT,
    run_flow,
    run_stand_in,
    start_stand_in,
    write_inputs,
)

pytest.importorskip("ase", reason="the stand-in computes with ASE")

KBAR = 1602.1766208


def calculator_of(name: str) -> str:
    return "emt" if name == "gold and copper" else "pair"


def evaluated(structure: Structure, calculator: str):
    """Energy and pressure by ASE, the pressure as the derivative of the energy too."""
    atoms = AseAtomsAdaptor.get_atoms(structure)
    atoms.calc = load_calculator(calculator)
    pressure = -np.trace(atoms.get_stress(voigt=False)) / 3 * KBAR
    return atoms.get_potential_energy(), pressure, minus_de_dv(atoms)


def minus_de_dv(atoms, strain=1e-4):
    energies, volumes = [], []
    for sign in (-1, 1):
        moved = atoms.copy()
        moved.calc = atoms.calc
        moved.set_cell((1 + sign * strain) * atoms.cell[:], scale_atoms=True)
        energies.append(moved.get_potential_energy())
        volumes.append(moved.get_volume())
    return -(energies[1] - energies[0]) / (volumes[1] - volumes[0]) * KBAR


def maker_with(calculator, maker=None, **faults):
    """A maker of atomate2 with its own handlers and validators, and the stand-in as VASP."""
    core = pytest.importorskip("atomate2.vasp.jobs.core", reason="the stand-in runs under it")
    sets = pytest.importorskip("atomate2.vasp.sets.core")
    if maker is None:
        tags = {"EDIFFG": 1e-5, "EDIFF": 1e-5, "LORBIT": 0}
        maker = core.RelaxMaker(
            input_set_generator=sets.RelaxSetGenerator(user_incar_settings=tags)
        )
    maker.run_vasp_kwargs = {
        "vasp_cmd": stand_in_command(calculator, **faults),
        "custodian_kwargs": {"polling_time_step": 0.1, "monitor_freq": 30},
    }
    return maker


@pytest.mark.parametrize("name", CRYSTALS)
def test_four_steps_are_what_the_calculator_says(name, tmp_path):
    calculator, structure = calculator_of(name), CRYSTALS[name]
    maker = QuadrupleRelaxMaker.from_relax_maker(maker_with(calculator))
    flow = maker.make(structure, candidate_id="c-1")
    store = run_flow(flow, tmp_path)
    document = flow.output.resolve(store)
    assert (document.completed_steps, document.reason) == (4, None)
    assert document.engine == f"VASP {STAND_IN_VERSION}"
    energy, _, _ = evaluated(structure, calculator)
    assert document.energies[0] == pytest.approx(energy, abs=1e-6)
    tasks = [job.output.resolve(store) for job in flow.jobs[:4]]
    for number, task in enumerate(tasks, start=1):
        energy, pressure, derivative = evaluated(task.structure, calculator)
        assert document.energies[number] == pytest.approx(energy, abs=1e-6)
        assert document.pressures[number - 1] == pytest.approx(pressure, abs=0.1)
        assert pressure == pytest.approx(derivative, abs=max(0.01 * abs(derivative), 0.1))
        assert task.vasp_version == STAND_IN_VERSION
        # what pymatgen calls the energy is the one extrapolated to zero smearing
        n_sites = len(structure)
        assert task.output.energy == pytest.approx(energy + n_sites * ENTROPY / 2, abs=1e-6)
    assert document.energies[4] < document.energies[0]
    assert document.structure == tasks[3].structure


@pytest.mark.parametrize("name", CRYSTALS)
def test_pressure_and_forces_are_derivatives_of_the_energy(name, tmp_path):
    """Away from equilibrium, where they are not small."""
    calculator = calculator_of(name)
    structure = CRYSTALS[name].copy()
    structure.perturb(0.05, seed=0)
    structure.scale_lattice(0.94 * structure.volume)
    write_inputs(tmp_path, structure, NSW=0, IBRION=-1)
    assert run_stand_in(tmp_path, calculator).returncode == 0
    (step,) = Vasprun(tmp_path / "vasprun.xml").ionic_steps
    atoms = AseAtomsAdaptor.get_atoms(step["structure"])
    atoms.calc = load_calculator(calculator)
    pressure = np.trace(step["stress"]) / 3
    assert abs(pressure) > 10
    assert pressure == pytest.approx(minus_de_dv(atoms), rel=0.01)
    moved = atoms.copy()
    moved.calc = atoms.calc
    energies = []
    for sign in (-1, 1):
        moved.positions[0] = atoms.positions[0] + sign * 1e-4 * np.array([1, 2, 3])
        energies.append(moved.get_potential_energy())
    along = np.dot(step["forces"][0], [1, 2, 3])
    assert -(energies[1] - energies[0]) / 2e-4 == pytest.approx(along, abs=1e-4)
    assert Outcar(tmp_path / "OUTCAR").data is not None
    text = (tmp_path / "OUTCAR").read_text()
    assert f"external pressure = {pressure:11.2f} kB" in text


def test_the_pair_potential_by_a_plain_loop():
    from ase.data import covalent_radii

    from crystens_flows.testing.calculators import ANION_GAP, ANIONS, STEEPNESS, WELL_DEPTHS

    structure = BADDELEYITE.copy()
    structure.perturb(0.1, seed=0)

    def morse(distance, minimum, depth):
        return depth * ((1 - np.exp(-STEEPNESS * (distance / minimum - 1))) ** 2 - 1)

    total = 0.0
    for site in structure:
        for other in structure.get_neighbors(site, 12.0):
            numbers = (site.specie.Z, other.specie.Z)
            n_anions = sum(z in ANIONS for z in numbers)
            minimum = sum(covalent_radii[z] for z in numbers) + ANION_GAP * (n_anions == 2)
            end, depth = 2 * minimum, WELL_DEPTHS[n_anions]
            if other.nn_distance < end:
                slope = (morse(end + 1e-6, minimum, depth) - morse(end - 1e-6, minimum, depth)) / (
                    2e-6
                )
                total += morse(other.nn_distance, minimum, depth) - morse(end, minimum, depth)
                total -= slope * (other.nn_distance - end)
    energy, _, _ = evaluated(structure, "pair")
    assert energy == pytest.approx(total / 2, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_the_neighbours_are_those_of_ase(seed):
    """In cells of any shape, with atoms in any cell, small ones too."""
    from ase import Atoms
    from ase.neighborlist import neighbor_list

    from crystens_flows.testing.calculators import _neighbors

    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    cell = rng.normal(size=(3, 3)) + np.diag([3, 3, 3]) * rng.uniform(0.5, 1.5)
    atoms = Atoms(
        rng.integers(1, 95, n), scaled_positions=rng.uniform(-2, 3, (n, 3)), cell=cell, pbc=True
    )
    cutoffs = rng.uniform(0.5, 3.5, n)
    expected = neighbor_list("ijd", atoms, cutoffs)
    first, second, vectors, distances = _neighbors(atoms, cutoffs)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(distances)
    pairs = sorted(zip(first.tolist(), second.tolist(), np.round(distances, 8), strict=True))
    assert len(pairs) == len(expected[0])
    for (i, j, d), (k, m, e) in zip(pairs, sorted(zip(*expected, strict=True)), strict=True):
        assert (i, j) == (k, m)
        assert d == pytest.approx(e)


def test_atoms_in_one_place(tmp_path):
    structure = Structure(ROCK_SALT.lattice, ["Na", "Cl"], [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    write_inputs(tmp_path, structure)
    finished = run_stand_in(tmp_path)
    assert finished.returncode == 1
    assert "not finite at ionic step 1" in finished.stderr


def test_a_poscar_as_others_write_it(tmp_path):
    """Cartesian, scaled, with a volume, in symbols that repeat: as ASE and pymatgen read them."""
    from ase.io import read

    from crystens_flows.testing.inputs import read_inputs

    write_inputs(tmp_path, ROCK_SALT)
    poscar = tmp_path / "POSCAR"
    vectors = "0.0 2.8 2.8\n2.8 0.0 2.8\n2.8 2.8 0.1\n"
    for text in (
        f"a comment\n1.1\n{vectors}Na Cl\n1 1\nCartesian\n0 0 0\n2.8 2.9 3.0\n",
        f"\n-50.0\n{vectors}Na Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.4\n",
        f"x\n1.0\n{vectors}Na Cl\n1 1\nSelective\nDirect\n0 0 0 T T F\n0.5 0.5 0.4 F F F\n",
        f"x\n1.0\n{vectors}Na Cl\n1 1\nkartesian\n0 0 0 Na\n2.8 2.9 3.0 Cl\n",
    ):
        poscar.write_text(text)
        atoms = read_inputs(tmp_path).atoms
        expected = Structure.from_file(poscar)
        assert atoms.cell[:] == pytest.approx(expected.lattice.matrix)
        assert atoms.positions == pytest.approx(expected.cart_coords)
        assert atoms.get_chemical_symbols() == [site.specie.symbol for site in expected]
        left = []
        for each in (atoms, read(poscar, format="vasp")):
            forces = np.array([[1.0, 2, 3], [4, 5, 6]])
            for constraint in each.constraints:
                constraint.adjust_forces(each, forces)
            left.append(forces)
        assert left[0] == pytest.approx(left[1])


def test_all_files_say_the_same(tmp_path):
    write_inputs(tmp_path, PEROVSKITE, NSW=7)
    finished = start_stand_in(tmp_path)
    assert finished.returncode == 0, finished.stderr
    run = Vasprun(tmp_path / "vasprun.xml")
    oszicar = Oszicar(tmp_path / "OSZICAR")
    outcar = Outcar(tmp_path / "OUTCAR")
    frames = Xdatcar(tmp_path / "XDATCAR").structures
    end = Structure.from_file(tmp_path / "CONTCAR")
    start = Structure.from_file(tmp_path / "POSCAR")
    assert len(run.ionic_steps) == len(oszicar.ionic_steps) == len(frames) == 7
    n_sites = len(start)
    for step, line, frame in zip(run.ionic_steps, oszicar.ionic_steps, frames, strict=True):
        assert step["e_fr_energy"] == pytest.approx(line["F"], abs=1e-6)
        assert step["e_0_energy"] == pytest.approx(line["E0"], abs=1e-6)
        assert step["e_0_energy"] - step["e_fr_energy"] == pytest.approx(n_sites * ENTROPY / 2)
        assert step["e_wo_entrp"] - step["e_fr_energy"] == pytest.approx(n_sites * ENTROPY)
        assert_same(step["structure"], frame)
        assert len(step["electronic_steps"]) < run.parameters["NELM"]
    assert_same(run.ionic_steps[0]["structure"], start)
    assert_same(run.ionic_steps[-1]["structure"], end)
    assert_same(run.final_structure, end)
    assert run.final_energy == pytest.approx(run.ionic_steps[-1]["e_0_energy"])
    assert outcar.final_energy == pytest.approx(run.final_energy)
    assert outcar.drift[-1] == pytest.approx([0, 0, 0], abs=1e-6)
    assert run.vasp_version == STAND_IN_VERSION
    for text in ((tmp_path / "OUTCAR").read_text(), finished.stdout):
        assert STAND_IN_VERSION in text.splitlines()[0]
        assert "not VASP" in text.splitlines()[0]


def assert_same(one: Structure, other: Structure) -> None:
    assert one.species == other.species
    assert one.lattice.matrix == pytest.approx(other.lattice.matrix, abs=1e-7)
    change = one.frac_coords - other.frac_coords
    assert change - np.round(change) == pytest.approx(np.zeros_like(change), abs=1e-7)


def test_tags_and_mesh_are_kept(tmp_path):
    tags = {"MAGMOM": [0.6, 0.6], "LDAU": True, "LDAUU": [2, 0], "LREAL": "Auto", "ISPIN": 2}
    write_inputs(tmp_path, ROCK_SALT, NSW=3, POTIM=0.1, **tags)
    assert run_stand_in(tmp_path).returncode == 0
    run = Vasprun(tmp_path / "vasprun.xml")
    assert run.incar["MAGMOM"] == [0.6, 0.6]
    assert run.incar["LDAU"] is True
    assert (run.incar["ENCUT"], run.parameters["ENMAX"]) == (400, 400)
    assert run.incar["POTIM"] == run.parameters["POTIM"] == 0.1
    assert run.parameters["NSW"] == 3
    assert run.is_spin
    # 2 x 2 x 2 with Gamma in a face-centred lattice: Gamma, L and X
    assert sorted(np.round(run.actual_kpoints_weights, 6)) == [0.125, 0.375, 0.5]
    gap, low, high, _ = run.eigenvalue_band_properties
    assert (gap, low, high) == (1.0, 1.0, 0.0)
    assert run.parameters["NELECT"] == 8


def test_the_mesh_of_a_spacing(tmp_path):
    write_inputs(tmp_path, ROCK_SALT, NSW=0, IBRION=-1, KSPACING=0.4)
    (tmp_path / "KPOINTS").unlink()
    assert run_stand_in(tmp_path).returncode == 0
    lengths = ROCK_SALT.lattice.reciprocal_lattice.abc
    expected = tuple(int(np.ceil(length / 0.4)) for length in lengths)
    assert tuple(Vasprun(tmp_path / "vasprun.xml").kpoints.kpts[0]) == expected


@pytest.mark.parametrize(
    ("isif", "volume", "shape", "ions"),
    [
        (2, False, False, True),
        (3, True, True, True),
        (4, False, True, True),
        (5, False, True, False),
        (6, True, True, False),
        (7, True, False, False),
    ],
)
def test_isif_says_what_moves(isif, volume, shape, ions, tmp_path):
    structure = BADDELEYITE.copy()
    structure.scale_lattice(0.93 * structure.volume)
    write_inputs(tmp_path, structure, ISIF=isif, NSW=9)
    assert run_stand_in(tmp_path).returncode == 0
    steps = Vasprun(tmp_path / "vasprun.xml").ionic_steps
    before, after = steps[0]["structure"], steps[-1]["structure"]
    assert steps[-1]["e_fr_energy"] < steps[0]["e_fr_energy"] - 0.01
    assert (abs(after.volume / before.volume - 1) > 1e-4) == volume
    scaled = after.lattice.scale(before.volume).matrix
    assert (np.abs(scaled - before.lattice.matrix).max() > 1e-3) == shape
    assert (np.abs(after.frac_coords - before.frac_coords).max() > 1e-4) == ions


@pytest.mark.parametrize("ediffg", [1e-3, 1e-6, -0.05, -0.005])
def test_ediffg_says_when_it_ends(ediffg, tmp_path):
    write_inputs(tmp_path, BADDELEYITE, EDIFFG=ediffg, NSW=300)
    finished = run_stand_in(tmp_path)
    assert "reached required accuracy" in finished.stdout
    run = Vasprun(tmp_path / "vasprun.xml")
    assert run.converged_ionic
    energies = [step["e_fr_energy"] for step in run.ionic_steps]
    assert energies[-1] == min(energies)
    if ediffg < 0:
        largest = max(np.linalg.norm(step["forces"], axis=1).max() for step in run.ionic_steps[:-1])
        assert largest > -ediffg
        assert np.linalg.norm(run.ionic_steps[-1]["forces"], axis=1).max() < -ediffg
    else:
        # from where it ended, the same criterion lets little go on
        again = tmp_path / "again"
        write_inputs(again, run.final_structure, EDIFFG=ediffg, NSW=300)
        run_stand_in(again)
        further = Vasprun(again / "vasprun.xml").ionic_steps
        assert energies[-1] - further[-1]["e_fr_energy"] < 20 * ediffg
        assert len(further) < len(energies)


def test_nsw_used_up(tmp_path):
    write_inputs(tmp_path, PEROVSKITE, NSW=5)
    finished = run_stand_in(tmp_path)
    assert finished.returncode == 0
    assert "reached required accuracy" not in finished.stdout
    run = Vasprun(tmp_path / "vasprun.xml")
    assert len(run.ionic_steps) == 5
    assert not run.converged_ionic
    assert run.converged_electronic


def test_selective_dynamics(tmp_path):
    write_inputs(tmp_path, PEROVSKITE, ISIF=2, NSW=9)
    from pymatgen.io.vasp import Poscar

    held = [[i > 3] * 3 for i in range(len(PEROVSKITE))]
    poscar = Poscar(PEROVSKITE.get_sorted_structure(), selective_dynamics=held)
    poscar.write_file(tmp_path / "POSCAR")
    assert run_stand_in(tmp_path).returncode == 0
    steps = Vasprun(tmp_path / "vasprun.xml").ionic_steps
    moved = np.abs(steps[-1]["structure"].frac_coords - steps[0]["structure"].frac_coords)
    assert moved[:4].max() < 1e-9
    assert moved[4:].max() > 1e-4


WRONG = {
    "no POSCAR": (lambda f: (f / "POSCAR").unlink(), "POSCAR is missing"),
    "half a POSCAR": (lambda f: os.truncate(f / "POSCAR", 120), "POSCAR: cannot be read"),
    "no INCAR": (lambda f: (f / "INCAR").unlink(), "INCAR is missing"),
    "a line that is no tag": (
        lambda f: (f / "INCAR").write_text("ENCUT = 400\nEDIF\n"),
        "INCAR: cannot read the line 'EDIF'",
    ),
    "a value that is no number": (
        lambda f: (f / "INCAR").write_text("NSW = many"),
        "INCAR: NSW = 'many' is no number",
    ),
    "molecular dynamics": (lambda f: (f / "INCAR").write_text("IBRION = 0\nNSW = 9"), "IBRION = 0"),
    "bytes": (lambda f: (f / "INCAR").write_bytes(b"\xff\xfe\x00"), "INCAR is no text"),
    "KPOINTS of another kind": (
        lambda f: (f / "KPOINTS").write_text("line\n10\nLine-mode\nrec\n0 0 0 G\n"),
        "KPOINTS: ",
    ),
    "no POTCAR": (lambda f: (f / "POTCAR").unlink(), "POTCAR is missing"),
    "an empty POTCAR": (
        lambda f: (f / "POTCAR").write_text(""),
        "POTCAR has potentials of nothing",
    ),
    "half a POTCAR": (
        lambda f: (f / "POTCAR").write_text((f / "POTCAR").read_text().replace("ZVAL", "")),
        "POTCAR: potential 1 has no ZVAL",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_inputs_end_with_a_status_and_a_message(name, tmp_path):
    change, message = WRONG[name]
    write_inputs(tmp_path, ROCK_SALT)
    change(tmp_path)
    finished = run_stand_in(tmp_path)
    assert finished.returncode == 1
    assert message in finished.stdout
    assert message in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
    assert not (tmp_path / "vasprun.xml").exists()


def test_a_potcar_of_other_elements(tmp_path):
    write_inputs(tmp_path, ROCK_SALT)
    write_inputs(tmp_path / "other", GOLD_COPPER)
    (tmp_path / "POTCAR").write_text((tmp_path / "other" / "POTCAR").read_text())
    finished = start_stand_in(tmp_path)
    assert finished.returncode == 1
    assert "POTCAR has potentials of Cu Au, POSCAR has atoms of Na Cl" in finished.stdout


def test_no_such_calculator(tmp_path):
    write_inputs(tmp_path, ROCK_SALT)
    for name in ("nothing", "os.nothing", "no.such.module"):
        finished = run_stand_in(tmp_path, name)
        assert finished.returncode == 1
        assert f"no calculator is called '{name}'" in finished.stderr


def test_a_calculator_by_path_and_by_the_environment(tmp_path, monkeypatch):
    write_inputs(tmp_path, GOLD_COPPER, NSW=0, IBRION=-1)
    run_stand_in(tmp_path, "emt")
    expected = Vasprun(tmp_path / "vasprun.xml").final_energy
    run_stand_in(tmp_path, "ase.calculators.emt.EMT")
    assert Vasprun(tmp_path / "vasprun.xml").final_energy == expected
    monkeypatch.setenv("CRYSTENS_STAND_IN_CALCULATOR", "emt")
    assert "--calculator" not in stand_in_command()
    run_stand_in(tmp_path, None)
    assert Vasprun(tmp_path / "vasprun.xml").final_energy == expected


@pytest.mark.slow
def test_chgnet_by_an_independent_calculation(tmp_path):
    dynamics = pytest.importorskip("chgnet.model.dynamics", reason="the calculator is CHGNet")
    write_inputs(tmp_path, PEROVSKITE, NSW=3)
    assert run_stand_in(tmp_path, "chgnet").returncode == 0
    for step in Vasprun(tmp_path / "vasprun.xml").ionic_steps:
        atoms = AseAtomsAdaptor.get_atoms(step["structure"])
        atoms.calc = dynamics.CHGNetCalculator(use_device="cpu")
        assert step["e_fr_energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-4)


def test_killed_in_the_middle(tmp_path):
    write_inputs(tmp_path, PEROVSKITE)
    finished = start_stand_in(tmp_path, kill_after=3)
    assert finished.returncode == -signal.SIGKILL
    assert len(Oszicar(tmp_path / "OSZICAR").ionic_steps) == 3
    assert not (tmp_path / "vasprun.xml").read_text().endswith("</modeling>\n")
    assert "General timing" not in (tmp_path / "OUTCAR").read_text()
    assert Structure.from_file(tmp_path / "CONTCAR").species


def test_no_room_to_write(tmp_path):
    write_inputs(tmp_path, PEROVSKITE)
    finished = start_stand_in(tmp_path, max_file_size=20_000)
    assert finished.returncode == 1
    assert "File too large" in finished.stderr
    assert (tmp_path / "vasprun.xml").stat().st_size <= 20_000


def test_half_a_contcar(tmp_path):
    write_inputs(tmp_path, ROCK_SALT, NSW=3)
    assert start_stand_in(tmp_path, cut_contcar=True).returncode == 0
    with pytest.raises((ValueError, IndexError)):
        Structure.from_file(tmp_path / "CONTCAR")


def test_calls_are_counted(tmp_path):
    calls = tmp_path / "calls"
    for name in ("a", "b", "a"):
        write_inputs(tmp_path / name, ROCK_SALT, NSW=1)
        start_stand_in(tmp_path / name, calls=calls)
    assert calls.read_text().splitlines() == [str(tmp_path / name) for name in "aba"]


def test_the_materials_projects_settings(tmp_path):
    """Spin, magnetic moments, POTCARs of the functional PBE, and all of atomate2's handlers."""
    jobs = pytest.importorskip("atomate2.vasp.jobs.mp", reason="the settings are atomate2's")
    job = maker_with("pair", jobs.MPGGARelaxMaker()).make(ROCK_SALT)
    task = job.output.resolve(run_flow(job, tmp_path))
    assert task.state == "successful"
    assert task.input.parameters["ISPIN"] == 2
    assert [each.titel for each in task.input.potcar_spec] == [
        "PAW_PBE Na_pv 01Jan2000",
        "PAW_PBE Cl 01Jan2000",
    ]
    assert task.vasp_version == STAND_IN_VERSION
    energy, _, _ = evaluated(task.structure, "pair")
    assert task.output.energy == pytest.approx(energy + ENTROPY, abs=1e-6)
    assert task.custodian[0].corrections == []

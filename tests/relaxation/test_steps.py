from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from monty.json import MontyEncoder
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.relaxation import read_step, summarise_relaxation
from crystens_flows.testing import ENTROPY, STAND_IN_VERSION, stand_in_environment
from stand_in_runs import PEROVSKITE, run_stand_in, write_inputs

STRESS = [[30.0, 1.0, 0.0], [1.0, 60.0, 0.0], [0.0, 0.0, 90.0]]  # kbar, trace / 3 = 60


@pytest.fixture(scope="module")
def compressed():
    """Caesium chloride, 3 % too small."""
    return Structure(Lattice.cubic(4.0), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.52]])


@pytest.fixture(scope="module")
def chgnet_document(compressed, tmp_path_factory):
    from atomate2.forcefields.jobs import ForceFieldRelaxMaker

    maker = ForceFieldRelaxMaker(
        force_field_name="CHGNet", steps=3, relax_kwargs={"fmax": 0.05}, ionic_step_data=("energy",)
    )
    folder = tmp_path_factory.mktemp("relax")
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        return maker.make.original(maker, compressed)


def energy_and_pressure(structure):
    """Ask CHGNet through ASE, without atomate2."""
    from ase.units import GPa
    from chgnet.model.dynamics import CHGNetCalculator
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = AseAtomsAdaptor.get_atoms(structure)
    with contextlib.redirect_stdout(io.StringIO()):
        atoms.calc = CHGNetCalculator()
    stress = atoms.get_stress(voigt=False)  # eV/A^3, positive = expanded
    return atoms.get_potential_energy(), -np.trace(stress) / 3 / GPa * 10


def test_equals_chgnet_asked_directly(chgnet_document, compressed):
    step = read_step(chgnet_document)
    assert step.n_ionic_steps == len(chgnet_document.output.ionic_steps)
    first, pressure_before = energy_and_pressure(compressed)
    last, pressure_after = energy_and_pressure(step.structure)
    assert step.initial_energy == pytest.approx(first, abs=1e-4)
    assert step.energy == pytest.approx(last, abs=1e-4)
    assert step.pressure == pytest.approx(pressure_after, abs=0.05)
    assert step.energy < step.initial_energy - 0.01
    assert pressure_before > 10  # positive = compressed
    assert step.converged is False  # 3 steps are not enough
    assert step.engine == "CHGNet"
    assert step.dir_name == chgnet_document.dir_name


def test_dictionaries_read_like_objects(chgnet_document):
    as_dict = json.loads(json.dumps(chgnet_document, cls=MontyEncoder))
    assert read_step(as_dict) == read_step(chgnet_document)


def vasp_document(structure, energies, *, state="successful", corrections=(), **steps):
    """Make emmet's document with the fields that matter; VASP itself is not needed to read it."""
    from emmet.core.tasks import CustodianDoc, OutputDoc, TaskDoc
    from emmet.core.vasp.calculation import Calculation, CalculationOutput, IonicStep

    ionic_steps = [
        IonicStep(e_fr_energy=e, e_0_energy=e + 0.25, e_wo_entrp=e + 0.5, stress=STRESS, **steps)
        for e in energies
    ]
    parts = {
        Calculation: {"output", "vasp_version"},
        CalculationOutput: {"ionic_steps"},
        OutputDoc: {"energy", "stress"},
        TaskDoc: {"calcs_reversed", "output", "structure", "state", "dir_name", "custodian"},
        CustodianDoc: {"corrections"},
    }
    for model, fields in parts.items():
        assert fields <= set(model.model_fields), model
    calculation = Calculation.model_construct(
        vasp_version="6.4.2", output=CalculationOutput.model_construct(ionic_steps=ionic_steps)
    )
    return TaskDoc.model_construct(
        calcs_reversed=[calculation],
        output=OutputDoc.model_construct(energy=energies[-1] + 0.25, stress=STRESS),
        structure=structure,
        state=state,
        dir_name="host:/scratch/1",
        custodian=[CustodianDoc.model_construct(corrections=list(corrections))],
    )


def test_vasp_energies_are_free_energies(compressed):
    step = read_step(vasp_document(compressed, [-1.0, -2.0, -3.0]))
    assert (step.initial_energy, step.energy, step.pressure) == (-1.0, -3.0, 60.0)
    assert (step.initial_energy_zero_sigma, step.energy_zero_sigma) == (-0.75, -2.75)
    assert (step.converged, step.engine, step.n_ionic_steps) == (True, "VASP 6.4.2", 3)
    assert (step.corrections, step.method, step.stand_in) == ([], {}, False)
    assert step.structure == compressed


def test_zero_smearing_comes_from_the_last_electronic_step(compressed):
    """As VASP writes it: of an ionic step the free energy is right, the other one is not."""
    electronic = [
        {"e_fr_energy": -3.70, "e_wo_entrp": -3.60, "e_0_energy": -3.65},
        {"e_fr_energy": -3.74557583, "e_wo_entrp": -3.74117583, "e_0_energy": -3.74337583},
    ]
    document = vasp_document(compressed, [-3.74557583, -4.0], electronic_steps=electronic)
    step = read_step(document)
    assert step.initial_energy == -3.74557583
    assert step.initial_energy_zero_sigma == pytest.approx(-3.74337583, abs=1e-9)
    assert step.energy_zero_sigma == pytest.approx(-3.9978, abs=1e-9)


COPY = {"file": "CONTCAR", "action": {"_file_copy": {"dest": "POSCAR"}}}
DELETE = {"file": "WAVECAR", "action": {"_file_delete": {"mode": "actual"}}}
POTIM = {"dict": "INCAR", "action": {"_set": {"POTIM": 0.25, "NELMIN": 8}}}
MESH = {"dict": "KPOINTS", "action": {"_set": {"generation_style": "Gamma"}}}
NPAR = {"dict": "INCAR", "action": {"_unset": {"NPAR": 1}}}
CELL = {"dict": "POSCAR", "action": {"_set": {"structure": {"lattice": 1}}}}
HANDLER = {"@module": "custodian.vasp.handlers", "@class": "VaspErrorHandler"}


@pytest.mark.parametrize(
    ("actions", "told", "kept"),
    [
        ([POTIM, NPAR], "INCAR POTIM = 0.25, NELMIN = 8; INCAR without NPAR", True),
        ([DELETE, POTIM], "WAVECAR deleted; INCAR POTIM = 0.25, NELMIN = 8", True),
        ([COPY, POTIM], "CONTCAR copied to POSCAR; INCAR POTIM = 0.25, NELMIN = 8", False),
        ([MESH], "KPOINTS generation_style = Gamma", False),
        ([CELL], "POSCAR changed", False),
        (None, "nothing done", True),
    ],
)
def test_corrections(compressed, actions, told, kept):
    first = {"errors": ["zbrent", "brmix"], "actions": actions, "handler": HANDLER}
    document = vasp_document(compressed, [-1.0, -2.0], corrections=[first])
    step = read_step(document)
    assert step.corrections == [f"VaspErrorHandler: zbrent, brmix: {told}"]
    assert (step.initial_energy, step.energy) == (-1.0 if kept else None, -2.0)
    # some stores keep them as a string
    document.custodian[0].corrections = json.dumps([first])
    assert read_step(document) == step


def test_vasp_not_converged_or_corrected(compressed):
    assert read_step(vasp_document(compressed, [-1.0], state="failed")).converged is False
    corrected = read_step(
        vasp_document(compressed, [-1.0, -2.0], corrections=[{"errors": ["zbrent"]}])
    )
    assert (corrected.initial_energy, corrected.energy) == (None, -2.0)


@pytest.fixture(scope="module")
def vasp_task(tmp_path_factory):
    """A document that atomate2 makes of the stand-in's files."""
    base = pytest.importorskip("atomate2.vasp.jobs.base", reason="needs the extra vasp")
    folder = tmp_path_factory.mktemp("vasp")
    with stand_in_environment(tmp_path_factory.mktemp("potcars")):
        tags = {"LDAU": True, "LDAUU": [0, 3.7, 0], "LDAUL": [-1, 2, -1], "LDAUJ": [0, 0, 0]}
        write_inputs(folder, PEROVSKITE, NSW=3, ISMEAR=-5, SIGMA=0.05, ENCUT=520, **tags)
        assert run_stand_in(folder).returncode == 0
    return base.get_vasp_task_document(folder)


def test_what_vasp_computed_with(vasp_task):
    step = read_step(vasp_task)
    assert step.method == {
        "functional": "PBEsol+U",
        "cutoff": 520.0,
        "kpoints": [2, 2, 2],
        "gamma_centred": True,
        "smearing": "ISMEAR = -5, 0.05 eV",
        "hubbard_u": {"Ca": 0, "Ti": 3.7, "O": 0},
        "potcars": [f"PAW_PBE {label} 01Jan2000" for label in ("Ca", "Ti", "O")],
    }
    assert step.stand_in
    assert step.engine == f"VASP {STAND_IN_VERSION}"
    assert (step.n_ionic_steps, step.converged) == (3, False)
    entropy = ENTROPY * len(PEROVSKITE) / 2
    assert step.initial_energy_zero_sigma == pytest.approx(step.initial_energy + entropy)
    assert step.energy_zero_sigma == pytest.approx(step.energy + entropy)
    assert step.energy_zero_sigma == pytest.approx(vasp_task.output.energy)  # by pymatgen


def test_vasp_dictionaries_read_like_objects(vasp_task):
    as_dict = json.loads(json.dumps(vasp_task, cls=MontyEncoder))
    assert read_step(as_dict) == read_step(vasp_task)
    again = type(vasp_task)(**as_dict)
    assert read_step(again) == read_step(vasp_task)


def test_all_runs_count(vasp_task):
    """As with several calculations in one folder; the newest comes first."""
    other = vasp_task.calcs_reversed[0].model_copy(deep=True)
    other.output.ionic_steps = other.output.ionic_steps[:2]
    other.output.ionic_steps[0].e_fr_energy = -1.5
    both = vasp_task.model_copy(update={"calcs_reversed": [*vasp_task.calcs_reversed, other]})
    step = read_step(both)
    assert step.n_ionic_steps == 5
    assert step.initial_energy == -1.5
    assert step.energy == read_step(vasp_task).energy


def test_other_documents_are_refused():
    with pytest.raises(InputError, match="cannot read a relaxation from dict"):
        read_step({"energy": 1.0})


def test_four_steps(compressed):
    paths = [[-1.0, -2.0], [-2.1, -2.5], [-2.5, -2.6], [-2.6, -2.65]]
    documents = [vasp_document(compressed, path) for path in paths]
    documents[1].state = "failed"
    summary = summarise_relaxation(documents, "c-1", ["a", "b", "c", "d"])
    assert summary.energies == [-1.0, -2.0, -2.5, -2.6, -2.65]
    assert summary.pressures == [60.0] * 4
    assert summary.converged == [True, False, True, True]
    assert (summary.completed_steps, summary.reason) == (4, None)
    assert (summary.energy, summary.n_sites) == (-2.65, 2)
    assert (summary.candidate_id, summary.step_uuids) == ("c-1", ["a", "b", "c", "d"])
    assert summary.dir_name == "host:/scratch/1"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda _: None, "relaxation failed: step 3 of 4"),
        (
            lambda document: vasp_document(document.structure, [-1.0, np.inf]),
            "relaxation diverged: step 3 of 4",
        ),
    ],
)
def test_a_step_that_failed_ends_it(compressed, spoil, reason):
    documents = [vasp_document(compressed, [-1.0 * k, -1.5 * k]) for k in (1, 2, 3, 4)]
    documents[2] = spoil(documents[2])
    summary = summarise_relaxation(documents)
    assert summary.energies == [-1.0, -1.5, -3.0, None, None]
    assert summary.pressures == [60.0, 60.0, None, None]
    assert (summary.energy, summary.completed_steps) == (-3.0, 2)
    assert summary.reason.startswith(reason)


def test_a_step_may_say_why_it_failed(compressed):
    documents = [
        {"structure": compressed, "output": {"energy": -1.0, "n_steps": 7}, "method": {"k": 3}},
        {"structure": None, "output": None, "reason": "no self-consistency", "state": "failed"},
        None,
        None,
    ]
    step = read_step(documents[0])
    assert (step.n_ionic_steps, step.method, step.failure) == (7, {"k": 3}, None)
    summary = summarise_relaxation(documents)
    assert summary.reason == "relaxation failed: step 2 of 4, no self-consistency"
    assert summary.completed_steps == 1


def test_nothing_at_all():
    summary = summarise_relaxation([None] * 4)
    assert summary.energies == [None] * 5
    assert (summary.structure, summary.energy, summary.completed_steps) == (None, None, 0)
    assert summary.reason == "relaxation failed: step 1 of 4"
    with pytest.raises(InputError, match="3 relaxations given"):
        summarise_relaxation([None] * 3)

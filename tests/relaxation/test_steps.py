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


def vasp_document(structure, energies, *, state="successful", corrections=()):
    """Make emmet's document with the fields that matter; VASP itself is not needed to read it."""
    from emmet.core.tasks import CustodianDoc, OutputDoc, TaskDoc
    from emmet.core.vasp.calculation import Calculation, CalculationOutput, IonicStep

    steps = [
        IonicStep(e_fr_energy=e, e_0_energy=e + 0.25, e_wo_entrp=e + 0.5, stress=STRESS)
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
        vasp_version="6.4.2", output=CalculationOutput.model_construct(ionic_steps=steps)
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
    assert (step.converged, step.engine) == (True, "VASP 6.4.2")
    assert step.structure == compressed


def test_vasp_not_converged_or_corrected(compressed):
    assert read_step(vasp_document(compressed, [-1.0], state="failed")).converged is False
    corrected = read_step(
        vasp_document(compressed, [-1.0, -2.0], corrections=[{"errors": ["zbrent"]}])
    )
    assert (corrected.initial_energy, corrected.energy) == (None, -2.0)


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

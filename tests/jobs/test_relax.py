from __future__ import annotations

import contextlib
import io
from itertools import pairwise

import pytest
from jobflow import Flow, JobStore, OnMissing, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, jsanitize
from pymatgen.core import Lattice, Structure

from crystens_flows.jobs import QuadrupleRelaxMaker

NAMES = [f"crystens relax {k}" for k in (1, 2, 3, 4)]


def fcc(element="Al", a=3.9):
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, [element], [[0, 0, 0]])


def run(flow, folder):
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        run_locally(flow, store=store, log=False, create_folders=True)
    return store


@pytest.fixture(scope="module")
def emt():
    """An ASE calculator for a few metals; for other elements it raises."""
    from atomate2.ase.jobs import EmtRelaxMaker

    return QuadrupleRelaxMaker.from_relax_maker(EmtRelaxMaker(steps=5))


def test_default_relaxes_with_chgnet(tmp_path):
    flow = QuadrupleRelaxMaker().make(fcc("Cu", 3.5), candidate_id="c-1")
    assert [job.name for job in flow.jobs] == [*NAMES, "crystens relax summary"]
    for job in flow.jobs[:4]:
        job.maker.steps = 3
    store = run(flow, tmp_path)
    document = flow.output.resolve(store)
    assert (document.candidate_id, document.engine, document.reason) == ("c-1", "CHGNet", None)
    assert (document.completed_steps, document.n_sites) == (4, 1)
    assert len(document.energies) == 5
    assert document.energies[0] > document.energies[1] >= document.energies[4]
    assert document.energy == document.energies[4]
    assert len(document.pressures) == len(document.converged) == 4
    assert document.step_uuids == [job.uuid for job in flow.jobs[:4]]
    for job, energy in zip(flow.jobs[:4], document.energies[1:], strict=True):
        task = job.output.resolve(store)  # the steps keep atomate2's documents
        assert task.output.energy == energy
        assert task.forcefield_name == "MLFF.CHGNet"


def test_each_step_starts_where_the_last_ended(emt, tmp_path):
    flow = emt.make(fcc())
    store = run(flow, tmp_path)
    tasks = [job.output.resolve(store) for job in flow.jobs[:4]]
    for before, after in pairwise(tasks):
        assert after.input.mol_or_struct.lattice == before.structure.lattice
        assert after.output.ionic_steps[0].energy == pytest.approx(before.output.energy, abs=1e-9)
    document = flow.output.resolve(store)
    assert document.structure == tasks[3].structure
    assert document.dir_name == tasks[3].dir_name
    assert document.engine == "emt"


def test_a_step_that_fails_is_named(emt, tmp_path):
    flow = emt.make(fcc("Na", 4.0), candidate_id="c-2")  # EMT has no sodium
    store = run(flow, tmp_path)
    document = flow.output.resolve(store)
    assert document.reason == "relaxation failed: step 1 of 4"
    assert (document.completed_steps, document.structure) == (0, None)
    assert store.count({"name": {"$in": NAMES}}) == 0


def test_a_later_step_that_fails_leaves_the_earlier_ones(emt, tmp_path):
    from atomate2.forcefields.jobs import ForceFieldRelaxMaker

    broken = QuadrupleRelaxMaker.from_relax_maker(emt.relax_maker_1)
    broken.relax_maker_3 = ForceFieldRelaxMaker(
        force_field_name="CHGNet", calculator_kwargs={"use_device": "nowhere"}
    )
    flow = broken.make(fcc())
    document = flow.output.resolve(run(flow, tmp_path))
    assert document.reason == "relaxation failed: step 3 of 4"
    assert document.completed_steps == 2
    assert document.energies[:3] == sorted(document.energies[:3], reverse=True)
    assert document.energies[3:] == [None, None]
    assert document.energy == document.energies[2]


def test_no_job_waits_for_one_that_failed(emt):
    """A manager never starts a job whose parent failed, unless missing references are allowed."""
    flow = emt.make(fcc())
    for job, parents in flow.iterflow():
        allowed = job.config.on_missing_references == OnMissing.NONE
        assert allowed == bool(parents)


def test_powerups_reach_all_four_steps():
    from atomate2.vasp.jobs.core import RelaxMaker
    from atomate2.vasp.powerups import update_user_incar_settings, update_user_kpoints_settings

    maker = QuadrupleRelaxMaker.from_relax_maker(RelaxMaker())
    flow = update_user_incar_settings(maker.make(fcc()), {"ENCUT": 400})
    flow = update_user_incar_settings(flow, {"NSW": 7}, name_filter="crystens relax 2")
    flow = update_user_kpoints_settings(flow, {"reciprocal_density": 99})
    for number, job in enumerate(flow.jobs[:4], start=1):
        generator = job.maker.input_set_generator
        expected = {"ENCUT": 400, "NSW": 7} if number == 2 else {"ENCUT": 400}
        assert generator.user_incar_settings == expected
        assert generator.user_kpoints_settings == {"reciprocal_density": 99}
        incar = generator.get_input_set(fcc(), potcar_spec=True).incar
        assert incar["ENCUT"] == 400
        assert (incar["NSW"] == 7) == (number == 2)
    assert RelaxMaker().input_set_generator.user_incar_settings == {}


def test_stands_where_atomate2_wants_a_bulk_relaxation(emt, tmp_path):
    from atomate2.forcefields.flows.elastic import ElasticMaker

    flow = ElasticMaker(bulk_relax_maker=emt).make(fcc())
    names = [job.name for job, _ in flow.iterflow()]
    assert names[:5] == [*NAMES, "crystens relax summary"]
    relax = flow.jobs[0]
    document = relax.output.resolve(store := run(relax, tmp_path))
    assert relax.output.output.energy.resolve(store) == document.energies[4]
    assert relax.output.output.stress.resolve(store) == document.stress
    assert sum(document.stress[i][i] for i in range(3)) / 3 == pytest.approx(document.pressures[3])


def test_takes_a_previous_folder_and_survives_serialisation(emt):
    from atomate2.vasp.jobs.core import RelaxMaker

    maker = QuadrupleRelaxMaker.from_relax_maker(RelaxMaker())
    again = MontyDecoder().process_decoded(
        jsanitize(maker.as_dict(), strict=True, enum_values=True)
    )
    flow = again.make(fcc(), prev_dir="host:/earlier")
    assert flow.jobs[0].function_kwargs["prev_dir"] == "host:/earlier"
    assert flow.jobs[1].function_kwargs["prev_dir"] == flow.jobs[0].output.dir_name
    assert [job.name for job in flow.jobs[:4]] == NAMES
    assert isinstance(flow, Flow)
    default = MontyDecoder().process_decoded(QuadrupleRelaxMaker().as_dict())
    assert default.relax_maker_4.steps == QuadrupleRelaxMaker().relax_maker_4.steps

from __future__ import annotations

import contextlib
import io
import json
from itertools import pairwise

import pytest
from jobflow import Flow, JobStore, OnMissing, run_locally
from jobflow.core.reference import find_and_get_references
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, jsanitize
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.jobs import QuadrupleRelaxMaker
from crystens_flows.relaxation import summarise_relaxation
from crystens_flows.schemas import RelaxDocument

NAMES = [f"crystens relax {k}" for k in (1, 2, 3, 4)]


# far from its minimum, so that five ionic steps are not enough
DISTORTED = Structure(
    Lattice.from_parameters(3.6, 3.9, 4.1, 86, 92, 95),
    ["Au", "Cu", "Cu", "Cu"],
    [[0, 0, 0], [0.55, 0.5, 0], [0.5, 0.02, 0.46], [0, 0.5, 0.52]],
)


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


@pytest.fixture(scope="module")
def tight():
    """Relaxations of copper that end where the stress is gone."""
    from atomate2.ase.jobs import EmtRelaxMaker

    return QuadrupleRelaxMaker.from_relax_maker(EmtRelaxMaker(relax_kwargs={"fmax": 1e-4}))


def test_elastic_constants_of_what_relaxed(tight, tmp_path):
    """The whole flow of atomate2; the bulk modulus is that of an equation of state by ASE."""
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.eos import EquationOfState
    from atomate2.ase.jobs import EmtRelaxMaker
    from atomate2.forcefields.flows.elastic import ElasticMaker

    elastic = EmtRelaxMaker(relax_cell=False, relax_kwargs={"fmax": 1e-3})
    flow = ElasticMaker(bulk_relax_maker=tight, elastic_relax_maker=elastic).make(fcc("Cu", 3.7))
    document = flow.output.resolve(run(flow, tmp_path))
    volumes, energies = [], []
    for a in (3.56, 3.58, 3.60, 3.62):
        copper = bulk("Cu", "fcc", a=a)
        copper.calc = EMT()
        volumes.append(copper.get_volume())
        energies.append(copper.get_potential_energy())
    modulus = EquationOfState(volumes, energies).fit()[2] * 160.21766208
    assert document.derived_properties.k_vrh == pytest.approx(modulus, rel=0.02)


def test_phonons_of_what_relaxed(tight, tmp_path):
    pytest.importorskip("phonopy", reason="atomate2's phonons need phonopy, which is no extra here")
    from atomate2.ase.jobs import EmtRelaxMaker
    from atomate2.forcefields.flows.phonons import PhononMaker

    flow = PhononMaker(
        bulk_relax_maker=tight,
        static_energy_maker=None,
        born_maker=None,
        min_length=8.0,
        phonon_displacement_maker=EmtRelaxMaker(relax_cell=False, steps=1),
        store_force_constants=False,
        create_thermal_displacements=False,
    ).make(fcc("Cu", 3.7))
    store = run(flow, tmp_path)
    relaxed = next(job for job, _ in flow.iterflow() if job.name == "crystens relax summary")
    document = flow.output.resolve(store)
    volume = relaxed.output.resolve(store).structure.volume
    assert document.structure.volume == pytest.approx(volume)
    assert document.uuids.optimization_run_uuid == relaxed.uuid
    assert not document.has_imaginary_modes


def test_vasps_flows_of_atomate2_take_it_too():
    pytest.importorskip("atomate2.vasp.flows.elastic", reason="needs the extra vasp")
    from atomate2.vasp.flows.elastic import ElasticMaker
    from atomate2.vasp.powerups import update_user_incar_settings

    from crystens_flows.jobs.vasp import PaperRelaxMaker

    maker = ElasticMaker(bulk_relax_maker=QuadrupleRelaxMaker.from_relax_maker(PaperRelaxMaker()))
    flow = update_user_incar_settings(
        maker.make(fcc(), prev_dir="host:/earlier"), {"NCORE": 2}, name_filter="crystens relax"
    )
    jobs = [job for job, _ in flow.iterflow()]
    assert [job.name for job in jobs[:5]] == [*NAMES, "crystens relax summary"]
    for job in jobs[:4]:
        assert job.maker.input_set_generator.user_incar_settings == {"NCORE": 2}
    asked = {
        tuple(name for _, name in reference.attributes)
        for job in jobs[5:]
        for reference in find_and_get_references((*job.function_args, job.function_kwargs))
        if reference.uuid == jobs[4].uuid
    }
    assert asked == {("structure",), ("dir_name",), ("output", "stress")}


def told(document):
    """Return what must be the same, whether a relaxation was interrupted or not."""
    own = {"dir_name": True, "step_uuids": True, "steps": {"__all__": {"dir_name", "uuid"}}}
    return json.loads(document.model_dump_json(exclude=own))


@pytest.mark.parametrize("n_done", [1, 2, 3])
def test_goes_on_as_if_in_one_go(emt, n_done, tmp_path):
    flow = emt.make(DISTORTED, candidate_id="c-3")
    store = run(flow, tmp_path)
    whole = flow.output.resolve(store)
    tasks = [job.output.resolve(store) for job in flow.jobs[:n_done]]
    uuids = [job.uuid for job in flow.jobs[:4]]
    first = summarise_relaxation([*tasks, *[None] * (4 - n_done)], "c-3", uuids, DISTORTED)
    assert first.completed_steps == n_done
    first = RelaxDocument(**jsanitize(first.model_dump(), strict=True, allow_bson=True))

    flow = emt.make(DISTORTED, previous=first)
    assert [job.name for job in flow.jobs] == [*NAMES[n_done:], "crystens relax summary"]
    document = flow.output.resolve(run(flow, tmp_path))
    assert len(set(document.energies)) == 5  # each step did something
    assert told(document) == told(whole)
    assert document.step_uuids == [*uuids[:n_done], *(job.uuid for job in flow.jobs[:-1])]


def test_going_on_may_fail_again(emt, tmp_path):
    """What was known before is not lost."""
    flow = emt.make(DISTORTED)
    store = run(flow, tmp_path)
    tasks = [job.output.resolve(store) for job in flow.jobs[:2]]
    first = summarise_relaxation([*tasks, None, None], "c-3", ["a", "b", "c", "d"], DISTORTED)
    sodium = first.model_copy(update={"structure": fcc("Na", 4.0)})  # of which EMT knows nothing
    flow = emt.make(DISTORTED, previous=sodium)
    document = flow.output.resolve(run(flow, tmp_path))
    assert (document.completed_steps, document.reason) == (2, "relaxation failed: step 3 of 4")
    assert document.candidate_id == "c-3"
    assert document.energies == first.energies
    assert (document.energy, document.dir_name) == (first.energy, first.dir_name)
    assert document.steps == first.steps
    assert document.step_uuids == ["a", "b", *(job.uuid for job in flow.jobs[:2])]


def test_going_on_from_nothing_and_from_the_end(emt):
    nothing = summarise_relaxation([None] * 4, "c-4")
    flow = emt.make(fcc(), previous=nothing)
    assert [job.name for job in flow.jobs] == [*NAMES, "crystens relax summary"]
    assert flow.jobs[0].function_args[0] == fcc()
    done = nothing.model_copy(update={"completed_steps": 4})
    with pytest.raises(InputError, match="finished all steps: there is nothing to do"):
        emt.make(fcc(), previous=done)


def test_a_static_calculation_comes_last(emt, tmp_path):
    from atomate2.ase.jobs import EmtRelaxMaker

    maker = QuadrupleRelaxMaker.from_relax_maker(emt.relax_maker_1)
    flow = maker.make(fcc())
    reason = "emt: no static calculation with the Materials Project's settings"
    assert flow.output.resolve(run(flow, tmp_path)).hull == {"reason": reason}
    maker.static_maker = EmtRelaxMaker(relax_cell=False, steps=1)
    flow = maker.make(fcc())
    names = [job.name for job in flow.jobs]
    assert names == [*NAMES, "crystens relax static", "crystens relax summary"]
    store = run(flow, tmp_path)
    document = flow.output.resolve(store)
    last = flow.jobs[3].output.resolve(store)
    static = flow.jobs[4].output.resolve(store)
    assert static.input.mol_or_struct.lattice == last.structure.lattice
    assert document.energy == last.output.energy
    assert document.step_uuids == [job.uuid for job in flow.jobs[:4]]
    assert document.hull == {"reason": "it is no calculation of VASP"}
    flow = maker.make(fcc("Na", 4.0))  # EMT has no sodium
    document = flow.output.resolve(run(flow, tmp_path))
    assert document.hull == {"reason": "the relaxation did not finish"}


def test_files_of_entries_are_looked_for_at_once(emt, tmp_path):
    maker = QuadrupleRelaxMaker.from_relax_maker(emt.relax_maker_1)
    maker.hull_entries = "nowhere.json"
    with contextlib.chdir(tmp_path):
        with pytest.raises(InputError, match=f"no file of entries {tmp_path}/nowhere.json"):
            maker.make(fcc())
        (tmp_path / "nowhere.json").write_text("[]")
        flow = maker.make(fcc())
    assert flow.jobs[4].function_kwargs["hull_entries"] == str(tmp_path / "nowhere.json")


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

from __future__ import annotations

import contextlib
import io

import pytest
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore, MontyStore
from monty.json import MontyDecoder, jsanitize
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.jobs import BatchRelaxMaker, QuadrupleRelaxMaker
from crystens_flows.schemas import BatchRelaxDocument

EMT = "ase.calculators.emt.EMT"


def fcc(element, a):
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, [element], [[0, 0, 0]])


METALS = [fcc("Al", 3.9), fcc("Na", 4.8), fcc("Cu", 3.5), fcc("Ni", 3.6)]  # EMT has no sodium
IDS = ["c-1", "c-2", "c-3", "c-4"]


def memory_store():
    return JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})


def run(flow, folder, store=None):
    store = store or memory_store()
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        run_locally(flow, store=store, log=False, create_folders=True)
    return store


def test_equals_four_jobs_of_atomate2(tmp_path):
    atomate2 = pytest.importorskip("atomate2.ase.jobs", reason="the batch is held to its jobs")
    job = BatchRelaxMaker(calculator=EMT, steps=6, fmax=0.05).make(METALS, IDS)
    document = job.output.resolve(run(job, tmp_path))
    assert isinstance(document, BatchRelaxDocument)
    assert [each.candidate_id for each in document.relaxations] == IDS
    relax_maker = atomate2.EmtRelaxMaker(steps=6, relax_kwargs={"fmax": 0.05})
    for metal, ours in zip(METALS, document.relaxations, strict=True):
        flow = QuadrupleRelaxMaker.from_relax_maker(relax_maker).make(metal)
        theirs = flow.output.resolve(run(flow, tmp_path))
        assert ours.completed_steps == theirs.completed_steps == (0 if metal is METALS[1] else 4)
        assert (ours.reason or "").startswith(theirs.reason or "")
        assert ours.engine == theirs.engine
        assert ours.converged == theirs.converged
        if theirs.structure is None:
            assert "emt failed: NotImplementedError" in ours.reason
            assert ours.structure is None
            continue
        assert ours.energies == pytest.approx(theirs.energies, abs=1e-8)
        assert ours.pressures == pytest.approx(theirs.pressures, abs=1e-5)
        for one, other in zip(ours.stress, theirs.stress, strict=True):
            assert one == pytest.approx(other, abs=1e-5)
        assert ours.structure.lattice.matrix == pytest.approx(
            theirs.structure.lattice.matrix, abs=1e-8
        )
        assert ours.n_sites == theirs.n_sites == 1
        assert ours.energies[4] < ours.energies[0] - 0.005
    assert {True, False} <= {c for each in document.relaxations for c in each.converged}


def test_default_relaxes_with_chgnet(tmp_path):
    pytest.importorskip("chgnet", reason="CHGNet relaxes")
    job = BatchRelaxMaker(steps=3).make(METALS[:2])
    assert job.name == "crystens relax batch"
    document = job.output.resolve(run(job, tmp_path))
    for relaxation in document.relaxations:
        assert (relaxation.engine, relaxation.candidate_id) == ("CHGNet", None)
        assert (relaxation.completed_steps, relaxation.reason) == (4, None)
        assert relaxation.energies[0] > relaxation.energies[4]
        assert relaxation.method["name"] == "CHGNet 0.3.0"
        assert len(relaxation.method["weights_sha256"]) == 64
        assert relaxation.method["max_ionic_steps"] == 3


@pytest.mark.parametrize(
    ("chunk_size", "sizes"), [(1, [1, 1, 1, 1]), (2, [2, 2]), (3, [3, 1]), (4, [4]), (32, [4])]
)
def test_chunks_have_at_most_so_many(chunk_size, sizes):
    jobs = BatchRelaxMaker(chunk_size=chunk_size).make_many(METALS, IDS)
    found = [job.function_args for job in jobs]
    assert [len(structures) for structures, _ in found] == sizes
    assert [structure for structures, _ in found for structure in structures] == METALS
    assert [identifier for _, ids in found for identifier in ids] == IDS
    assert len({job.uuid for job in jobs}) == len(sizes)


def test_nothing_makes_no_jobs():
    assert BatchRelaxMaker().make_many([], []) == []


@pytest.mark.parametrize("chunk_size", [0, -1, 501])
def test_chunks_that_cannot_be(chunk_size):
    with pytest.raises(InputError, match=f"chunk_size = {chunk_size}: give 1 to 500"):
        BatchRelaxMaker(chunk_size=chunk_size).make_many(METALS, IDS)


def test_runs_from_files_and_after_serialisation(tmp_path):
    maker = BatchRelaxMaker(
        calculator=EMT, calculator_kwargs={"asap_cutoff": True}, steps=2, fmax=0.1, chunk_size=5
    )
    again = MontyDecoder().process_decoded(jsanitize(maker.as_dict(), strict=True))
    assert again == maker
    job = again.make(METALS, IDS)
    flow = Flow.from_dict(jsanitize(Flow([job]).as_dict(), strict=True, enum_values=True))
    store = JobStore(
        MontyStore("jobs", database_path=str(tmp_path)),
        additional_stores={"data": MontyStore("data", database_path=str(tmp_path))},
    )
    document = job.output.resolve(run(flow, tmp_path, store))
    assert [each.candidate_id for each in document.relaxations] == IDS
    assert document.relaxations[0].method["calculator_kwargs"] == {"asap_cutoff": True}
    (stored,) = store.query({"output.stage": "relax"})
    assert len(stored["output"]["relaxations"][0]["energies"]) == 5


def test_runs_on_fireworks(tmp_path):
    fireworks = pytest.importorskip("fireworks", reason="a workflow manager")
    from jobflow.managers.fireworks import job_to_firework

    job = BatchRelaxMaker(calculator=EMT, steps=2).make(METALS[:2], IDS[:2])
    store = JobStore(
        MontyStore("jobs", database_path=str(tmp_path)),
        additional_stores={"data": MontyStore("data", database_path=str(tmp_path))},
    )
    firework = fireworks.Firework.from_dict(job_to_firework(job, store).to_dict())
    with contextlib.chdir(tmp_path):
        firework.tasks[0].run_task({"_fw_id": 1})
    store.connect()
    document = job.output.resolve(store)
    assert [each.completed_steps for each in document.relaxations] == [4, 0]


def test_a_calculator_that_cannot_be_had_fails_the_job(tmp_path):
    job = BatchRelaxMaker(calculator="no_such_package.Calculator").make(METALS)
    store = run(job, tmp_path)
    assert store.count() == 0
    with pytest.raises(InputError, match="no_such_package"):
        BatchRelaxMaker.make.original(job.maker, METALS)

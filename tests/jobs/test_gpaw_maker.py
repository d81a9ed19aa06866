from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, MontyEncoder, jsanitize
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.jobs import QuadrupleRelaxMaker
from crystens_flows.jobs.gpaw import GpawRelaxMaker
from crystens_flows.local import run
from crystens_flows.relaxation import read_step
from crystens_flows.schemas.gpaw import GpawTaskDocument

DONE = Path(__file__).parents[1] / "gpaw_engine" / "naf"
"""Made by ``benchmarks/gpaw_lattice.py``: NaF, 2 % too large, relaxed once by GPAW 25.7.0."""


@pytest.fixture
def naf():
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(1.02 * 4.635), ["Na", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()


@pytest.fixture
def document(naf, tmp_path):
    shutil.copytree(DONE, tmp_path, dirs_exist_ok=True)
    maker = GpawRelaxMaker()
    with contextlib.chdir(tmp_path):
        return maker.make.original(maker, naf)


def test_document_reads_as_a_step(document, tmp_path):
    kept = json.loads((DONE / "gpaw_result.json").read_text())
    first, last = kept["ionic_steps"][0], kept["ionic_steps"][-1]
    step = read_step(document)
    assert step.engine == "GPAW 25.7.0"
    assert (step.initial_energy, step.energy) == (first["energy"], last["energy"])
    assert step.energy_zero_sigma == last["energy_zero_sigma"]
    assert step.pressure == pytest.approx(sum(last["stress"][i][i] for i in range(3)) / 3)
    assert (step.converged, step.n_ionic_steps) == (True, len(kept["ionic_steps"]))
    assert step.structure.volume == pytest.approx(last["volume"])
    assert step.dir_name == str(tmp_path)
    assert step.method["functional"] == "PBEsol"
    assert step.method["cutoff"] == 600
    again = json.loads(json.dumps(jsanitize(document, strict=True, enum_values=True)))
    assert read_step(again) == step
    as_object = MontyDecoder().process_decoded(json.loads(json.dumps(document, cls=MontyEncoder)))
    assert read_step(as_object) == step


def test_a_failure_is_a_document(naf):
    document = GpawTaskDocument(
        ase_calculator_name="GPAW 25.7.0", dir_name="/", state="failed", reason="no setup"
    )
    assert read_step(document).failure == "no setup"
    maker = GpawRelaxMaker()
    with pytest.raises(InputError, match="the step before failed"):
        maker.make.original(maker, document.structure)


def test_stands_in_the_four_relaxations(naf):
    maker = QuadrupleRelaxMaker.from_relax_maker(GpawRelaxMaker(kpoints=(4, 4, 4), cutoff=600))
    sent = json.loads(json.dumps(jsanitize(maker.as_dict(), strict=True, enum_values=True)))
    again = MontyDecoder().process_decoded(sent)
    assert tuple(again.relax_maker_4.kpoints) == (4, 4, 4)
    flow = again.make(naf)
    assert len(flow.jobs) == 5
    assert flow.jobs[1].function_args == (flow.jobs[0].output.structure,)


def test_a_job_that_failed_goes_on_in_its_folder(naf, tmp_path):
    """The first start has no GPAW to run; what the second finds in the folder is not lost."""
    job = GpawRelaxMaker(command="/nowhere/python").make(naf)
    store = JobStore(MemoryStore())
    summary = run(job, store, tmp_path / "run")
    (error,) = summary.failed.values()
    assert "cannot run /nowhere/python" in error
    (folder,) = (tmp_path / "run" / "jobs").iterdir()
    shutil.copy(DONE / "gpaw_result.json", folder)
    summary = run(job, store, tmp_path / "run")
    assert (summary.failed, summary.n_run) == ({}, 1)
    assert store.get_output(job.uuid)["output"]["n_steps"] > 1

"""What goes into existing pipelines: the scripts in workflows/, run in this process."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore
from pymatgen.core import Structure

from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.jobs import (
    BatchRelaxMaker,
    FollowMaker,
    QuadrupleRelaxMaker,
    SelectMaker,
)
from crystens_flows.local import run
from crystens_flows.msonable import structure_from_dict
from crystens_flows.schemas import RelaxDocument
from crystens_flows.screening.selection import SelectionRules
from crystens_flows.stores import open_stores
from pipeline_examples import fcc, own_flow, run_script, write_cifs, write_extxyz

pytest.importorskip("atomate2.vasp.jobs.core", reason="what is appended is atomate2's")
pytest.importorskip("custodian", reason="custodian runs VASP")


@pytest.fixture
def script(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def script(name, *arguments):
        return run_script(name, *arguments, monkeypatch=monkeypatch, capsys=capsys)

    return script


def test_where_jobs_run_reaches_those_that_are_started(tmp_path, monkeypatch):
    """A worker for all jobs, and others for some by name, as set_run_config sets them."""
    from jobflow import Job

    flow = own_flow(
        [fcc("Al", 4.0)],
        relax_maker=BatchRelaxMaker(calculator="ase.calculators.emt.EMT", steps=2),
        next_makers=[QuadrupleRelaxMaker.from_relax_maker(emt_relax_maker())],
    )
    for name, worker in (("", "here"), ("relax batch", "gpu"), ("crystens relax 2", "cpu")):
        said = {"_set": {"manager_config->worker": worker}}
        flow.update_config(said, name_filter=name, dict_mod=True)
    found = {}
    original = Job.run

    def run_and_note(job, *args, **kwargs):
        found[job.name] = job.config.manager_config["worker"]
        return original(job, *args, **kwargs)

    monkeypatch.setattr(Job, "run", run_and_note)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    assert not run(flow, store, tmp_path).failed
    assert found.pop("crystens relax batch") == "gpu"
    assert found.pop("crystens relax 2") == "cpu"
    assert {"crystens relax 1", "crystens collect", "crystens follow"} <= set(found)
    assert set(found.values()) == {"here"}


def emt_relax_maker():
    from atomate2.ase.jobs import EmtRelaxMaker

    return EmtRelaxMaker(steps=3)


@pytest.mark.parametrize("batch", [True, False])
def test_what_follows_begins_where_the_relaxations_ended(tmp_path, batch):
    """For each that was relaxed; EMT has no sodium."""
    relax_maker = (
        BatchRelaxMaker(calculator="ase.calculators.emt.EMT", steps=3)
        if batch
        else QuadrupleRelaxMaker.from_relax_maker(emt_relax_maker())
    )
    flow = own_flow(
        [fcc("Al", 3.9), fcc("Na", 4.5), fcc("Cu", 3.5)],
        relax_maker=relax_maker,
        next_makers=[emt_relax_maker(), QuadrupleRelaxMaker.from_relax_maker(emt_relax_maker())],
    )
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run(flow, store, tmp_path)
    document = flow.output.resolve(store)
    assert (document.n_relaxed, len(document.failed)) == (2, 1)
    told = [doc["output"] for doc in store.query({"name": "crystens follow"})]
    assert {each for doc in told for each in doc["started"]} == set(document.relaxed)
    assert {k: v for doc in told for k, v in doc["left_out"].items()} == document.failed
    for identifier in document.relaxed:
        of_one = {"metadata.candidate_id": identifier, "metadata.campaign": "own"}
        found = list(store.query(of_one))
        names = Counter(doc["name"] for doc in found)
        assert names["EMT relaxation"] == names["crystens relax summary"] == 1
        started = next(doc["started"][identifier] for doc in told if identifier in doc["started"])
        assert set(started) == {doc["uuid"] for doc in found}
        (first,) = [doc for doc in found if doc["name"] == "EMT relaxation"]
        steps = first["output"]["output"]["ionic_steps"]
        at_first = steps[0]["energy"] if steps else first["output"]["output"]["energy"]
        assert at_first == pytest.approx(document.energies_per_atom[identifier], abs=1e-6)


def test_nothing_follows_what_failed():
    relaxation = RelaxDocument(
        candidate_id="c-1",
        structure=fcc("Al", 4.0),
        energies=[],
        pressures=[],
        converged=[],
        completed_steps=2,
        reason="relaxation failed: step 3 of 4",
    )
    response = FollowMaker(makers=[emt_relax_maker()]).make.original(
        FollowMaker(makers=[emt_relax_maker()]), relaxation
    )
    assert response.addition is None
    assert response.output.left_out == {"c-1": "relaxation failed: step 3 of 4"}


def test_many_selected_are_followed_in_parts(monkeypatch):
    maker = DiscoveryFlowMaker(
        select_maker=SelectMaker(rules=SelectionRules(n_pool=200, n_select=130)),
        relax_maker=None,
        next_makers=[emt_relax_maker()],
    )
    parts = [job for job, _ in maker.make(200).iterflow() if job.name == "crystens follow"]
    assert [(part.function_kwargs["start"], part.function_kwargs["stop"]) for part in parts] == [
        (0, 64),
        (64, 128),
        (128, 192),
    ]


def test_a_flow_may_end_with_the_selection():
    flow = DiscoveryFlowMaker(relax_maker=None, tune_maker=None).make(4)
    assert [job.name for job, _ in flow.iterflow()][-1] == "crystens select"
    (select,) = [job for job, _ in flow.iterflow() if job.name == "crystens select"]
    assert flow.output.uuid == select.uuid


def test_relaxing_what_another_generator_made(script, tmp_path):
    """CIF files in a folder, and a file of extended XYZ."""
    write_cifs(tmp_path / "cdvae", al=fcc("Al", 3.9), cu=fcc("Cu", 3.5))
    (tmp_path / "cdvae" / "zz.cif").write_text("nothing")
    write_extxyz(tmp_path / "generated_crystals.extxyz", [fcc("Ag", 4.2), fcc("Na", 4.5)])
    printed = script(
        *("relax_generated", "cdvae", "generated_crystals.extxyz", "--generator", "cdvae"),
        *("--campaign", "theirs", "--engine", "ase.calculators.emt.EMT", "-o", "out"),
    )
    assert "left out: cdvae/zz.cif" in printed
    assert len(re.findall(r"(Al|Cu|Ag)\s+relaxed", printed)) == 3
    assert re.search(r"3\s+Na\s+rejected\s+relaxation failed: step 1 of 4", printed)
    candidates = open_stores("out/store").candidates
    for found in candidates.documents(campaign="theirs", status="relaxed"):
        assert found.provenance.generator == "cdvae"
        assert len(found.relaxation.energies) == 5
        assert found.relaxation.energies[4] <= found.relaxation.energies[0]
        assert found.relaxed_structure.composition == found.structure.composition


def test_an_elastic_tensor_of_each_relaxed_candidate(script, tmp_path):
    """In full, with CHGNet, whose own stresses are the oracle of the bulk modulus."""
    chgnet = pytest.importorskip("chgnet.model", reason="the force field is CHGNet")
    cubic = fcc("Al", 4.0).to_conventional()  # few deformations are not equal by symmetry
    write_cifs(tmp_path / "own", al=cubic)
    printed = script("elastic_and_bands", "own", "-o", "out")
    identifier, formula, modulus, unit = printed.split()
    assert (formula, unit) == ("Al", "GPa")
    stores = open_stores("out/store")
    (document,) = [
        doc["output"] for doc in stores.job_store.query({"name": "fit_elastic_tensor"}, load=True)
    ]
    assert document["derived_properties"]["k_vrh"] == float(modulus)
    (relaxed,) = stores.job_store.query({"output.stage": "relax"})
    assert relaxed["output"]["relaxations"][0]["candidate_id"] == identifier

    structure = structure_from_dict(document["structure"])
    model = chgnet.CHGNet.load(verbose=False)

    def mean_stress(strain):
        cell = structure.lattice.matrix @ np.diag([1 + strain, 1, 1])
        strained = Structure(cell, structure.species, structure.frac_coords)
        return model.predict_structure(strained)["s"].trace() / 3

    strains = np.array([-0.01, -0.005, 0.005, 0.01])  # those of atomate2
    slope = np.polyfit(strains, [mean_stress(strain) for strain in strains], 1)[0]
    assert float(modulus) == pytest.approx(slope, rel=0.03)

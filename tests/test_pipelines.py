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
    CGCNNPrefilterMaker,
    FollowMaker,
    QuadrupleRelaxMaker,
    SelectMaker,
    ValidityPrefilterMaker,
)
from crystens_flows.local import run
from crystens_flows.msonable import structure_from_dict
from crystens_flows.schemas import RelaxDocument
from crystens_flows.screening.selection import SelectionRules
from crystens_flows.stores import open_stores
from crystens_flows.testing import stand_in_command, stand_in_environment
from pipeline_examples import fcc, run_script, write_cifs, write_extxyz
from stand_in_runs import ROCK_SALT, run_flow

pytest.importorskip("atomate2.vasp.jobs.core", reason="what is appended is atomate2's")
pytest.importorskip("custodian", reason="custodian runs VASP")

QUICK = {"polling_time_step": 0.1, "monitor_freq": 30}


@pytest.fixture
def script(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def script(name, *arguments):
        return run_script(name, *arguments, monkeypatch=monkeypatch, capsys=capsys)

    return script


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Let atomate2's jobs find the stand-in for VASP in this process; return the file of calls."""
    from atomate2 import SETTINGS

    calls = tmp_path / "calls"
    monkeypatch.setattr(SETTINGS, "VASP_CUSTODIAN_MAX_ERRORS", 1)
    with stand_in_environment(tmp_path / "potcars"):
        yield with_stand_in(calls)
    assert calls.is_file()


def with_stand_in(calls):
    """Return what makes VASP's jobs of a flow start the stand-in."""
    from atomate2.vasp.jobs.base import BaseVaspMaker

    command = {"vasp_cmd": stand_in_command(calls=calls), "custodian_kwargs": QUICK}

    def change(flow):
        said = {f"run_vasp_kwargs->{name}": value for name, value in command.items()}
        flow.update_maker_kwargs({"_set": said}, dict_mod=True, class_filter=BaseVaspMaker)
        return flow

    change.calls = calls
    return change


def own_flow(structures, **others):
    """Screen quickly and select all."""
    maker = DiscoveryFlowMaker(
        screen_makers=[
            ValidityPrefilterMaker(),
            CGCNNPrefilterMaker(max_formation_energy_per_atom=None),
        ],
        select_maker=SelectMaker(rules=SelectionRules.paper(n_pool=3, n_select=3), hull=None),
        tune_maker=None,
        **others,
    )
    return maker.make_from_structures(structures, campaign="own")


def vasp_flow(**others):
    from crystens_flows.jobs.vasp import PaperRelaxMaker

    relax_maker = QuadrupleRelaxMaker.from_relax_maker(PaperRelaxMaker())
    return own_flow([ROCK_SALT], relax_maker=relax_maker, **others)


def test_powerups_reach_the_jobs_that_the_selection_starts(tmp_path, stand_in):
    """All of atomate2's and jobflow's, on the whole flow, as it then runs."""
    from atomate2.vasp.powerups import (
        add_metadata_to_flow,
        update_user_incar_settings,
        update_user_kpoints_settings,
        update_vasp_custodian_handlers,
    )
    from pymatgen.io.vasp import Kpoints

    from pipeline_handlers import NotingHandler

    noted = tmp_path / "noted"
    flow = stand_in(vasp_flow())
    flow = update_user_incar_settings(flow, {"ENCUT": 411, "KPAR": 2})
    flow = update_user_incar_settings(flow, {"NSW": 3}, name_filter="crystens relax 2")
    flow = update_user_kpoints_settings(flow, Kpoints.gamma_automatic((2, 1, 1)))
    flow = add_metadata_to_flow(flow, {"project": "mine"})
    flow = update_vasp_custodian_handlers(flow, (NotingHandler(str(noted)),))
    flow.update_metadata({"who": "me"})
    flow.append_name(" of mine")
    store = run_flow(flow, tmp_path / "run")

    steps = {doc["name"]: doc for doc in store.query({"output.project": "mine"})}
    assert set(steps) == {f"crystens relax {number} of mine" for number in (1, 2, 3, 4)}
    for name, doc in steps.items():
        incar = doc["output"]["input"]["incar"]
        assert (incar["ENCUT"], incar["KPAR"]) == (411, 2)
        assert incar["NSW"] == (3 if "relax 2" in name else 99)
        assert doc["output"]["input"]["kpoints"]["kpoints"] == [[2, 1, 1]]
    folders = stand_in.calls.read_text().splitlines()
    assert len(folders) == 4
    # the handler was asked in each of the four folders
    assert set(noted.read_text().splitlines()) == set(folders)
    every = list(store.query({}, ["name", "metadata"]))
    assert len(every) == 12
    assert all(doc["metadata"] == {"campaign": "own", "who": "me"} for doc in every)
    assert all(doc["name"].endswith(" of mine") for doc in every)
    assert flow.output.resolve(store).n_relaxed == 1


def test_powerups_reach_a_maker_as_a_whole():
    from atomate2.vasp.flows.elastic import ElasticMaker
    from atomate2.vasp.powerups import update_user_incar_settings

    from crystens_flows.jobs.vasp import PaperRelaxMaker

    maker = DiscoveryFlowMaker(
        relax_maker=QuadrupleRelaxMaker.from_relax_maker(PaperRelaxMaker()),
        next_makers=[ElasticMaker()],
    )
    changed = update_user_incar_settings(maker, {"ENCUT": 411})
    elastic = changed.next_makers[0]
    for each in (
        changed.relax_maker.relax_maker_3,
        elastic.bulk_relax_maker.relax_maker1,
        elastic.elastic_relax_maker,
    ):
        assert each.input_set_generator.user_incar_settings["ENCUT"] == 411
    assert type(changed.select_maker.rules) is SelectionRules
    assert changed.select_maker == maker.select_maker


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


@pytest.mark.slow
def test_vasps_elastic_tensor_and_bands_follow_too(tmp_path, stand_in):
    """With the stand-in: elastic by its calculator, bands as placeholders."""
    from atomate2.vasp.flows.core import RelaxBandStructureMaker
    from atomate2.vasp.flows.elastic import ElasticMaker

    flow = stand_in(vasp_flow(next_makers=[ElasticMaker(), RelaxBandStructureMaker()]))
    store = run_flow(flow, tmp_path / "run")
    (selected,) = flow.output.resolve(store).relaxed
    of_one = {"metadata.candidate_id": selected}
    names = Counter(doc["name"] for doc in store.query(of_one, ["name"]))
    assert names["elastic relax 1/6"] == names["fit_elastic_tensor"] == 1
    assert names["non-scf line"] == names["non-scf uniform"] == 1
    (line,) = store.query({**of_one, "name": "non-scf line"}, load=True)
    bands = line["output"]["vasp_objects"]["bandstructure"]
    assert bands["@class"] == "BandStructureSymmLine"
    # 4 of ours, 2 and 6 of the elastic flow, 2, 1 and 2 of the bands
    assert len(stand_in.calls.read_text().splitlines()) == 17

"""Where the jobs of each stage run, those that other jobs start among them."""

from __future__ import annotations

from jobflow import Job, JobStore, OnMissing
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from crystens_flows.campaign.stages import JOB_NAMES, STAGES, StageRun, route, stage_of
from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.jobs import SelectMaker
from crystens_flows.jobs.engines import relax_maker
from crystens_flows.jobs.prefilter import MAKERS, prefilter_makers
from crystens_flows.local import run
from crystens_flows.screening.pipeline import ScreeningOptions
from crystens_flows.screening.selection import SelectionRules

METALS = [
    Structure(Lattice([[0, a, a], [a, 0, a], [a, a, 0]]), [element], [[0, 0, 0]])
    for element, a in (("Al", 1.95), ("Cu", 1.75))
]
WORKERS = {"screen": "batch", "select": "node", "relax": "cpu"}


def test_every_job_has_a_stage(tmp_path):
    assert {stage_of(maker().name) for maker in MAKERS} == {"screen"}
    assert set(JOB_NAMES) == set(STAGES)
    names = {job.name for job in DiscoveryFlowMaker().make(2).jobs}
    assert "other" not in {stage_of(name) for name in names}
    assert stage_of("store_inputs") == "other"


def test_jobs_that_jobs_start_are_routed(tmp_path, monkeypatch):
    """Run the flow, and look at the configuration that each job had."""
    flow = DiscoveryFlowMaker(
        relax_maker=relax_maker("ase.calculators.emt.EMT", steps=2),
        select_maker=SelectMaker(rules=SelectionRules(max_per_chemical_system=None), hull=None),
        screen_makers=prefilter_makers(ScreeningOptions(models=["cgcnn"], known=None)),
        tune_maker=None,
    ).make_from_structures(METALS)
    stages = {name: StageRun(worker=worker) for name, worker in WORKERS.items()}
    stages["relax"].resources = {"nodes": 2}
    route(flow, StageRun(worker="here"), stages, lambda run: run.model_dump(exclude_none=True))
    found = {}

    original = Job.run

    def run_and_note(job, *args, **kwargs):
        found.setdefault(job.name, []).append(job.config)
        return original(job, *args, **kwargs)

    monkeypatch.setattr(Job, "run", run_and_note)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    assert not run(flow, store, tmp_path).failed
    assert len(found["crystens relax 4"]) == 2
    for name, configs in found.items():
        worker = WORKERS.get(stage_of(name), "here")
        for config in configs:
            assert config.manager_config["worker"] == worker, name
            assert ("resources" in config.manager_config) == (worker == "cpu"), name
    # what else is said of a job stays
    assert found["crystens relax 2"][0].on_missing_references == OnMissing.NONE


def test_a_stage_says_only_what_is_other():
    flow = DiscoveryFlowMaker(chunk_size=2).make(2)
    default = StageRun(worker="here", exec_config="plain")
    stages = {"sample": StageRun(worker="gpu"), "select": StageRun(exec_config="large")}
    route(flow, default, stages, lambda run: run.model_dump(exclude_none=True))
    configs = {job.name: job.config.manager_config for job in flow.jobs}
    assert configs["crystens sample"] == {"worker": "gpu", "exec_config": "plain"}
    assert configs["crystens select"] == {"worker": "here", "exec_config": "large"}
    assert configs["crystens decode"] == {"worker": "here", "exec_config": "plain"}

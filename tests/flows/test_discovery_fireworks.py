"""The flow on FireWorks, a manager that never starts a job whose parent has not ended."""

from __future__ import annotations

import contextlib
import io
from collections import Counter

import pytest
from jobflow import JobStore
from maggma.stores import MontyStore
from pymatgen.core import Lattice, Structure

from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.jobs import BatchRelaxMaker, QuadrupleRelaxMaker, SelectMaker
from crystens_flows.screening.selection import SelectionRules

pytestmark = pytest.mark.mongo


def fcc(element, a):
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, [element], [[0, 0, 0]])


@pytest.fixture
def store(tmp_path):
    return JobStore(
        MontyStore("jobs", database_path=str(tmp_path / "store")),
        additional_stores={"data": MontyStore("data", database_path=str(tmp_path / "store"))},
    )


def run(flow, store, mongo_uri, folder):
    """Run everything that FireWorks ever starts; return the states of the jobs by name."""
    from fireworks import LaunchPad
    from fireworks.core.rocket_launcher import rapidfire
    from jobflow.managers.fireworks import flow_to_workflow

    launchpad = LaunchPad(host=mongo_uri, name=mongo_uri.rpartition("/")[2], uri_mode=True)
    launchpad.reset("", require_password=False)
    launchpad.add_wf(flow_to_workflow(flow, store=store))
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        rapidfire(launchpad, strm_lvl="CRITICAL")
    (first, *_) = launchpad.get_wf_ids()
    states = Counter((fw.name, fw.state) for fw in launchpad.get_wf_by_fw_id(first).fws)
    store.connect()
    return states


def test_a_candidate_that_fails_leaves_no_job_waiting(store, mongo_uri, tmp_path):
    from atomate2.ase.jobs import EmtRelaxMaker

    relax_maker = QuadrupleRelaxMaker.from_relax_maker(EmtRelaxMaker(steps=3))
    maker = DiscoveryFlowMaker(relax_maker=relax_maker, chunk_size=2)
    flow = maker.make_from_structures([fcc("Al", 3.9), fcc("Na", 4.5), fcc("Cu", 3.5)])
    states = run(flow, store, mongo_uri, tmp_path)
    assert {state for _, state in states} == {"COMPLETED", "FIZZLED"}, states
    fizzled = {name: count for (name, state), count in states.items() if state == "FIZZLED"}
    assert fizzled == {f"crystens relax {k}": 1 for k in (1, 2, 3, 4)}  # EMT has no sodium
    document = flow.output.resolve(store)
    assert (document.n_selected, document.n_relaxed) == (3, 2)
    assert list(document.failed.values()) == ["relaxation failed: step 1 of 4"]


def test_batches_run_on_fireworks(store, mongo_uri, tmp_path):
    relax_maker = BatchRelaxMaker(calculator="ase.calculators.emt.EMT", steps=3, chunk_size=2)
    maker = DiscoveryFlowMaker(relax_maker=relax_maker, chunk_size=2)
    flow = maker.make_from_structures([fcc("Al", 3.9), fcc("Na", 4.5), fcc("Cu", 3.5)])
    states = run(flow, store, mongo_uri, tmp_path)
    assert {state for _, state in states} == {"COMPLETED"}, states
    assert states["crystens relax batch", "COMPLETED"] == 2
    document = flow.output.resolve(store)
    assert (document.n_selected, document.n_relaxed) == (3, 2)
    (reason,) = document.failed.values()
    assert reason.startswith("relaxation failed: step 1 of 4, emt failed")


def test_a_chunk_that_fails_leaves_no_job_waiting(store, mongo_uri, tmp_path):
    select_maker = SelectMaker(rules=SelectionRules(n_pool=5, n_select=0))
    flow = DiscoveryFlowMaker(select_maker=select_maker, chunk_size=2).make(4)
    flow.jobs[0].maker.generator = str(tmp_path / "no-checkpoint")
    states = run(flow, store, mongo_uri, tmp_path)
    fizzled = {name: count for (name, state), count in states.items() if state == "FIZZLED"}
    assert fizzled == {"crystens sample": 1, "crystens decode": 1}  # and no screen
    assert {state for _, state in states} == {"COMPLETED", "FIZZLED"}, states
    (selection,) = store.query({"output.stage": "select"})
    assert selection["output"]["missing_chunks"] == [0]
    assert flow.output.resolve(store).n_selected == 0

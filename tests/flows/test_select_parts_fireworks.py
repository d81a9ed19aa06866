"""A selection in parts on FireWorks, where a chunk fails: no job waits for ever."""

from __future__ import annotations

import contextlib
import io
from collections import Counter

import pytest
from jobflow import JobStore
from maggma.stores import MontyStore

from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.jobs import CGCNNPrefilterMaker, SelectMaker
from crystens_flows.screening.selection import SelectionRules

pytestmark = pytest.mark.mongo


def test_a_chunk_that_fails_leaves_no_job_of_the_selection_waiting(
    mongo_uri, tmp_path, monkeypatch
):
    from fireworks import LaunchPad
    from fireworks.core.rocket_launcher import rapidfire
    from jobflow.managers.fireworks import flow_to_workflow

    store = JobStore(
        MontyStore("jobs", database_path=str(tmp_path / "store")),
        additional_stores={"data": MontyStore("data", database_path=str(tmp_path / "store"))},
    )
    monkeypatch.setattr("crystens_flows.flows.discovery.ALL_AT_ONCE", 1)
    monkeypatch.setattr("crystens_flows.flows.select_parts.PART", 4)
    flow = DiscoveryFlowMaker(
        screen_makers=[CGCNNPrefilterMaker()],
        select_maker=SelectMaker(rules=SelectionRules.paper(n_pool=5, n_select=0), hull=None),
        tune_maker=None,
        chunk_size=2,
    ).make(8, seed=5)
    flow.jobs[0].maker.generator = str(tmp_path / "no-checkpoint")
    launchpad = LaunchPad(host=mongo_uri, name=mongo_uri.rpartition("/")[2], uri_mode=True)
    launchpad.reset("", require_password=False)
    launchpad.add_wf(flow_to_workflow(flow, store=store))
    with contextlib.chdir(tmp_path), contextlib.redirect_stdout(io.StringIO()):
        rapidfire(launchpad, strm_lvl="CRITICAL")
    (first, *_) = launchpad.get_wf_ids()
    states = Counter((fw.name, fw.state) for fw in launchpad.get_wf_by_fw_id(first).fws)
    assert {state for _, state in states} == {"COMPLETED", "FIZZLED"}, states
    fizzled = {name: count for (name, state), count in states.items() if state == "FIZZLED"}
    assert fizzled == dict.fromkeys(
        ["crystens sample", "crystens decode", "crystens select shortlist"], 1
    )
    assert states["crystens select distinct", "COMPLETED"] == 2
    store.connect()
    documents = [doc["output"] for doc in store.query({"output.stage": "select"})]
    (selection,) = [doc for doc in documents if "standing" in doc]
    assert selection["missing_chunks"] == [0]
    assert sum(len(doc["records"]) for doc in documents) > 0
    assert flow.output.resolve(store).n_selected == 0

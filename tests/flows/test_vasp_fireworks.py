"""The whole way from samples to relaxations by VASP on FireWorks, with a stand-in for VASP."""

from __future__ import annotations

import contextlib
import io
from collections import Counter

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore, MontyStore
from pymatgen.io.ase import AseAtomsAdaptor

from crystens_flows.builders import CandidateBuilder
from crystens_flows.builders.conclusion import STAND_IN_REASON
from crystens_flows.candidates import CandidateStore
from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.jobs import QuadrupleRelaxMaker, SelectMaker
from crystens_flows.screening.selection import SelectionRules
from crystens_flows.testing import stand_in_command, stand_in_environment
from crystens_flows.testing.calculators import load_calculator

pytest.importorskip("atomate2.vasp", reason="the relaxations are jobs of atomate2")
pytest.importorskip("custodian", reason="custodian runs VASP")
pytest.importorskip("fireworks", reason="FireWorks runs the jobs")

pytestmark = [pytest.mark.mongo, pytest.mark.slow]

STEPS = [f"crystens relax {number}" for number in (1, 2, 3, 4)]


@pytest.fixture
def store(tmp_path):
    return JobStore(
        MontyStore("jobs", database_path=str(tmp_path / "store")),
        additional_stores={"data": MontyStore("data", database_path=str(tmp_path / "store"))},
    )


def candidates_of(store, **options):
    candidates = CandidateStore(MemoryStore("candidates"))
    CandidateBuilder(store, candidates, **options).run_incrementally()
    return candidates


def test_the_whole_chain(store, mongo_uri, tmp_path):
    from fireworks import LaunchPad
    from fireworks.core.rocket_launcher import rapidfire
    from jobflow.managers.fireworks import flow_to_workflow

    from crystens_flows.jobs.vasp import PaperRelaxMaker

    relax_maker = PaperRelaxMaker()
    relax_maker.run_vasp_kwargs |= {
        "vasp_cmd": stand_in_command(calls=tmp_path / "calls"),
        "custodian_kwargs": {"polling_time_step": 0.1, "monitor_freq": 30},
    }
    flow = DiscoveryFlowMaker(
        select_maker=SelectMaker(rules=SelectionRules(n_pool=5, n_select=2)),
        relax_maker=QuadrupleRelaxMaker.from_relax_maker(relax_maker),
        chunk_size=16,
    ).make(16, campaign="rehearsal")
    launchpad = LaunchPad(host=mongo_uri, name=mongo_uri.rpartition("/")[2], uri_mode=True)
    launchpad.reset("", require_password=False)
    launchpad.add_wf(flow_to_workflow(flow, store=store))
    quiet = contextlib.redirect_stdout(io.StringIO())
    with contextlib.chdir(tmp_path), quiet, stand_in_environment(tmp_path / "potcars"):
        rapidfire(launchpad, strm_lvl="CRITICAL")
    (first, *_) = launchpad.get_wf_ids()
    states = Counter((fw.name, fw.state) for fw in launchpad.get_wf_by_fw_id(first).fws)
    assert {state for _, state in states} == {"COMPLETED"}, states
    assert {states[name, "COMPLETED"] for name in STEPS} == {2}
    assert len((tmp_path / "calls").read_text().splitlines()) == 8

    store.connect()
    document = flow.output.resolve(store)
    assert (document.n_selected, document.n_relaxed, document.failed) == (2, 2, {})
    found = list(candidates_of(store, accept_stand_in=True).documents(status="relaxed"))
    assert len(found) == 2
    for candidate in found:
        relaxation = candidate.relaxation
        before = candidate.tuning.structure
        for structure, energy in (
            (before, relaxation.energies[0]),
            (candidate.relaxed_structure, relaxation.energies[4]),
        ):
            atoms = AseAtomsAdaptor.get_atoms(structure)
            atoms.calc = load_calculator("pair")
            assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        assert relaxation.energies[4] < relaxation.energies[0]
        assert relaxation.stand_in
    refused = candidates_of(store)
    assert refused.count(status="relaxed") == 0
    assert {doc.reason for doc in refused.documents(criteria={"rejected_by": "relax"})} == {
        STAND_IN_REASON
    }

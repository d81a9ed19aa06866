"""Powerups on jobs of VASP, and atomate2's flows of VASP after ours, with the stand-in."""

from __future__ import annotations

from collections import Counter

import pytest

from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.jobs import QuadrupleRelaxMaker
from crystens_flows.screening.selection import SelectionRules
from crystens_flows.testing import stand_in_command, stand_in_environment
from pipeline_examples import own_flow
from stand_in_runs import ROCK_SALT, run_flow

pytest.importorskip("atomate2.vasp.jobs.core", reason="what is appended is atomate2's")
pytest.importorskip("custodian", reason="custodian runs VASP")

QUICK = {"polling_time_step": 0.1, "monitor_freq": 30}


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

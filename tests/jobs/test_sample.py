from __future__ import annotations

import json

import pytest
from jobflow import Flow
from monty.json import MontyDecoder, jsanitize

from crystens_flows.errors import CheckpointError, InputError
from crystens_flows.generators import generator_sha256
from crystens_flows.generators.conditions import Conditions
from crystens_flows.jobs import SampleMaker
from crystens_flows.msonable import flow_from_dict
from crystens_flows.representation import decode
from crystens_flows.schemas.provenance import candidate_id


def test_a_checkpoint_that_is_another_one_is_refused():
    """As where it was replaced between two jobs of a campaign."""
    sha256 = generator_sha256("default")
    document = SampleMaker.make.original(SampleMaker(checkpoint_sha256=sha256), 1)
    assert document.provenance.checkpoint_sha256 == sha256
    with pytest.raises(CheckpointError, match=f"has SHA-256 {sha256}, not the {'0' * 64}"):
        SampleMaker.make.original(SampleMaker(checkpoint_sha256="0" * 64), 1)


def test_conditions_hold_and_are_kept_with_each_candidate():
    maker = SampleMaker(conditions={"formula": "CaTiO3"})
    document = SampleMaker.make.original(maker, 2, seed=3)
    for decoded in decode(document.crystens.array):
        assert decoded.structure.composition.reduced_formula == "CaTiO3"
    assert document.provenance.conditions == {"formula": "CaTiO3"}
    plain = document.provenance.model_copy(update={"conditions": None})
    other = document.provenance.model_copy(update={"conditions": {"formula": "NaF"}})
    assert len({candidate_id(each, 0) for each in (document.provenance, plain, other)}) == 3


def test_a_maker_with_conditions_goes_through_json():
    """As jobflow, FireWorks and jobflow-remote store a job."""
    maker = SampleMaker(conditions=Conditions(chemical_system="Li-O", n_sites=6))
    flow = Flow([maker.make(2)])
    (again,) = flow_from_dict(json.loads(json.dumps(flow.as_dict()))).jobs
    assert again.maker == maker
    assert isinstance(again.maker.conditions, Conditions)
    stored = jsanitize(flow.jobs[0], strict=True, enum_values=True)
    again = MontyDecoder().process_decoded(json.loads(json.dumps(stored)))
    assert again.maker == maker


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"formula": "SrTiO3", "space_group": 229, "n_sites": 5}, "229 cannot hold SrTiO3"),
        ({"spacegroup": 225}, "'spacegroup'.*known are formula, chemical_system"),
        ({"space_group": "cubic"}, "'space_group'.*integer"),
    ],
)
def test_impossible_conditions_are_refused_before_there_is_a_job(conditions, words):
    with pytest.raises(InputError, match=words):
        SampleMaker(conditions=conditions)


def test_a_generator_that_takes_no_conditions_says_so():
    maker = SampleMaker(generator="small-imagen", conditions={"n_sites": 4})
    with pytest.raises(InputError, match="kind 'imagen' cannot be asked for n_sites"):
        SampleMaker.make.original(maker, 1)

"""Which samples a job was to make that cannot run again; on the flow that is submitted."""

from __future__ import annotations

import json

import pytest
from monty.json import MontyEncoder

from crystens_flows.campaign.backends.late import LateSamples, inputs_of, late_flow
from crystens_flows.campaign.file import read_campaign
from crystens_flows.campaign.options import Part, make_flow


@pytest.fixture
def campaign(campaign_file):
    return read_campaign(campaign_file())


@pytest.fixture
def jobs(campaign):
    """Return the jobs as databases keep them."""
    flow = make_flow(campaign, Part(100, 6))
    kept = [json.loads(json.dumps(job.as_dict(), cls=MontyEncoder)) for job, _ in flow.iterflow()]
    return {job["uuid"]: job for job in kept}


def named(jobs, name, start=None):
    return [
        job
        for job in jobs.values()
        if job["name"] == name and start in (None, job["function_kwargs"].get("start"))
    ]


def test_a_chunk_is_found_from_its_sampling_decoding_and_last_screen(jobs):
    (sample,), (decode,) = (named(jobs, f"crystens {name}", 104) for name in ("sample", "decode"))
    screens = {
        name: next(s for s in named(jobs, f"crystens {name}") if decode["uuid"] in inputs_of(s))
        for name in ("validity", "cgcnn", "hull")
    }
    for job in (sample, decode, screens["hull"]):
        late = LateSamples(lambda _: jobs)
        assert late.add(job)
        (part,) = late.found
        assert part == Part(104, 2)
        assert {sample["uuid"], decode["uuid"], job["uuid"]} == set(late.found[part])
    for job in (screens["validity"], screens["cgcnn"], *named(jobs, "crystens select")):
        late = LateSamples(lambda _: jobs)
        assert not late.add(job)
        assert late.found == {}


def test_jobs_of_one_chunk_are_one_part(jobs):
    late = LateSamples(lambda _: jobs)
    for name in ("sample", "decode"):
        for job in named(jobs, f"crystens {name}"):
            assert late.add(job)
    assert list(late.found) == [Part(100, 4), Part(104, 2)]


def test_the_same_samples_are_made(campaign):
    flow = late_flow(campaign.options(), Part(104, 2), lambda: pytest.fail("no training"))
    (sample,) = (job for job in flow.jobs if job.name == "crystens sample")
    assert sample.function_kwargs["start"] == 104
    assert flow.metadata["late"] is True
    assert flow.metadata["start"] == 104

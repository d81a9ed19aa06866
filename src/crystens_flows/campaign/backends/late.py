"""Samples that a selection went on without, because a job that makes or screens them failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, JobStore

from crystens_flows.campaign.options import DiscoveryOptions, Part, find_trained, make_flow
from crystens_flows.campaign.stages import stage_of

Document = dict[str, Any]
LATE = "late"
"""In the metadata of a flow: its samples were submitted before."""

SUPERSEDED = "superseded"
"""Of a job: another flow does what it was to do."""


@dataclass
class LateSamples:
    """
    Finds the samples that failed jobs were to make.

    Parameters
    ----------
    siblings
        Called with a job, as jobflow keeps it; returns all jobs of its flow by uuid.
    """

    siblings: Callable[[Document], Mapping[str, Document]]
    found: dict[Part, list[str]] = field(default_factory=dict)
    """The uuids of the jobs that another flow stands for, by the samples it is to make."""

    def add(self, job: Document) -> bool:
        """
        Take a job that cannot run again, as the selection after it has begun relaxations.

        Parameters
        ----------
        job
            The job, as jobflow keeps it.

        Returns
        -------
        bool
            Whether the selection went on without its samples: if it makes them, or is the last to
            screen them. What another screen would have said has not kept them from the selection.
        """
        flow = self.siblings(job)
        stage = stage_of(job["name"])
        if stage == "screen":
            screens = [each for each in flow.values() if stage_of(each["name"]) == "screen"]
            if any(job["uuid"] in inputs_of(each) for each in screens):
                return False
            decodes = [flow[uuid] for uuid in inputs_of(job) if uuid in flow]
            made_by = next(each for each in decodes if stage_of(each["name"]) == "decode")
        elif stage in ("sample", "decode"):
            made_by = job
        else:
            return False
        if "start" not in made_by["function_kwargs"]:  # of structures that no generator made
            return False
        start = made_by["function_kwargs"]["start"]
        chunk = [
            each
            for each in flow.values()
            if stage_of(each["name"]) in ("sample", "decode")
            and each["function_kwargs"].get("start") == start
        ]
        sample = next(each for each in chunk if stage_of(each["name"]) == "sample")
        part = Part(start, sample["function_args"][0])
        self.found.setdefault(part, []).extend(each["uuid"] for each in (*chunk, job))
        return True


def inputs_of(value: Any) -> set[str]:
    """
    Return the jobs whose outputs a job takes.

    Parameters
    ----------
    value
        The job, or a part of it, as jobflow keeps it.

    Returns
    -------
    set of str
        Their uuids.
    """
    if isinstance(value, dict):
        if value.get("@class") == "OutputReference":
            return {value["uuid"]}
        parts: Iterable[Any] = value.values()
        if "function_args" in value:
            parts = (value["function_args"], value["function_kwargs"])
    else:
        parts = value if isinstance(value, list | tuple) else ()
    return {uuid for each in parts for uuid in inputs_of(each)}


def late_flow(options: DiscoveryOptions, part: Part, job_store: Callable[[], JobStore]) -> Flow:
    """
    Make the flow that makes samples once more, screens them and selects from them on their own.

    Parameters
    ----------
    options
        What the campaign does.
    part
        The samples.
    job_store
        Gives the store of the jobs, where a training is looked for.

    Returns
    -------
    Flow
        The flow.
    """
    trained = find_trained(job_store(), options) if options.train is not None else None
    flow = make_flow(options, part, trained)
    flow.metadata = {**flow.metadata, LATE: True}
    return flow

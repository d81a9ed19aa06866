"""Job that starts flows of a user's own for candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from jobflow import Flow, Job, JobConfig, Maker, OnMissing, Response, job
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.schemas import (
    BatchRelaxDocument,
    FollowDocument,
    RelaxDocument,
    SelectedCandidate,
)

STARTS_OTHERS = JobConfig(on_missing_references=OnMissing.NONE, pass_manager_config=False)
"""Of jobs that start others: where these run is theirs, or what ``update_config`` said of them; a
configuration that is passed on would take its place."""


@dataclass
class FollowMaker(Maker):
    """
    Maker of a job that starts flows for each of some candidates: an elastic tensor, bands, any.

    What it starts has ``candidate_id`` in its metadata, in jobs that start later too, and is found
    by it in the JobStore. Nothing waits for it, and where it fails for one candidate the others go
    on.

    Parameters
    ----------
    name
        Name of the job.
    makers
        What is made for each candidate: makers of atomate2, or any whose ``make`` takes a
        structure. They are fields, where powerups find them.
    """

    name: str = "crystens follow"
    makers: list[Maker] = field(default_factory=list)

    @job(output_schema=FollowDocument, config=STARTS_OTHERS)
    def make(
        self,
        candidates: list[SelectedCandidate] | RelaxDocument | BatchRelaxDocument,
        start: int = 0,
        stop: int | None = None,
    ) -> Response:
        """
        Start the flows.

        Parameters
        ----------
        candidates
            Selected candidates, with the structures they have, or relaxations, with the relaxed
            ones; where a relaxation failed, nothing is started.
        start, stop
            Which of them, from 0; by default all.

        Returns
        -------
        Response
            Adds the flows, and says which jobs were started.

        Raises
        ------
        InputError
            If the job that selects or relaxes failed.
        """
        if candidates is None:
            raise InputError("nothing to follow: the job that selects or relaxes failed")
        flows: list[Job | Flow] = []
        started: dict[str, list[str]] = {}
        left_out: dict[str, str] = {}
        for identifier, structure, reason in list(_structures(candidates))[start:stop]:
            if structure is None:
                left_out[identifier] = reason
                continue
            made = [maker.make(structure) for maker in self.makers]
            for each in made:
                each.update_metadata({"candidate_id": identifier})
            started[identifier] = [uuid for each in made for uuid in _uuids(each)]
            flows += made
        output = FollowDocument(started=started, left_out=left_out)
        if not flows:
            return Response(output=output)
        return Response(output=output, addition=Flow(flows, name=self.name))


def _structures(
    candidates: list[SelectedCandidate] | RelaxDocument | BatchRelaxDocument,
) -> Iterable[tuple[str, Structure | None, str]]:
    """Yield identifiers, structures, and why there is none."""
    if isinstance(candidates, list):
        for candidate in candidates:
            yield candidate.candidate_id, candidate.structure, ""
        return
    for document in getattr(candidates, "relaxations", [candidates]):
        reason = document.failure
        structure = None if reason else document.structure
        yield str(document.candidate_id), structure, reason or "the relaxation left no structure"


def _uuids(made: Job | Flow) -> list[str]:
    return [made.uuid] if isinstance(made, Job) else [job.uuid for job, _ in made.iterflow()]

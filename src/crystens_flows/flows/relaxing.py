"""The jobs that relax the selected candidates."""

from __future__ import annotations

from jobflow import Flow, Job, JobConfig, Maker, OnMissing, OutputReference, Response, job

from crystens_flows.errors import InputError
from crystens_flows.jobs.follow import STARTS_OTHERS, FollowMaker
from crystens_flows.schemas import (
    BatchRelaxDocument,
    DiscoveryDocument,
    RelaxDocument,
    SelectedCandidate,
)

PART = 64
"""Of so many candidates one job makes the relaxations: workflow managers keep all jobs that a job
makes in one document, with their structures."""


def relax_in_parts(
    relax_maker: Maker,
    selected: OutputReference,
    n_select: int,
    campaign: str,
    follow_maker: FollowMaker | None = None,
) -> Flow:
    """
    Make the jobs that relax more candidates than one job should make relaxations of.

    Parameters
    ----------
    relax_maker
        As for :func:`relax_selected`.
    selected
        The candidates: an output of the selection or the tuning.
    n_select
        How many there are at most.
    campaign
        Name of the campaign.
    follow_maker
        As for :func:`relax_selected`.

    Returns
    -------
    Flow
        Its output is a :class:`crystens_flows.schemas.DiscoveryDocument`.
    """
    parts = [
        relax_selected(
            relax_maker,
            selected,
            campaign,
            start=start,
            stop=start + PART,
            follow_maker=follow_maker,
        )
        for start in range(0, n_select, PART)
    ]
    collected = collect_parts(selected, [part.output for part in parts], campaign)
    return Flow([*parts, collected], output=collected.output, name="crystens relax in parts")


def follow_in_parts(follow_maker: FollowMaker, selected: OutputReference, n_select: int) -> Flow:
    """
    Make the jobs that start flows for the selected candidates, as they are.

    Parameters
    ----------
    follow_maker
        Maker of these jobs.
    selected
        The candidates: an output of the selection or the tuning.
    n_select
        How many there are at most.

    Returns
    -------
    Flow
        Its output is a list of :class:`crystens_flows.schemas.FollowDocument`.
    """
    parts: list[Job | Flow] = [
        follow_maker.make(selected, start=start, stop=start + PART)
        for start in range(0, max(1, n_select), PART)
    ]
    return Flow(parts, output=[part.output for part in parts], name=follow_maker.name)


@job(name="crystens relax selected", config=STARTS_OTHERS)
def relax_selected(
    relax_maker: Maker,
    selected: list[SelectedCandidate],
    campaign: str = "default",
    start: int = 0,
    stop: int | None = None,
    follow_maker: FollowMaker | None = None,
) -> Response:
    """
    Relax the selected candidates and collect what comes out.

    Parameters
    ----------
    relax_maker
        Maker that relaxes candidates, as :class:`DiscoveryFlowMaker` takes it; an argument of the
        job, where powerups find it.
    selected
        The candidates.
    campaign
        Name of the campaign.
    start, stop
        Which of them, from 0; by default all.
    follow_maker
        Maker of the jobs that go on from each relaxation as soon as it has ended; None for none.

    Returns
    -------
    Response
        Replaces this job by the relaxations and the job that collects them.

    Raises
    ------
    InputError
        If the job that selects or tunes the candidates failed.
    """
    if selected is None:
        raise InputError("nothing to relax: the job that selects or tunes candidates failed")
    selected = selected[start:stop]
    ids = [candidate.candidate_id for candidate in selected]
    structures = [candidate.structure for candidate in selected]
    if hasattr(relax_maker, "make_many"):
        flows = relax_maker.make_many(structures, ids)
    else:
        flows = [
            relax_maker.make(structure, candidate_id=identifier)
            for structure, identifier in zip(structures, ids, strict=True)
        ]
    collected = collect(ids, [flow.output for flow in flows], campaign)
    follow = [] if follow_maker is None else [follow_maker.make(flow.output) for flow in flows]
    return Response(replace=Flow([*flows, *follow, collected], output=collected.output))


@job(
    name="crystens collect",
    output_schema=DiscoveryDocument,
    config=JobConfig(on_missing_references=OnMissing.NONE),
)
def collect(
    candidate_ids: list[str],
    relaxations: list[RelaxDocument | BatchRelaxDocument | None],
    campaign: str = "default",
) -> DiscoveryDocument:
    """
    Say which candidates were relaxed and why the others were not.

    Parameters
    ----------
    candidate_ids
        The selected candidates.
    relaxations
        The relaxations, of one candidate or of many each; None where a job left nothing.
    campaign
        Name of the campaign.

    Returns
    -------
    DiscoveryDocument
        The relaxed ones by energy per atom, and the reasons of the others.
    """
    found: dict[str | None, RelaxDocument] = {}
    for document in relaxations:
        if document is not None:
            each = getattr(document, "relaxations", [document])
            found.update({relaxation.candidate_id: relaxation for relaxation in each})
    failed: dict[str, str] = {}
    energies: dict[str, float] = {}
    for identifier in candidate_ids:
        relaxation = found.get(identifier)
        if relaxation is None:
            failed[identifier] = "the relaxation left no summary"
        elif relaxation.failure is not None:
            failed[identifier] = relaxation.failure
        elif relaxation.energy is not None and relaxation.n_sites:
            energies[identifier] = relaxation.energy / relaxation.n_sites
    return DiscoveryDocument(
        campaign=campaign,
        n_selected=len(candidate_ids),
        n_relaxed=len(energies),
        failed=failed,
        relaxed=sorted(energies, key=lambda identifier: energies[identifier]),
        energies_per_atom=energies,
    )


@job(
    name="crystens collect parts",
    output_schema=DiscoveryDocument,
    config=JobConfig(on_missing_references=OnMissing.NONE),
)
def collect_parts(
    selected: list[SelectedCandidate] | None,
    parts: list[DiscoveryDocument | None],
    campaign: str = "default",
) -> DiscoveryDocument:
    """
    Put together what became of the parts that :func:`relax_in_parts` makes.

    Parameters
    ----------
    selected
        The selected candidates.
    parts
        What became of 64 of them each; None where nothing is known.
    campaign
        Name of the campaign.

    Returns
    -------
    DiscoveryDocument
        As :func:`collect` gives it for all.

    Raises
    ------
    InputError
        If the job that selects or tunes the candidates failed.
    """
    if selected is None:
        raise InputError("nothing was relaxed: the job that selects or tunes candidates failed")
    ids = [candidate.candidate_id for candidate in selected]
    failed: dict[str, str] = {}
    energies: dict[str, float] = {}
    for number, part in enumerate(parts):
        if part is None:
            lost = ids[number * PART : (number + 1) * PART]
            failed |= dict.fromkeys(lost, "the relaxation left no summary")
        else:
            failed |= part.failed
            energies |= part.energies_per_atom
    return DiscoveryDocument(
        campaign=campaign,
        n_selected=len(ids),
        n_relaxed=len(energies),
        failed=failed,
        relaxed=sorted(energies, key=lambda identifier: energies[identifier]),
        energies_per_atom=energies,
    )

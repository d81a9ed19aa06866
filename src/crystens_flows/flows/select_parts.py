"""The jobs that select from many chunks, each with few inputs."""

from __future__ import annotations

from collections.abc import Sequence

from jobflow import Flow, Job

from crystens_flows.jobs.select import SelectMaker
from crystens_flows.jobs.select_parts import (
    complete_records,
    distinct_of_shard,
    gather_shard,
    make_shortlist,
    select_from_shards,
)

ALL_AT_ONCE = 1024
"""Up to so many candidates one job selects from all chunks."""

PART = 8192
"""Candidates whose structures, compressed, one job may hold."""

CHUNKS_AT_ONCE = 16
"""Chunks that one job may read."""


def select_in_parts(
    maker: SelectMaker,
    decoded: Sequence[Job | Flow],
    screened: Sequence[Sequence[tuple[str, Job | Flow]]],
    n_candidates: int,
    chunk_size: int,
) -> Flow:
    """
    Make the jobs that select what `maker` would select from all chunks in one job.

    Each chunk has a shortlist; the shortlists of up to 16 chunks are gathered, sorted into
    shards of the same formulas; each shard is freed of duplicates; one job ranks and selects; and
    the records of up to 16 chunks are completed together.

    Parameters
    ----------
    maker
        Maker of the selection.
    decoded
        The jobs that make the candidates of each chunk.
    screened
        Names of the screens and their jobs, for each chunk, in their order.
    n_candidates
        How many candidates there are at most.
    chunk_size
        How many a chunk has at most.

    Returns
    -------
    Flow
        Its output is a :class:`crystens_flows.schemas.stages.StandingDocument`; the records are in
        the outputs of its last jobs.
    """
    rules = maker.rules
    shortlists = [
        make_shortlist(
            decode.output.candidates,
            [(name, job.output.records) for name, job in screens],
            rules,
            maker.hull,
        )
        for decode, screens in zip(decoded, screened, strict=True)
    ]
    at_once = min(CHUNKS_AT_ONCE, max(1, PART // chunk_size))
    groups = [
        list(range(start, min(start + at_once, len(shortlists))))
        for start in range(0, len(shortlists), at_once)
    ]
    outputs = [[shortlists[chunk].output for chunk in group] for group in groups]
    n_shards = -(-n_candidates // PART)
    gathered, distinct = [], []
    for shard in range(n_shards):
        parts = [
            gather_shard(some, group, shard, n_shards)
            for some, group in zip(outputs, groups, strict=True)
        ]
        gathered += parts
        distinct.append(distinct_of_shard([part.output for part in parts], groups, rules))
    select = select_from_shards([each.output for each in distinct], len(shortlists), rules)
    select.name = maker.name
    records = [
        complete_records(some, group, select.output, rules, maker.hull)
        for some, group in zip(outputs, groups, strict=True)
    ]
    return Flow(
        [*shortlists, *gathered, *distinct, select, *records],
        output=select.output,
        name=f"{maker.name} in parts",
    )

"""Jobs that select from more candidates than one worker should hold."""

from __future__ import annotations

from collections.abc import Sequence

from jobflow import JobConfig, OnMissing, job

from crystens_flows.errors import InputError
from crystens_flows.jobs.prefilter import is_screened, still_in
from crystens_flows.jobs.select import MAX_SELECTED, selected_candidate
from crystens_flows.schemas import ArrayBlob, DecodedCandidate, ScreenRecord, SelectDocument
from crystens_flows.schemas.stages import DistinctDocument, ShortlistDocument, StandingDocument
from crystens_flows.screening.screens import HullScreen
from crystens_flows.screening.selection import SelectionRules
from crystens_flows.screening.selection_parts import find_distinct, pack_rivals, unpack_rivals
from crystens_flows.screening.selection_standing import Standing, chosen_of, complete, stand
from crystens_flows.screening.shortlist import Shortlist, shortlist

_COLLECTS = JobConfig(on_missing_references=OnMissing.NONE)
_NOTHING = "nothing to select from: all jobs that make or screen candidates failed"


@job(
    name="crystens select shortlist",
    output_schema=ShortlistDocument,
    data=ArrayBlob,
    config=_COLLECTS,
)
def make_shortlist(
    candidates: list[DecodedCandidate] | None,
    records: Sequence[tuple[str, list[ScreenRecord] | None]],
    rules: SelectionRules,
    hull: str | None = None,
) -> ShortlistDocument:
    """
    Write down what the selection needs to know of one chunk.

    Parameters
    ----------
    candidates
        The candidates of the chunk; None if its job failed.
    records
        Names and records of its screens, in their order; None for a screen whose job failed.
    rules
        The rules of the selection.
    hull
        Reference of the hull; None for no ranking within chemical systems.

    Returns
    -------
    ShortlistDocument
        The candidates that passed all screens, in the order of their index.

    Raises
    ------
    InputError
        If the job that makes the candidates, or the last that screens them, failed: then nothing
        has passed all screens.
    """
    if candidates is None or not is_screened(candidates, records):
        raise InputError("no candidates to select from: a job that makes or screens them failed")
    index = {candidate.candidate_id: candidate.index for candidate in candidates}
    passed = sorted(
        still_in(candidates, records),
        key=lambda each: (index[each.candidate_id], each.candidate_id),
    )
    asked = hull if HullScreen.name in {name for name, _ in records} else None
    part, drafts = shortlist(passed, [index[each.candidate_id] for each in passed], rules, asked)
    return ShortlistDocument(
        rows=ArrayBlob(part.rows), structures=ArrayBlob(part.packed), drafts=drafts
    )


@job(
    name="crystens select gather",
    output_schema=ShortlistDocument,
    data=ArrayBlob,
    config=_COLLECTS,
)
def gather_shard(
    shortlists: list[ShortlistDocument | None], chunks: list[int], shard: int, n_shards: int
) -> ShortlistDocument:
    """
    Gather the candidates of a few chunks that belong to one shard.

    Parameters
    ----------
    shortlists
        Of the chunks; None where the job failed.
    chunks
        Their numbers, from 0.
    shard
        Number of the shard, from 0.
    n_shards
        How many there are.

    Returns
    -------
    ShortlistDocument
        The candidates of the shard.

    Raises
    ------
    InputError
        If there is no shortlist.
    """
    there = [each for each in shortlists if each is not None]
    if not there:
        raise InputError(_NOTHING)
    part = Shortlist.join([_shortlist(each).of_shard(shard, n_shards) for each in there])
    return ShortlistDocument(
        rows=ArrayBlob(part.rows),
        structures=ArrayBlob(part.packed),
        missing_chunks=[
            chunk for chunk, each in zip(chunks, shortlists, strict=True) if each is None
        ],
    )


@job(
    name="crystens select distinct",
    output_schema=DistinctDocument,
    data=ArrayBlob,
    config=_COLLECTS,
)
def distinct_of_shard(
    parts: list[ShortlistDocument | None], chunks: list[list[int]], rules: SelectionRules
) -> DistinctDocument:
    """
    Find the duplicates in a shard, and what of it can be selected.

    Parameters
    ----------
    parts
        Its candidates, of some chunks each; None where the job failed.
    chunks
        The numbers of these chunks, for each part.
    rules
        The rules of the selection.

    Returns
    -------
    DistinctDocument
        What it contributes.

    Raises
    ------
    InputError
        If there is no part.
    """
    there = [each for each in parts if each is not None]
    if not there:
        raise InputError(_NOTHING)
    found = find_distinct(Shortlist.join([_shortlist(each) for each in there]), rules)
    return DistinctDocument(
        ledger=ArrayBlob(found.ledger),
        best=ArrayBlob(found.best.rows),
        structures=ArrayBlob(found.best.packed),
        rivals=ArrayBlob(pack_rivals(found.rivals)),
        missing_chunks=sorted(
            {
                chunk
                for part, numbers in zip(parts, chunks, strict=True)
                for chunk in (numbers if part is None else part.missing_chunks)
            }
        ),
    )


@job(name="crystens select", output_schema=StandingDocument, data=ArrayBlob, config=_COLLECTS)
def select_from_shards(
    shards: list[DistinctDocument | None], n_chunks: int, rules: SelectionRules
) -> StandingDocument:
    """
    Rank the candidates of all shards and select.

    Parameters
    ----------
    shards
        What each contributes; None where the job failed.
    n_chunks
        How many chunks there are.
    rules
        The rules of the selection.

    Returns
    -------
    StandingDocument
        The selected candidates, and where each of the others stands.

    Raises
    ------
    InputError
        If there is no shard, or too many are to be selected.
    """
    if rules.n_select > MAX_SELECTED:
        raise InputError(f"n_select = {rules.n_select}: give at most {MAX_SELECTED}")
    there = [each for each in shards if each is not None]
    if not there:
        raise InputError(_NOTHING)
    standing = stand([each.ledger.array for each in there], rules)
    best = Shortlist.join([Shortlist(each.best.array, each.structures.array) for each in there])
    chosen = chosen_of(standing, best)
    missing = {chunk for each in there for chunk in each.missing_chunks}
    return StandingDocument(
        settings=rules.model_dump(),
        # a shard has candidates of any chunk
        missing_chunks=sorted(missing) if len(there) == len(shards) else list(range(n_chunks)),
        records=[],
        selected=[
            selected_candidate(
                row["candidate_id"].decode(), structure, float(row["energy"]), float(row["above"])
            )
            for row, structure in zip(
                chosen.rows, chosen.structures(range(len(chosen))), strict=True
            )
        ],
        standing=ArrayBlob(standing.rows),
        holders=standing.holders,
        n_pool=standing.n_pool,
        n_chosen=standing.n_chosen,
        hull_asked=standing.hull_asked,
        rivals=ArrayBlob(
            pack_rivals([r for each in there for r in unpack_rivals(each.rivals.array)])
        ),
    )


@job(name="crystens select records", output_schema=SelectDocument, config=_COLLECTS)
def complete_records(
    shortlists: list[ShortlistDocument | None],
    chunks: list[int],
    selection: StandingDocument | None,
    rules: SelectionRules,
    hull: str | None = None,
) -> SelectDocument:
    """
    Say of each candidate of a few chunks what became of it in the selection, and why.

    Parameters
    ----------
    shortlists
        Of the chunks; None where the job failed.
    chunks
        Their numbers, from 0.
    selection
        The selection from all; None if its job failed.
    rules
        The rules of the selection.
    hull
        Reference of the hull; None for no ranking within chemical systems.

    Returns
    -------
    SelectDocument
        The records. The selected candidates are in the document of the selection, and not here.

    Raises
    ------
    InputError
        If there is no shortlist, or no selection.
    """
    there = [each for each in shortlists if each is not None]
    if selection is None or not there:
        raise InputError("no decisions to complete: the jobs before this one failed")
    standing = Standing(
        rows=selection.standing.array,
        holders=selection.holders,
        n_pool=selection.n_pool,
        n_chosen=selection.n_chosen,
        hull_asked=selection.hull_asked,
    )
    return SelectDocument(
        settings=rules.model_dump(),
        missing_chunks=[
            chunk for chunk, each in zip(chunks, shortlists, strict=True) if each is None
        ],
        records=complete(
            [draft for each in there for draft in each.drafts],
            Shortlist.join([_shortlist(each) for each in there]),
            standing,
            rules,
            unpack_rivals(selection.rivals.array),
            hull,
        ),
        selected=[],
    )


def _shortlist(document: ShortlistDocument) -> Shortlist:
    return Shortlist(document.rows.array, document.structures.array)

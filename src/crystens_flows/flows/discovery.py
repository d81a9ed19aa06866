"""The whole way from samples to relaxed crystals, as one flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, Job, Maker, OnMissing, OutputReference
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.flows.relaxing import PART as RELAX_PART
from crystens_flows.flows.relaxing import (
    collect,
    follow_in_parts,
    relax_in_parts,
    relax_selected,
)
from crystens_flows.flows.select_parts import ALL_AT_ONCE, select_in_parts
from crystens_flows.jobs.decode import DecodeMaker
from crystens_flows.jobs.follow import FollowMaker
from crystens_flows.jobs.prefilter import PrefilterMaker, prefilter_makers
from crystens_flows.jobs.read import candidates_from_structures, provenance_of_structures
from crystens_flows.jobs.relax_batch import BatchRelaxMaker
from crystens_flows.jobs.sample import SampleMaker
from crystens_flows.jobs.select import SelectMaker
from crystens_flows.jobs.tune import TuneMaker
from crystens_flows.schemas import TrainDocument

__all__ = ["DiscoveryFlowMaker", "collect", "relax_selected"]

MIN_CHUNK_SIZE, AUTOMATIC_CHUNK_SIZE = 64, 512
"""Between these the size of chunks grows with the number of samples, so that jobs last minutes and
a flow of 100,000 samples has some 200 chunks."""

MAX_CHUNK_SIZE = 1000
"""A chunk of so many 52-site candidates makes a document of 10 MB; MongoDB takes 16."""


@dataclass
class DiscoveryFlowMaker(Maker):
    """
    Maker of a flow that samples, decodes, screens, selects, tunes and relaxes.

    Sampling, decoding and screening run in chunks, side by side where there are workers. The
    selection waits for all chunks; the selected candidates are then relaxed, by default many in a
    job. A candidate, or a whole chunk, that fails does not stop the others: its jobs are marked as
    failed, and the documents say what is missing.

    No job holds the structures of more than some thousand candidates, however many there are: from
    more than 1024 samples the same is selected in parts, see
    :func:`crystens_flows.flows.select_parts.select_in_parts`, and more than 64 selected candidates
    are handed to several jobs that make their relaxations.

    Parameters
    ----------
    name
        Name of the flow.
    train_maker
        Maker of the job that first trains the generator to sample from; None to sample from that of
        `sample_maker`.
    dataset
        The data set file it trains on; None for the crystals that ship with the package.
    sample_maker
        Maker of the job that samples a chunk.
    decode_maker
        Maker of the job that decodes a chunk.
    screen_makers
        Makers of the jobs that screen a chunk, one after the other; what one rejects, the next is
        not asked about. By default all screens of the package.
    select_maker
        Maker of the job that selects candidates of all chunks.
    tune_maker
        Maker of the job that tunes the selected candidates; None to relax them as they are.
    relax_maker
        Maker that relaxes the selected candidates: many in a job where it has ``make_many``, as
        :class:`crystens_flows.jobs.BatchRelaxMaker` has, by default with CHGNet; else each in jobs
        of its own by ``make``, which takes `candidate_id`, as that of
        :class:`crystens_flows.jobs.QuadrupleRelaxMaker` does, for VASP and any maker of atomate2;
        None to relax nothing.
    next_makers
        Makers of a user's own that go on from each relaxed candidate, such as atomate2's
        ``ElasticMaker``; without a `relax_maker` from each selected one. See
        :class:`crystens_flows.jobs.FollowMaker`.
    chunk_size
        Samples of a chunk, at most 1000; it does not change the candidates. By default 64 for up to
        1024 samples, and more for more, up to 512.
    """

    name: str = "crystens discovery"
    train_maker: Maker | None = None
    dataset: str | None = None
    sample_maker: Maker = field(default_factory=SampleMaker)
    decode_maker: Maker = field(default_factory=DecodeMaker)
    screen_makers: list[PrefilterMaker] = field(default_factory=prefilter_makers)
    select_maker: Maker = field(default_factory=SelectMaker)
    tune_maker: Maker | None = field(default_factory=TuneMaker)
    relax_maker: Maker | None = field(default_factory=BatchRelaxMaker)
    next_makers: list[Maker] = field(default_factory=list)
    chunk_size: int | None = None

    def make(
        self,
        n_samples: int,
        seed: int = 0,
        campaign: str = "default",
        start: int = 0,
        trained: TrainDocument | None = None,
    ) -> Flow:
        """
        Make the flow.

        Parameters
        ----------
        n_samples
            How many samples.
        seed
            Seed of the sampling.
        campaign
            Name of the campaign; it is in the metadata of all jobs.
        start
            Index of the first sample; where a campaign is extended, how many there were before.
        trained
            What an earlier flow of the campaign has trained, to sample from without a training.

        Returns
        -------
        Flow
            Its output is a :class:`crystens_flows.schemas.DiscoveryDocument`; where nothing is
            relaxed, a list of :class:`crystens_flows.schemas.FollowDocument`, or without
            `next_makers` what was selected.

        Raises
        ------
        InputError
            If there is nothing to sample, or the chunk size is not 1 to 1000.
        """
        decoded: list[Job | Flow] = []
        jobs: list[Job | Flow] = []
        checkpoint: dict[str, Any] = {} if trained is None else {"trained": trained}
        if self.train_maker is not None and trained is None:
            jobs.append(self.train_maker.make(self.dataset))
            checkpoint = {"trained": jobs[0].output}
        for offset, size in self._chunks(n_samples):
            first = start + offset
            sample = self.sample_maker.make(
                size, seed=seed, start=first, campaign=campaign, **checkpoint
            )
            decode = self.decode_maker.make(
                sample.output.crystens, sample.output.provenance, start=first
            )
            _run_without_parent(decode)
            jobs += [sample, decode]
            decoded.append(decode)
        return self._screen_and_relax(jobs, decoded, campaign, n_samples)

    def make_from_structures(
        self, structures: Sequence[Structure], campaign: str = "default"
    ) -> Flow:
        """
        Make the flow for structures that no generator made: it begins with the screening.

        Parameters
        ----------
        structures
            The structures, e.g. read from a user's own CIFs.
        campaign
            Name of the campaign; it is in the metadata of all jobs.

        Returns
        -------
        Flow
            Its output is a :class:`crystens_flows.schemas.DiscoveryDocument`; where nothing is
            relaxed, a list of :class:`crystens_flows.schemas.FollowDocument`, or without
            `next_makers` what was selected.

        Raises
        ------
        InputError
            If there are no structures, or the chunk size is not 1 to 1000.
        """
        provenance = provenance_of_structures(structures, campaign)
        decoded: list[Job | Flow] = [
            candidates_from_structures(list(structures[start : start + size]), provenance, start)
            for start, size in self._chunks(len(structures))
        ]
        return self._screen_and_relax(decoded, decoded, campaign, len(structures))

    def _chunks(self, n_samples: int) -> list[tuple[int, int]]:
        if n_samples < 1:
            raise InputError(f"{n_samples} samples asked for: give at least 1")
        size = self._chunk_size(n_samples)
        if not 1 <= size <= MAX_CHUNK_SIZE:
            raise InputError(f"chunk_size = {size}: give 1 to {MAX_CHUNK_SIZE}")
        starts = range(0, n_samples, size)
        return [(start, min(size, n_samples - start)) for start in starts]

    def _chunk_size(self, n_samples: int) -> int:
        if self.chunk_size is not None:
            return self.chunk_size
        sixteenth = MIN_CHUNK_SIZE * -(-n_samples // (16 * MIN_CHUNK_SIZE))
        return min(sixteenth, AUTOMATIC_CHUNK_SIZE)

    def _screen_and_relax(
        self,
        jobs: list[Job | Flow],
        decoded: list[Job | Flow],
        campaign: str,
        n_samples: int,
    ) -> Flow:
        screens: list[list[tuple[str, Job | Flow]]] = []
        for decode in decoded:
            done: list[tuple[str, Job | Flow]] = []
            for maker in self.screen_makers:
                screen = maker.make(
                    decode.output.candidates, [(name, job.output.records) for name, job in done]
                )
                done.append((maker.screen().name, screen))
            screens.append(done)
        screened = [job for done in screens for _, job in done]
        chosen = [self._select(decoded, screens, n_samples)]
        if self.tune_maker is not None:
            chosen.append(self.tune_maker.make(chosen[0].output.selected))
        relax = self._relax(chosen[-1].output.selected, campaign)
        jobs = [*jobs, *screened, *chosen, *([] if relax is None else [relax])]
        flow = Flow(jobs, output=jobs[-1].output, name=self.name)
        flow.update_metadata({"campaign": campaign})
        return flow

    def _select(
        self,
        decoded: list[Job | Flow],
        screens: list[list[tuple[str, Job | Flow]]],
        n_samples: int,
    ) -> Job | Flow:
        if n_samples > ALL_AT_ONCE and isinstance(self.select_maker, SelectMaker):
            size = self._chunk_size(n_samples)
            return select_in_parts(self.select_maker, decoded, screens, n_samples, size)
        return self.select_maker.make(
            [decode.output.candidates for decode in decoded],
            [[(name, job.output.records) for name, job in done] for done in screens],
        )

    def _relax(self, selected: OutputReference, campaign: str) -> Job | Flow | None:
        follow = FollowMaker(makers=self.next_makers) if self.next_makers else None
        n_select = RELAX_PART
        if isinstance(self.select_maker, SelectMaker):
            n_select = self.select_maker.rules.n_select
        if self.relax_maker is None:
            return None if follow is None else follow_in_parts(follow, selected, n_select)
        if n_select > RELAX_PART:
            return relax_in_parts(self.relax_maker, selected, n_select, campaign, follow)
        return relax_selected(self.relax_maker, selected, campaign, follow_maker=follow)


def _run_without_parent(job: Job | Flow) -> None:
    """
    Let a job run, and fail, where the one before it failed.

    Workflow managers never end a job that waits for one that failed, so the jobs that collect
    what is left would wait for ever.
    """
    job.update_config({"on_missing_references": OnMissing.NONE})

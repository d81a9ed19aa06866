"""The whole way from samples to relaxed crystals, as one flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, Job, JobConfig, Maker, OnMissing, Response, job
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.jobs.decode import DecodeMaker
from crystens_flows.jobs.prefilter import PrefilterMaker, prefilter_makers
from crystens_flows.jobs.read import candidates_from_structures, provenance_of_structures
from crystens_flows.jobs.relax_batch import BatchRelaxMaker
from crystens_flows.jobs.sample import SampleMaker
from crystens_flows.jobs.select import SelectMaker
from crystens_flows.jobs.tune import TuneMaker
from crystens_flows.schemas import (
    BatchRelaxDocument,
    DiscoveryDocument,
    RelaxDocument,
    SelectedCandidate,
    TrainDocument,
)

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
        :class:`crystens_flows.jobs.QuadrupleRelaxMaker` does, for VASP and any maker of atomate2.
    chunk_size
        Samples of a chunk, at most 1000; it does not change the candidates.
    """

    name: str = "crystens discovery"
    train_maker: Maker | None = None
    dataset: str | None = None
    sample_maker: Maker = field(default_factory=SampleMaker)
    decode_maker: Maker = field(default_factory=DecodeMaker)
    screen_makers: list[PrefilterMaker] = field(default_factory=prefilter_makers)
    select_maker: Maker = field(default_factory=SelectMaker)
    tune_maker: Maker | None = field(default_factory=TuneMaker)
    relax_maker: Maker = field(default_factory=BatchRelaxMaker)
    chunk_size: int = 64

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
            Its output is a :class:`crystens_flows.schemas.DiscoveryDocument`.

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
        return self._screen_and_relax(jobs, decoded, campaign)

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
            Its output is a :class:`crystens_flows.schemas.DiscoveryDocument`.

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
        return self._screen_and_relax(decoded, decoded, campaign)

    def _chunks(self, n_samples: int) -> list[tuple[int, int]]:
        if n_samples < 1:
            raise InputError(f"{n_samples} samples asked for: give at least 1")
        if not 1 <= self.chunk_size <= MAX_CHUNK_SIZE:
            raise InputError(f"chunk_size = {self.chunk_size}: give 1 to {MAX_CHUNK_SIZE}")
        starts = range(0, n_samples, self.chunk_size)
        return [(start, min(self.chunk_size, n_samples - start)) for start in starts]

    def _screen_and_relax(
        self, jobs: list[Job | Flow], decoded: list[Job | Flow], campaign: str
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
        select = self.select_maker.make(
            [decode.output.candidates for decode in decoded],
            [[(name, job.output.records) for name, job in done] for done in screens],
        )
        chosen = [select]
        if self.tune_maker is not None:
            chosen.append(self.tune_maker.make(select.output.selected))
        relax = relax_selected(self.relax_maker, chosen[-1].output.selected, campaign)
        flow = Flow([*jobs, *screened, *chosen, relax], output=relax.output, name=self.name)
        flow.update_metadata({"campaign": campaign})
        return flow


def _run_without_parent(job: Job | Flow) -> None:
    """
    Let a job run, and fail, where the one before it failed.

    Workflow managers never end a job that waits for one that failed, so the jobs that collect
    what is left would wait for ever.
    """
    job.update_config({"on_missing_references": OnMissing.NONE})


@job(name="crystens relax selected", config=JobConfig(on_missing_references=OnMissing.NONE))
def relax_selected(
    relax_maker: Maker, selected: list[SelectedCandidate], campaign: str = "default"
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
    return Response(replace=Flow([*flows, collected], output=collected.output))


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
        elif relaxation.reason is not None or not relaxation.n_sites or relaxation.energy is None:
            failed[identifier] = relaxation.reason or "the relaxation has no energy"
        else:
            energies[identifier] = relaxation.energy / relaxation.n_sites
    return DiscoveryDocument(
        campaign=campaign,
        n_selected=len(candidate_ids),
        n_relaxed=len(energies),
        failed=failed,
        relaxed=sorted(energies, key=lambda identifier: energies[identifier]),
    )

"""Job that samples CrysTens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jobflow import Maker, job

from crystens_flows.errors import CheckpointError
from crystens_flows.generators.conditions import Conditions
from crystens_flows.schemas import ArrayBlob, Provenance, SampleDocument, TrainDocument

if TYPE_CHECKING:
    from crystens_flows.generators import Generator


@lru_cache(maxsize=2)
def _loaded(generator: str, sha256: str) -> Generator:  # noqa: ARG001 - part of the key
    """Keep the generator between the jobs of one process, until its checkpoint changes."""
    from crystens_flows.generators import load_generator

    return load_generator(generator)


@dataclass
class SampleMaker(Maker):
    """
    Maker of a job that samples one chunk of CrysTens.

    Sample ``start + k`` depends on the checkpoint, the seed and ``start + k`` alone, so chunks of
    any size, on any worker, give the same candidates.

    Parameters
    ----------
    name
        Name of the job.
    generator
        A shipped name or the folder of a checkpoint; a relative one is made absolute here, as
        jobs run in folders of their own.
    checkpoint_sha256
        SHA-256 of its weights, as :func:`crystens_flows.generators.generator_sha256` gives it: jobs
        refuse others. None to take what is there when they run.
    conditions
        What all crystals are to meet, e.g. ``Conditions(formula="NaF", space_group=225)`` or the
        same as a dictionary; None for nothing.

    Raises
    ------
    InputError
        If no crystal can meet the conditions.
    """

    name: str = "crystens sample"
    generator: str = "default"
    checkpoint_sha256: str | None = None
    conditions: Conditions | dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Make the folder of a checkpoint absolute, and refuse impossible conditions."""
        from crystens_flows.generators import resolve_generator

        self.generator = resolve_generator(self.generator)
        self.conditions = Conditions.of(self.conditions)

    @job(output_schema=SampleDocument, data=ArrayBlob)
    def make(
        self,
        n_samples: int,
        seed: int = 0,
        start: int = 0,
        campaign: str = "default",
        trained: TrainDocument | None = None,
    ) -> SampleDocument:
        """
        Sample.

        Parameters
        ----------
        n_samples
            How many.
        seed
            Seed of the sampling.
        start
            Index of the first sample.
        campaign
            Name of the campaign the candidates belong to.
        trained
            Output of a :class:`~crystens_flows.jobs.TrainMaker` whose checkpoint to sample from,
            in place of the generator of this maker.

        Returns
        -------
        SampleDocument
            The tensors, float32 of shape (n_samples, 4, 64, 64), in the additional store.

        Raises
        ------
        CheckpointError
            If there is no such checkpoint, it is damaged, or no longer the one it was.
        InputError
            If the generator does not take the conditions.
        """
        from crystens_flows.generators import generator_sha256

        name = self.generator if trained is None else trained.checkpoint
        sha256 = generator_sha256(name)
        if trained is not None and sha256 != trained.checkpoint_sha256:
            raise CheckpointError(
                f"the checkpoint in {name} has SHA-256 {sha256}, not the "
                f"{trained.checkpoint_sha256} of the training it is to come from: it was trained "
                "on or replaced; give its folder as generator to sample from it as it is"
            )
        if trained is None and self.checkpoint_sha256 not in (None, sha256):
            raise CheckpointError(
                f"the checkpoint {name} has SHA-256 {sha256}, not the {self.checkpoint_sha256} "
                "that the samples are to come from: it was replaced; put back the one it was, or "
                "begin another campaign"
            )
        generator = _loaded(name, sha256)
        conditions = Conditions.of(self.conditions)
        tensors = generator.sample(n_samples, seed, start, conditions=conditions)
        return SampleDocument(
            provenance=Provenance(
                campaign=campaign,
                generator=generator.kind,
                checkpoint_sha256=generator.sha256,
                seed=seed,
                conditions=None if conditions is None else conditions.as_asked(),
            ),
            start=start,
            n_samples=n_samples,
            crystens=ArrayBlob(tensors),
        )

"""Job that trains a generator."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobflow import Maker, job

from crystens_flows.schemas import TrainDocument


@dataclass
class TrainMaker(Maker):
    """
    Maker of a job that trains a generator on a data set.

    The networks are saved in the folder of the job; a job that is started again in the same
    folder continues from the last state found there.

    Parameters
    ----------
    name
        Name of the job.
    generator
        Which generator to train, a key of
        :data:`crystens_flows.generators.TRAINABLE_GENERATORS`.
    seed
        Seed of initialisation, order and noise.
    steps
        Number of training steps; the generator's default if None.
    settings
        Settings of the generator by name; its defaults for the others.
    folder
        Where the checkpoint goes; relative to the folder of the job.
    """

    name: str = "crystens train"
    generator: str = "default"
    seed: int = 0
    steps: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    folder: str = "checkpoint"

    @job(output_schema=TrainDocument)
    def make(self, dataset: str | Path | None = None) -> TrainDocument:
        """
        Train.

        Parameters
        ----------
        dataset
            A data set file, with splits ``train`` and ``validation``; the crystals that ship with
            the package if None.

        Returns
        -------
        TrainDocument
            Where the checkpoint is and how it was made.
        """
        from crystens_flows.generators import train_generator

        folder = Path(self.folder).resolve()
        trained = train_generator(
            self.generator,
            dataset,
            folder,
            seed=self.seed,
            steps=self.steps,
            settings=self.settings,
        )
        return TrainDocument(
            generator=trained.kind,
            checkpoint=str(folder),
            checkpoint_sha256=trained.sha256,
            card=trained.card,
        )

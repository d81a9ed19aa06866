"""Job that trains a generator."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobflow import Maker, Response, job

from crystens_flows.run_folder import RESUMABLE
from crystens_flows.schemas import TrainDocument


@dataclass
class TrainMaker(Maker):
    """
    Maker of a job that trains a generator on a data set.

    A job that is started again in the same folder continues from the last state found there. With
    `walltime_minutes`, a job whose time is used up is followed by one that continues, in its own
    working folder if the workflow manager gives it one, until the training is done: the output of
    the first job is then the finished checkpoint.

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
        Where states and checkpoint go; relative to the folder of the first job. Where jobs of one
        training may run on different machines, it must be on a file system that they share.
    walltime_minutes
        Time for the training in one job, from its start to the end of its last step, in minutes;
        no limit if None. Leave some of the walltime for importing libraries before it, and for
        writing the state or the checkpoint after it (the published diffusion model has 14 GB).
        Each job takes one step at least.
    """

    name: str = "crystens train"
    generator: str = "default"
    seed: int = 0
    steps: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    folder: str = "checkpoint"
    walltime_minutes: float | None = None

    @job(output_schema=TrainDocument)
    def make(self, dataset: str | Path | None = None) -> TrainDocument | Response:
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
            Where the checkpoint is and how it was made; or, where the time was used up, the next
            job in place of this one.
        """
        from crystens_flows.generators import TrainingPaused, train_generator

        folder = Path(self.folder).resolve()
        if Path.cwd() in folder.parents:
            Path(RESUMABLE).touch()
        try:
            trained = train_generator(
                self.generator,
                dataset,
                folder,
                seed=self.seed,
                steps=self.steps,
                settings=self.settings,
                seconds=None if self.walltime_minutes is None else 60 * self.walltime_minutes,
            )
        except TrainingPaused:
            source = None if dataset is None else Path(dataset).resolve()
            following = replace(self, folder=str(folder))
            return Response(replace=following.make(None if source is None else str(source)))
        return TrainDocument(
            generator=trained.kind,
            checkpoint=str(folder),
            checkpoint_sha256=trained.sha256,
            card=trained.card,
        )

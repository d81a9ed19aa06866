"""Job that evaluates generators against real crystals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobflow import Maker, job
from pydantic import BaseModel, ConfigDict, Field

from crystens_flows.schemas import package_versions


class EvaluateDocument(BaseModel):
    """Output of EvaluateMaker; distributions, figures and page stay in its folder."""

    model_config = ConfigDict(extra="forbid")

    stage: str = "evaluate"
    reference: str
    options: dict[str, Any]
    metrics: dict[str, dict[str, float | None]] = Field(description="By source, then by metric.")
    folder: str = Field(description="Folder on the worker with evaluation.html and the figures.")
    versions: dict[str, str] = Field(default_factory=package_versions)


@dataclass
class EvaluateMaker(Maker):
    """
    Maker of a job that evaluates generators, and structures of others, against real crystals.

    Parameters
    ----------
    name
        Name of the job.
    n_samples
        Samples of each source.
    seed
        Seed of the sampling and of dividing the reference.
    n_detailed
        So many of the samples get fingerprints, and energies by potentials.
    n_relax
        Structures of each source that are relaxed with CHGNet; 0 for none.
    n_formulas
        Crystals of each hold-out that a generator which takes a formula is asked for; 0 for none.
    baseline
        Whether substitution of ions, which needs no network, stands beside generators.
    reference
        ``"shipped"``, a data set file (``.npz``) or structures.
    processes
        How many processes compute fingerprints.
    """

    name: str = "crystens evaluate"
    n_samples: int = 1000
    seed: int = 0
    n_detailed: int = 1000
    n_relax: int = 100
    n_formulas: int = 100
    baseline: bool = True
    reference: str = "shipped"
    processes: int = 1

    @job(output_schema=EvaluateDocument)
    def make(
        self, generators: list[str], structures: dict[str, str] | None = None
    ) -> EvaluateDocument:
        """
        Evaluate.

        Parameters
        ----------
        generators
            Names of shipped generators and folders of checkpoints, e.g. the output
            ``checkpoint`` of :class:`crystens_flows.jobs.TrainMaker`.
        structures
            Files or folders of structures by the name of their column.

        Returns
        -------
        EvaluateDocument
            The metrics of each source and of held-out real crystals.
        """
        from crystens_flows.evaluation.evaluation import EvaluationOptions
        from crystens_flows.evaluation.run import evaluate_into

        folder = Path.cwd()
        evaluation = evaluate_into(
            folder,
            generators,
            structures or {},
            self.reference,
            EvaluationOptions(
                n_samples=self.n_samples,
                seed=self.seed,
                n_detailed=self.n_detailed,
                n_relax=self.n_relax,
                n_formulas=self.n_formulas,
                baseline=self.baseline,
            ),
            processes=self.processes,
        )
        return EvaluateDocument(
            reference=evaluation.reference,
            options=evaluation.options.model_dump(),
            metrics={source.name: source.metrics for source in evaluation.sources},
            folder=str(folder),
        )

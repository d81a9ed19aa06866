"""Job that relaxes many candidates four times each with a potential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobflow import Job, Maker, job
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.relaxation.batch import MAX_FORCE, MAX_IONIC_STEPS
from crystens_flows.schemas import BatchRelaxDocument

MAX_CHUNK_SIZE = 500
"""So many relaxations of 52 sites, of 15 kB each, make a document of 7 MB; MongoDB takes 16."""


@dataclass
class BatchRelaxMaker(Maker):
    """
    Maker of a job that relaxes many structures four times each, all of them together.

    Each goes the way that :class:`crystens_flows.jobs.QuadrupleRelaxMaker` takes it with
    atomate2's ``ForceFieldRelaxMaker`` and the same settings, and has the same document; but the
    model is loaded once, and asked about all that still move at once. A structure that fails has a
    document with the reason.

    Parameters
    ----------
    name
        Name of the job.
    calculator
        ``"chgnet"``, ``"7net-l3i5"``, or where a calculator of ASE is: ``"package.module:Class"``
        or ``"package.module.Class"``; with these the structures are relaxed one after the other.
    calculator_kwargs
        Arguments of that class.
    steps
        Ionic steps of each of the four relaxations, at most.
    fmax
        Each ends below this force, eV/A (on the cell: a stress times the volume).
    chunk_size
        Structures of a job that :meth:`make_many` makes, 1 to 500; it does not change what is
        found.
    """

    name: str = "crystens relax batch"
    calculator: str = "chgnet"
    calculator_kwargs: dict[str, Any] = field(default_factory=dict)
    steps: int = MAX_IONIC_STEPS
    fmax: float = MAX_FORCE
    chunk_size: int = 32

    @job(output_schema=BatchRelaxDocument)
    def make(
        self, structures: list[Structure], candidate_ids: list[str] | None = None
    ) -> BatchRelaxDocument:
        """
        Relax.

        Parameters
        ----------
        structures
            The structures.
        candidate_ids
            Identifiers of the candidates.

        Returns
        -------
        BatchRelaxDocument
            A relaxation for each structure, in the same order.
        """
        from crystens_flows.relaxation.batch import relax_four_times

        return BatchRelaxDocument(
            relaxations=relax_four_times(
                structures,
                self.calculator,
                candidate_ids=candidate_ids,
                calculator_kwargs=self.calculator_kwargs,
                steps=self.steps,
                fmax=self.fmax,
            )
        )

    def make_many(self, structures: Sequence[Structure], candidate_ids: Sequence[str]) -> list[Job]:
        """
        Make the jobs that relax candidates, some in each.

        Parameters
        ----------
        structures
            The structures.
        candidate_ids
            Identifiers of the candidates.

        Returns
        -------
        list of Job
            Each with a :class:`crystens_flows.schemas.BatchRelaxDocument`.

        Raises
        ------
        InputError
            If the chunk size is not 1 to 500.
        """
        if not 1 <= self.chunk_size <= MAX_CHUNK_SIZE:
            raise InputError(f"chunk_size = {self.chunk_size}: give 1 to {MAX_CHUNK_SIZE}")
        chunks = [
            slice(start, start + self.chunk_size)
            for start in range(0, len(structures), self.chunk_size)
        ]
        return [self.make(list(structures[one]), list(candidate_ids[one])) for one in chunks]

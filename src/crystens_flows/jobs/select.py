"""Job that selects the candidates to relax."""

from __future__ import annotations

from dataclasses import dataclass

from jobflow import JobConfig, Maker, OnMissing, job

from crystens_flows.errors import InputError
from crystens_flows.schemas import (
    DecodedCandidate,
    ScreenRecord,
    SelectDocument,
    SelectedCandidate,
)

MAX_SELECTED = 1000
"""So many selected 52-site structures make a document of 10 MB; MongoDB takes 16."""


@dataclass
class SelectMaker(Maker):
    """
    Maker of a job that selects the candidates of lowest formation energy, without duplicates.

    Parameters
    ----------
    name
        Name of the job.
    n_pool
        How many of lowest formation energy form the pool; 35 in the paper.
    n_select
        How many of the pool are relaxed, at most 1000; 6 in the paper.
    """

    name: str = "crystens select"
    n_pool: int = 35
    n_select: int = 6

    @job(output_schema=SelectDocument, config=JobConfig(on_missing_references=OnMissing.NONE))
    def make(
        self,
        candidates: list[list[DecodedCandidate] | None],
        records: list[list[ScreenRecord] | None],
    ) -> SelectDocument:
        """
        Select.

        Parameters
        ----------
        candidates
            The candidates of each chunk; None for a chunk whose job failed.
        records
            The screen's records of each chunk; None for a chunk whose job failed.

        Returns
        -------
        SelectDocument
            One record for each candidate that passed the screen, by index, and the selected ones.

        Raises
        ------
        InputError
            If the jobs of all chunks failed, or the numbers to select do not fit.
        """
        from crystens_flows.screening.selection import select

        if self.n_select > MAX_SELECTED:
            raise InputError(f"n_select = {self.n_select}: give at most {MAX_SELECTED}")
        missing = [
            i
            for i, chunk in enumerate(zip(candidates, records, strict=True))
            if any(part is None for part in chunk)
        ]
        if len(missing) == len(candidates):
            raise InputError(
                "nothing to select from: all jobs that make or screen candidates failed"
            )
        energies = {
            record.candidate_id: record.formation_energy_per_atom
            for chunk in records
            for record in chunk or ()
            if record.passed and record.formation_energy_per_atom is not None
        }
        passed = sorted(
            (
                candidate
                for chunk in candidates
                for candidate in chunk or ()
                if candidate.candidate_id in energies and candidate.structure is not None
            ),
            key=lambda candidate: (candidate.index, candidate.candidate_id),
        )
        decisions = select(
            [candidate.candidate_id for candidate in passed],
            [candidate.structure for candidate in passed if candidate.structure is not None],
            [energies[candidate.candidate_id] for candidate in passed],
            n_pool=self.n_pool,
            n_select=self.n_select,
        )
        by_rank = {
            decision.rank: candidate
            for decision, candidate in zip(decisions, passed, strict=True)
            if decision.decision == "selected"
        }
        return SelectDocument(
            settings={"n_pool": self.n_pool, "n_select": self.n_select},
            missing_chunks=missing,
            records=decisions,
            selected=[
                SelectedCandidate(
                    candidate_id=candidate.candidate_id,
                    structure=candidate.structure,
                    formation_energy_per_atom=energies[candidate.candidate_id],
                )
                for candidate in (by_rank[rank] for rank in range(1, len(by_rank) + 1))
            ],
        )

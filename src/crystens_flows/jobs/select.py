"""Job that selects the candidates to relax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan

from jobflow import JobConfig, Maker, OnMissing, job
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.jobs.prefilter import is_screened, still_in
from crystens_flows.schemas import (
    DecodedCandidate,
    ScreenRecord,
    SelectDocument,
    SelectedCandidate,
)
from crystens_flows.screening.judgement import judge, rankable
from crystens_flows.screening.selection import SelectionRules

MAX_SELECTED = 1000
"""So many selected 52-site structures make a document of 10 MB; MongoDB takes 16."""


@dataclass
class SelectMaker(Maker):
    """
    Maker of a job that selects candidates by rules: filters, no duplicates, ranking, diversity.

    Parameters
    ----------
    name
        Name of the job.
    rules
        The rules; :meth:`SelectionRules.paper` gives those of the paper.
    hull
        Reference of the hull among whose compounds candidates of one system are ranked together,
        as :class:`crystens_flows.jobs.HullPrefilterMaker` takes it; None for no such ranking.
    """

    name: str = "crystens select"
    rules: SelectionRules = field(default_factory=SelectionRules)
    hull: str | None = "shipped"

    @job(output_schema=SelectDocument, config=JobConfig(on_missing_references=OnMissing.NONE))
    def make(
        self,
        candidates: list[list[DecodedCandidate] | None],
        records: Sequence[Sequence[tuple[str, list[ScreenRecord] | None]]],
    ) -> SelectDocument:
        """
        Select.

        Parameters
        ----------
        candidates
            The candidates of each chunk; None for a chunk whose job failed.
        records
            For each chunk the names and records of its screens, in their order; None for a screen
            whose job failed.

        Returns
        -------
        SelectDocument
            One record for each candidate that passed all screens, by index, and the selected ones.

        Raises
        ------
        InputError
            If the jobs of all chunks failed, or too many are to be selected.
        """
        if self.rules.n_select > MAX_SELECTED:
            raise InputError(f"n_select = {self.rules.n_select}: give at most {MAX_SELECTED}")
        # a chunk whose last screen failed has nothing that all screens passed
        missing = [
            i
            for i, (chunk, screens) in enumerate(zip(candidates, records, strict=True))
            if not is_screened(chunk, screens)
        ]
        if len(missing) == len(candidates):
            raise InputError(
                "nothing to select from: all jobs that make or screen candidates failed"
            )
        index = {c.candidate_id: c.index for chunk in candidates for c in chunk or ()}
        passed = sorted(
            (
                candidate
                for i, (chunk, screens) in enumerate(zip(candidates, records, strict=True))
                if i not in missing
                for candidate in still_in(chunk or (), screens)
            ),
            key=lambda candidate: (index[candidate.candidate_id], candidate.candidate_id),
        )
        decisions = judge(passed, self.rules, self.hull)
        chosen = sorted(
            (
                (decision.rank or 0, candidate)
                for decision, candidate in zip(decisions, passed, strict=True)
                if decision.decision == "selected"
            ),
            key=lambda item: item[0],
        )
        return SelectDocument(
            settings=self.rules.model_dump(),
            missing_chunks=missing,
            records=decisions,
            selected=[
                selected_candidate(
                    candidate.candidate_id,
                    candidate.structure,
                    known["formation_energy_per_atom"],
                    known["energy_above_hull"],
                )
                for _, candidate in chosen
                for known in (rankable(candidate).quantities,)
            ],
        )


def selected_candidate(
    candidate_id: str, structure: Structure, energy: float | None, above: float | None
) -> SelectedCandidate:
    """
    Say what goes on to relaxation of a candidate.

    Parameters
    ----------
    candidate_id
        Its identifier.
    structure
        Its structure.
    energy, above
        Predicted formation energy and energy above hull, eV/atom; None or NaN where unknown.

    Returns
    -------
    SelectedCandidate
        The candidate.
    """
    return SelectedCandidate(
        candidate_id=candidate_id,
        structure=structure,
        formation_energy_per_atom=None if energy is None or isnan(energy) else energy,
        energy_above_hull=None if above is None or isnan(above) else above,
    )

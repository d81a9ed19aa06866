"""Job that tunes the selected candidates before they are relaxed."""

from __future__ import annotations

from dataclasses import dataclass

from jobflow import JobConfig, Maker, OnMissing, job

from crystens_flows.errors import InputError
from crystens_flows.schemas import SelectedCandidate, TuneDocument, TuneRecord


@dataclass
class TuneMaker(Maker):
    """
    Maker of a job that tunes selected candidates: symmetry, and elements that cannot be.

    A change is made only if the energy model calls the structure no worse.

    Parameters
    ----------
    name
        Name of the job.
    potential
        The energy model, see :func:`crystens_flows.screening.potentials.predict`.
    hull
        Reference of the hull that the energies before and after are held against, as
        :class:`crystens_flows.jobs.HullPrefilterMaker` takes it.
    relax_steps
        So many steps of relaxation at most, volume included, at the end; 0 for none.
    """

    name: str = "crystens tune"
    potential: str = "chgnet"
    hull: str = "shipped"
    relax_steps: int = 0

    @job(output_schema=TuneDocument, config=JobConfig(on_missing_references=OnMissing.NONE))
    def make(self, selected: list[SelectedCandidate]) -> TuneDocument:
        """
        Tune.

        Parameters
        ----------
        selected
            The selected candidates.

        Returns
        -------
        TuneDocument
            What changed, and the candidates as they go on, in the same order.

        Raises
        ------
        InputError
            If the job that selects failed.
        """
        from crystens_flows.screening.hull import load_hull
        from crystens_flows.screening.potentials import card
        from crystens_flows.screening.tuning import tune_with

        if selected is None:
            raise InputError("no candidates to tune: the job that selects them failed")
        results = tune_with(
            [candidate.structure for candidate in selected], self.potential, self.relax_steps
        )
        hull = load_hull(self.hull)
        above = [
            hull.evaluate(
                [candidate.structure.composition, result.structure.composition],
                [result.energy_before, result.energy_after],
            )
            for candidate, result in zip(selected, results, strict=True)
        ]
        return TuneDocument(
            model=card(self.potential),
            records=[
                TuneRecord(
                    candidate_id=candidate.candidate_id,
                    structure=result.structure,
                    changed=result.changed,
                    reason=result.summary,
                    values={
                        **result.to_dict(),
                        "formula": result.structure.composition.reduced_formula,
                        "energy_above_hull_before": before.energy_above_hull,
                        "energy_above_hull_after": after.energy_above_hull,
                    },
                )
                for candidate, result, ((before, _), (after, _)) in zip(
                    selected, results, above, strict=True
                )
            ],
            selected=[
                candidate.model_copy(update={"structure": result.structure})
                for candidate, result in zip(selected, results, strict=True)
            ],
        )

"""Flow of four successive relaxations of one structure."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from jobflow import Flow, Job, JobConfig, Maker, OnMissing, OutputReference, job
from pymatgen.core import Structure

from crystens_flows.errors import import_extra
from crystens_flows.relaxation.batch import MAX_FORCE, MAX_IONIC_STEPS
from crystens_flows.schemas import RelaxDocument


def _chgnet_relax_maker(number: int) -> Maker:
    jobs = import_extra("atomate2.forcefields.jobs", "relax", "relaxing with a force field")
    import_extra("chgnet", "relax", "relaxing with CHGNet")
    return jobs.ForceFieldRelaxMaker(
        name=f"crystens relax {number}",
        force_field_name="CHGNet",
        relax_cell=True,
        steps=MAX_IONIC_STEPS,
        relax_kwargs={"fmax": MAX_FORCE},
        ionic_step_data=("energy",),
    )


@dataclass
class QuadrupleRelaxMaker(Maker):
    """
    Maker of a flow that relaxes a structure four times, each time from where the last one ended.

    A new relaxation starts with a basis made for the new cell, so the fourth tells whether the
    first three have ended where they should. The jobs of the steps keep the task documents of their
    makers. The output, a :class:`crystens_flows.schemas.RelaxDocument`, has ``structure``,
    ``energy`` and ``dir_name``, as atomate2 expects of a bulk relaxation.

    A step that fails makes the later ones fail, as they get no structure; this keeps workflow
    managers from waiting for them, and the summary is made all the same.

    Parameters
    ----------
    name
        Name of the flow; its jobs are named "crystens relax 1" to "crystens relax 4" and
        "crystens relax summary" by default.
    relax_maker_1
        Maker of the first relaxation: any of atomate2, for VASP, a force field or another ASE
        calculator. By default CHGNet, cell included.
    relax_maker_2
        Maker of the second relaxation.
    relax_maker_3
        Maker of the third relaxation.
    relax_maker_4
        Maker of the fourth relaxation.
    """

    name: str = "crystens relax"
    relax_maker_1: Maker = field(default_factory=partial(_chgnet_relax_maker, 1))
    relax_maker_2: Maker = field(default_factory=partial(_chgnet_relax_maker, 2))
    relax_maker_3: Maker = field(default_factory=partial(_chgnet_relax_maker, 3))
    relax_maker_4: Maker = field(default_factory=partial(_chgnet_relax_maker, 4))

    @classmethod
    def from_relax_maker(cls, relax_maker: Maker) -> Self:
        """
        Relax four times with the same settings.

        Parameters
        ----------
        relax_maker
            The maker of all four relaxations, any of atomate2.

        Returns
        -------
        QuadrupleRelaxMaker
            With four copies of it, named "crystens relax 1" to "crystens relax 4" so that powerups
            can tell them apart by name.
        """
        copies = [deepcopy(relax_maker) for _ in range(4)]
        for number, copy in enumerate(copies, start=1):
            copy.name = f"crystens relax {number}"  # type: ignore[misc]
        return cls("crystens relax", *copies)

    def make(
        self,
        structure: Structure | OutputReference,
        prev_dir: str | Path | None = None,
        candidate_id: str | None = None,
    ) -> Flow:
        """
        Make the flow.

        Parameters
        ----------
        structure
            The structure to relax.
        prev_dir
            Folder of an earlier calculation, for the first step.
        candidate_id
            Identifier of the candidate, for the summary.

        Returns
        -------
        Flow
            Four relaxations and their summary, which is the output.
        """
        makers = (self.relax_maker_1, self.relax_maker_2, self.relax_maker_3, self.relax_maker_4)
        steps: list[Job | Flow] = []
        start: dict[str, Any] = {"structure": structure, "prev_dir": prev_dir}
        for number, maker in enumerate(makers, start=1):
            step = maker.make(start["structure"], prev_dir=start["prev_dir"])
            step.name = f"{self.name} {number}"
            if steps:
                step.update_config({"on_missing_references": OnMissing.NONE}, dynamic=False)
            steps.append(step)
            start = {"structure": step.output.structure, "prev_dir": step.output.dir_name}
        outputs = [step.output for step in steps]
        uuids = [output.uuid for output in outputs]
        summary = summarise_steps(outputs, candidate_id, uuids, structure)
        summary.name = f"{self.name} summary"
        return Flow([*steps, summary], output=summary.output, name=self.name)


@job(
    name="crystens relax summary",
    output_schema=RelaxDocument,
    config=JobConfig(on_missing_references=OnMissing.NONE),
)
def summarise_steps(
    documents: list[Any],
    candidate_id: str | None = None,
    step_uuids: list[str] | None = None,
    structure: Structure | None = None,
) -> RelaxDocument:
    """
    Bring the task documents of four successive relaxations into one.

    Parameters
    ----------
    documents
        The task documents, None where a step failed.
    candidate_id
        Identifier of the candidate.
    step_uuids
        Jobs of the steps.
    structure
        The structure before the first step.

    Returns
    -------
    RelaxDocument
        E0 to E4, P1 to P4 and the structure after the last step that was done.
    """
    from crystens_flows.relaxation import summarise_relaxation

    return summarise_relaxation(documents, candidate_id, step_uuids or [], structure)

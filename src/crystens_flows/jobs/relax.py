"""Flow of four successive relaxations of one structure."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from jobflow import Flow, Job, JobConfig, Maker, OnMissing, OutputReference, job
from pymatgen.core import Structure

from crystens_flows.errors import InputError, import_extra
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
    managers from waiting for them, and the summary is made all the same. Given that summary, the
    relaxation can go on from the last step that finished.

    Each step is given the structure that the last one ended with, and its folder: what a maker of
    atomate2 takes from there is for the maker to say.

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
    static_maker
        Maker of a static calculation of the last structure, named "crystens relax static", from
        which formation energy and energy above hull come; by default there is none.
    hull_entries
        Known compounds and elements that it is held against: a JSON file of pymatgen's
        ComputedEntries, or "mp" to download those of the Materials Project, of thermo type
        GGA_GGA+U; by default none, and there is a formation energy alone.
    """

    name: str = "crystens relax"
    relax_maker_1: Maker = field(default_factory=partial(_chgnet_relax_maker, 1))
    relax_maker_2: Maker = field(default_factory=partial(_chgnet_relax_maker, 2))
    relax_maker_3: Maker = field(default_factory=partial(_chgnet_relax_maker, 3))
    relax_maker_4: Maker = field(default_factory=partial(_chgnet_relax_maker, 4))
    static_maker: Maker | None = None
    hull_entries: str | None = None

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
        first, second, third, fourth = copies = [deepcopy(relax_maker) for _ in range(4)]
        for number, copy in enumerate(copies, start=1):
            copy.name = f"crystens relax {number}"  # type: ignore[misc]
        return cls("crystens relax", first, second, third, fourth)

    def make(
        self,
        structure: Structure | OutputReference,
        prev_dir: str | Path | None = None,
        candidate_id: str | None = None,
        previous: RelaxDocument | None = None,
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
            Identifier of the candidate, for the summary; by default that of ``previous``.
        previous
            The summary of an earlier relaxation of the same structure that ended before its time.
            Only the steps after its last one that finished are made, and the new summary is as if
            all had been made in one go.

        Returns
        -------
        Flow
            Four relaxations and their summary, which is the output.

        Raises
        ------
        InputError
            If nothing is left to be done, or the file of entries is not there.
        """
        makers = [self.relax_maker_1, self.relax_maker_2, self.relax_maker_3, self.relax_maker_4]
        n_done = previous.completed_steps if previous else 0
        if n_done == len(makers):
            raise InputError("the previous relaxation finished all steps: there is nothing to do")
        steps: list[Job | Flow] = []
        start: dict[str, Any] = {"structure": structure, "prev_dir": prev_dir}
        if previous and n_done:
            start = {"structure": previous.structure, "prev_dir": previous.dir_name}
            candidate_id = candidate_id or previous.candidate_id
        calculations = [(str(number), maker) for number, maker in enumerate(makers, start=1)]
        del calculations[:n_done]
        if self.static_maker is not None:
            calculations.append(("static", self.static_maker))
        for label, maker in calculations:
            if steps:
                before = steps[-1].output
                start = {"structure": before.structure, "prev_dir": before.dir_name}
            step = maker.make(start["structure"], prev_dir=start["prev_dir"])
            step.name = f"{self.name} {label}"
            if steps:
                step.update_config({"on_missing_references": OnMissing.NONE}, dynamic=False)
            steps.append(step)
        outputs = [step.output for step in steps]
        static = outputs.pop() if self.static_maker is not None else None
        summary = summarise_steps(
            outputs,
            candidate_id,
            [output.uuid for output in outputs],
            structure,
            previous=previous if n_done else None,
            static=static,
            with_static=self.static_maker is not None,
            hull_entries=self._hull_entries(),
        )
        summary.name = f"{self.name} summary"
        return Flow([*steps, summary], output=summary.output, name=self.name)

    def _hull_entries(self) -> str | None:
        """Return an absolute file, as jobs run in folders of their own."""
        if self.hull_entries is None or self.hull_entries == "mp":
            return self.hull_entries
        file = Path(self.hull_entries).absolute()
        if not file.is_file():
            raise InputError(f"there is no file of entries {file}: give hull_entries, or 'mp'")
        return str(file)


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
    previous: RelaxDocument | None = None,
    static: Any = None,
    with_static: bool = False,
    hull_entries: str | None = None,
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
    previous
        The summary of the steps that finished earlier.
    static
        Task document of the static calculation, None where it failed.
    with_static
        Whether there was to be one.
    hull_entries
        As for :class:`QuadrupleRelaxMaker`.

    Returns
    -------
    RelaxDocument
        E0 to E4, P1 to P4 and the structure after the last step that was done.
    """
    from crystens_flows.relaxation import summarise_relaxation
    from crystens_flows.relaxation.comparable import compare

    summary = summarise_relaxation(documents, candidate_id, step_uuids or [], structure, previous)
    return compare(summary, static, hull_entries, made=with_static)

"""Job that relaxes a structure with GPAW."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from jobflow import Maker, job
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.run_folder import RESUMABLE
from crystens_flows.schemas.gpaw import GpawIonicStepRecord, GpawOutput, GpawTaskDocument

if TYPE_CHECKING:
    from crystens_flows.relaxation.gpaw_settings import GpawRelaxation


@dataclass
class GpawRelaxMaker(Maker):
    """
    Maker of a job that relaxes a structure, cell and atoms, with GPAW.

    The settings are those of the paper's relaxations with VASP, as near as GPAW has them: plane
    waves to 400 eV or more where a PAW setup needs more, 3 x 3 x 3 k-points, PBEsol (on PBE
    setups), Gaussian smearing of 0.1 eV, no spin. The relaxation ends by forces and stress and not
    by the energy, which changes by single plane waves. See ``docs/gpaw.md``.

    The job works in the folder it is started in and goes on with what is there: a step that was
    killed and is started in its folder again continues from its last ionic step.

    Parameters
    ----------
    name
        Name of the job.
    command
        A Python interpreter to run GPAW with, e.g. ``"mpirun -np 8 gpaw python"``; by default
        GPAW runs in the process of the job.
    cutoff
        Of the plane waves, eV; by default 400, or more where a setup needs more.
    kpoints
        Number of k-points along each reciprocal vector.
    gamma_centred
        Whether the mesh holds Gamma, else it is Monkhorst and Pack's.
    smearing_width
        Of the Gaussian, eV.
    max_force
        The relaxation ends when no force is above it, eV/A,
    max_stress
        and no component of the stress, kbar.
    max_ionic_steps
        Or after so many ionic steps, not converged.
    fixed_basis
        Keep the plane waves of the first cell while it changes, as VASP does; by default the cutoff
        is kept and the stress corrected to match.
    """

    name: str = "GPAW relaxation"
    command: str | None = None
    cutoff: float | None = None
    kpoints: tuple[int, int, int] = (3, 3, 3)
    gamma_centred: bool = True
    smearing_width: float = 0.1
    max_force: float = 0.01
    max_stress: float = 0.5
    max_ionic_steps: int = 99
    fixed_basis: bool = False

    @job(output_schema=GpawTaskDocument)
    def make(
        self,
        structure: Structure,
        prev_dir: str | Path | None = None,  # noqa: ARG002 - a new step starts with a new basis
    ) -> GpawTaskDocument:
        """
        Relax.

        What cannot be relaxed (no setup for an element, no self-consistency, a cell that explodes,
        atoms that collide) is a document with a reason; its folder is kept.

        Parameters
        ----------
        structure
            The structure.
        prev_dir
            Folder of the step before; not read.

        Returns
        -------
        GpawTaskDocument
            Energies, stress and the relaxed structure, or why there are none.

        Raises
        ------
        InputError
            If there is no structure, as the step before failed.
        MissingExtraError
            If GPAW is not installed.
        GpawError
            If the command cannot be run.
        """
        from crystens_flows.relaxation.gpaw import GpawSettings, relax

        if structure is None:
            raise InputError("no structure to relax: the step before failed")
        folder = Path.cwd()
        (folder / RESUMABLE).touch()
        settings = {each.name: getattr(self, each.name) for each in fields(GpawSettings)}
        result = relax(structure, folder, GpawSettings(**settings), self.command)
        return GpawTaskDocument(
            structure=result.structure,
            output=_output(result),
            ase_calculator_name=f"GPAW {result.method['version']}",
            dir_name=str(folder),
            state="successful" if result.converged else "failed",
            reason=result.reason,
            method=result.method,
        )


def _output(result: GpawRelaxation) -> GpawOutput | None:
    if result.structure is None:
        return None
    last = result.ionic_steps[-1]
    return GpawOutput(
        structure=result.structure,
        energy=last.energy,
        energy_per_atom=last.energy / len(result.structure),
        energy_zero_sigma=last.energy_zero_sigma,
        forces=result.forces,
        stress=last.stress,
        ionic_steps=[GpawIonicStepRecord(**asdict(step)) for step in result.ionic_steps],
        n_steps=len(result.ionic_steps),
    )

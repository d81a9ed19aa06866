"""
Jobs of VASP for the four relaxations: as in the paper, and comparable with the Materials Project.

The classes here extend those of atomate2, so this module needs the extra ``vasp``: import it where
it is used.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from jobflow import Response
from pymatgen.core import Structure

from crystens_flows.errors import CrystensError, RelaxationError, import_extra
from crystens_flows.jobs.relax import QuadrupleRelaxMaker
from crystens_flows.relaxation.changes import broken

import_extra("atomate2.vasp.jobs.base", "vasp", "relaxing with VASP")

from atomate2.vasp.jobs.base import BaseVaspMaker, vasp_job  # noqa: E402 - after the check above
from atomate2.vasp.jobs.mp import MPGGARelaxMaker, MPGGAStaticMaker  # noqa: E402
from atomate2.vasp.run import run_vasp  # noqa: E402
from atomate2.vasp.sets.base import VaspInputGenerator  # noqa: E402
from custodian.vasp.handlers import (  # noqa: E402
    FrozenJobErrorHandler,
    MeshSymmetryErrorHandler,
    NonConvergingErrorHandler,
    PotimErrorHandler,
    StdErrHandler,
    VaspErrorHandler,
)

from crystens_flows.relaxation.vasp_failures import check_command, explain  # noqa: E402
from crystens_flows.relaxation.vasp_inputs import PaperRelaxSetGenerator  # noqa: E402

NOT_MENDED = frozenset(
    {
        *("tet", "dentet", "algo_tet"),  # mended with another smearing or more k-points
        *("brmix", "tetirr", "incorrect_shift", "rot_matrix", "inv_rot_mat"),  # other k-points
        *("zpotrf", "triple_product"),  # another cell
        *("subspacematrix", "real_optlay", "rspher", "nicht_konv"),  # other PREC or LREAL
    }
)
"""Errors of VASP that custodian mends with other physics; here they end the step, by their name."""


def _run_vasp_kwargs() -> dict[str, Any]:
    """
    Return handlers that do not change the physics unseen.

    Of atomate2's, these are left out: UnconvergedErrorHandler, which repeats a relaxation that took
    NSW steps with IBRION = 1, whereby E0 is lost; PositiveEnergyErrorHandler, as generated crystals
    may have positive energies; LargeSigmaHandler, IncorrectSmearingHandler and
    KspacingMetalHandler, which change smearing or k-points. What the others change stands in the
    document of the step.
    """
    mended = [error for error in VaspErrorHandler.error_msgs if error not in NOT_MENDED]
    handlers = (
        VaspErrorHandler(errors_subset_to_catch=mended),
        MeshSymmetryErrorHandler(),
        NonConvergingErrorHandler(),
        PotimErrorHandler(),
        FrozenJobErrorHandler(),
        StdErrHandler(),
    )
    return {"handlers": handlers}


def _stop_children_kwargs() -> dict[str, Any]:
    # not converged within NSW is a result, and the next step goes on from it
    return {"handle_unsuccessful": False}


class _Step:
    """What all steps have in common: errors that say why, and an end where the crystal is lost."""

    uses_previous: ClassVar[bool] = True

    @vasp_job
    def make(self, structure: Structure, prev_dir: str | Path | None = None) -> Response:
        """
        Run VASP.

        Parameters
        ----------
        structure
            The structure.
        prev_dir
            Folder of a previous calculation.

        Returns
        -------
        Response
            With the task document of atomate2.

        Raises
        ------
        RelaxationError
            If VASP or its POTCARs are not there, VASP fails, or the cell explodes or collapses or
            atoms collide. The folder is kept.
        """
        command = inspect.signature(run_vasp).parameters["vasp_cmd"].default
        check_command(self.run_vasp_kwargs.get("vasp_cmd", command))  # type: ignore[attr-defined]
        try:
            make = BaseVaspMaker.make.original  # type: ignore[attr-defined]
            response = make(self, structure, prev_dir if self.uses_previous else None)
        except CrystensError:
            raise
        except Exception as exc:
            generator = self.input_set_generator  # type: ignore[attr-defined]
            raise RelaxationError(explain(exc, Path.cwd(), generator, structure)) from exc
        wrong = broken(structure, response.output.structure)
        if wrong:
            raise RelaxationError(f"{wrong}; the files are in {Path.cwd()}")
        return response


@dataclass
class PaperRelaxMaker(_Step, BaseVaspMaker):
    """
    Maker of one relaxation by VASP as in the paper; the four are made of it.

    ``QuadrupleRelaxMaker.from_relax_maker(PaperRelaxMaker())`` has four of them.

    Nothing but the structure goes from one step to the next, ``prev_dir`` is not looked at: each
    step then starts with a basis, wave functions and a density made for its own cell, which is what
    four relaxations are for, needs no file system in common, and cannot take over settings.

    A step that does not converge within NSW ionic steps is a result, marked as not converged.

    Parameters
    ----------
    name
        Name of the job.
    input_set_generator
        Generator of the input.
    run_vasp_kwargs
        Arguments of atomate2's ``run_vasp``; by default with handlers of custodian that do not
        change the physics unseen.
    stop_children_kwargs
        By default a step that has not converged does not stop the next.
    write_input_set_kwargs, copy_vasp_kwargs, task_document_kwargs, write_additional_data
        As for all makers of atomate2 for VASP.
    """

    name: str = "crystens relax"
    input_set_generator: VaspInputGenerator = field(default_factory=PaperRelaxSetGenerator)
    run_vasp_kwargs: dict = field(default_factory=_run_vasp_kwargs)
    stop_children_kwargs: dict = field(default_factory=_stop_children_kwargs)
    uses_previous: ClassVar[bool] = False


@dataclass
class MPRelaxMaker(_Step, MPGGARelaxMaker):
    """
    Maker of a relaxation by atomate2's MPGGARelaxMaker, with the handlers of PaperRelaxMaker.

    Parameters
    ----------
    name
        Name of the job.
    run_vasp_kwargs, stop_children_kwargs
        As for :class:`PaperRelaxMaker`.
    input_set_generator, write_input_set_kwargs, copy_vasp_kwargs, task_document_kwargs
        As for MPGGARelaxMaker.
    write_additional_data
        As for MPGGARelaxMaker.
    """

    name: str = "crystens relax"
    run_vasp_kwargs: dict = field(default_factory=_run_vasp_kwargs)
    stop_children_kwargs: dict = field(default_factory=_stop_children_kwargs)


@dataclass
class MPStaticMaker(_Step, MPGGAStaticMaker):
    """
    Maker of a static calculation by atomate2's MPGGAStaticMaker, as :class:`MPRelaxMaker`.

    Parameters
    ----------
    name
        Name of the job.
    run_vasp_kwargs, stop_children_kwargs
        As for :class:`PaperRelaxMaker`.
    input_set_generator, write_input_set_kwargs, copy_vasp_kwargs, task_document_kwargs
        As for MPGGAStaticMaker.
    write_additional_data
        As for MPGGAStaticMaker.
    """

    name: str = "crystens relax static"
    run_vasp_kwargs: dict = field(default_factory=_run_vasp_kwargs)
    stop_children_kwargs: dict = field(default_factory=_stop_children_kwargs)


def mp_relax_makers(hull_entries: str | None = None) -> QuadrupleRelaxMaker:
    """
    Return the maker of relaxations whose energies are comparable with the Materials Project.

    Parameters
    ----------
    hull_entries
        As for :class:`QuadrupleRelaxMaker`.

    Returns
    -------
    QuadrupleRelaxMaker
        Four relaxations with the Materials Project's settings for GGA and GGA+U, and a static
        calculation of the last structure, from which formation energy and energy above hull come.
    """
    maker = QuadrupleRelaxMaker.from_relax_maker(MPRelaxMaker())
    maker.static_maker = MPStaticMaker()
    maker.hull_entries = hull_entries
    return maker

"""The one place where names of engines become Makers of four successive relaxations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobflow import Maker

from crystens_flows.errors import InputError, import_extra
from crystens_flows.jobs.relax import QuadrupleRelaxMaker
from crystens_flows.jobs.relax_batch import BatchRelaxMaker
from crystens_flows.relaxation.batch import MAX_FORCE, MAX_IONIC_STEPS

_OPTIONS = {"steps": "--steps", "fmax": "--fmax", "hull_entries": "--hull-entries"}
_OF_CALCULATORS = ("steps", "fmax")


@dataclass(frozen=True)
class Engine:
    """
    An engine that relaxes.

    Parameters
    ----------
    description
        What it is, for a list.
    make
        Makes its Maker of what :attr:`options` names.
    options
        What can be chosen.
    vasp
        Whether it runs VASP.
    """

    description: str
    make: Callable[..., Maker]
    options: tuple[str, ...] = ()
    vasp: bool = False


def _paper(steps: int | None = None) -> Maker:
    import_extra("atomate2.vasp.jobs.base", "vasp", "relaxing with VASP")
    from crystens_flows.jobs.vasp import PaperRelaxMaker
    from crystens_flows.relaxation.vasp_inputs import PaperRelaxSetGenerator

    generator = PaperRelaxSetGenerator()
    if steps is not None:
        generator.max_ionic_steps = steps
    return QuadrupleRelaxMaker.from_relax_maker(PaperRelaxMaker(input_set_generator=generator))


def _materials_project(hull_entries: str | None = None) -> Maker:
    import_extra("atomate2.vasp.jobs.base", "vasp", "relaxing with VASP")
    from crystens_flows.jobs.vasp import mp_relax_makers

    return mp_relax_makers(hull_entries)


def _gpaw(steps: int | None = None, fmax: float | None = None) -> Maker:
    from crystens_flows.jobs.gpaw import GpawRelaxMaker

    given = {"max_ionic_steps": steps, "max_force": fmax}
    known: Any = {name: value for name, value in given.items() if value is not None}
    return QuadrupleRelaxMaker.from_relax_maker(GpawRelaxMaker(**known))


def _chgnet(**options: Any) -> Maker:
    return BatchRelaxMaker(calculator="chgnet", **options)


def _sevennet(**options: Any) -> Maker:
    return BatchRelaxMaker(calculator="7net-l3i5", **options)


ENGINES = {
    "vasp": Engine(
        "VASP as in the paper: PBEsol, 400 eV, 3 x 3 x 3 k-points", _paper, ("steps",), vasp=True
    ),
    "vasp-mp": Engine(
        "VASP, comparable with the Materials Project",
        _materials_project,
        ("hull_entries",),
        vasp=True,
    ),
    "gpaw": Engine("GPAW, as near to the paper as it comes", _gpaw, ("steps", "fmax")),
    "chgnet": Engine("the potential CHGNet", _chgnet, ("steps", "fmax")),
    "7net-l3i5": Engine("the potential SevenNet-l3i5", _sevennet, ("steps", "fmax")),
}
"""The engines by name; beside them, the path of any ASE calculator is one."""


def relax_maker(engine: str, **options: Any) -> Maker:
    """
    Return the Maker of four successive relaxations with an engine.

    Parameters
    ----------
    engine
        One of :data:`ENGINES`, or where a calculator of ASE is: ``"package.module.Class"``.
    **options
        ``steps``, ionic steps of each relaxation at most, ``fmax``, eV/A, below which it ends, and
        ``hull_entries``, as for :class:`QuadrupleRelaxMaker`, for engines that have them; None for
        the engine's own.

    Returns
    -------
    Maker
        A :class:`QuadrupleRelaxMaker`, with jobs for each structure, or a
        :class:`BatchRelaxMaker`, which relaxes many structures in one job.

    Raises
    ------
    InputError
        If there is no such engine, or it does not have an option.
    MissingExtraError
        If a package that making it needs is not installed.
    """
    known = find_engine(engine)
    given = {name: value for name, value in options.items() if value is not None}
    if wrong := sorted(set(given) - set(known.options)):
        option = _OPTIONS.get(wrong[0], wrong[0])
        can = [name for name, each in ENGINES.items() if wrong[0] in each.options]
        if wrong[0] in _OF_CALCULATORS:
            can.append("ASE calculators")
        raise InputError(
            f"engine {engine} has no option {option}; it is one of {', '.join(can)}"
            if can
            else f"no engine has an option {option}"
        )
    return known.make(**given)


def find_engine(engine: str) -> Engine:
    """
    Find an engine by its name.

    Parameters
    ----------
    engine
        As for :func:`relax_maker`.

    Returns
    -------
    Engine
        That of the name, or one for the ASE calculator.

    Raises
    ------
    InputError
        If there is no such engine; the message lists those known.
    """
    if engine in ENGINES:
        return ENGINES[engine]
    if "." not in engine:
        raise InputError(
            f"there is no engine '{engine}': known are {', '.join(ENGINES)}, and the path of any "
            "ASE calculator, e.g. ase.calculators.emt.EMT"
        )

    def make(steps: int = MAX_IONIC_STEPS, fmax: float = MAX_FORCE) -> Maker:
        return _of_calculator(engine, steps, fmax)

    return Engine(f"the ASE calculator {engine}", make, _OF_CALCULATORS)


def _of_calculator(path: str, steps: int, fmax: float) -> Maker:
    from crystens_flows.relaxation.potential_engines import load_engine

    if steps < 2:
        raise InputError(
            f"steps = {steps}: give at least 2 with an ASE calculator, as atomate2 takes 1 for no "
            "relaxation at all"
        )
    load_engine(path)  # what is wrong with it is said now, not by each job
    jobs = import_extra("atomate2.forcefields.jobs", "relax", "relaxing with an ASE calculator")
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    return QuadrupleRelaxMaker.from_relax_maker(
        jobs.ForceFieldRelaxMaker(
            force_field_name={"@module": module, "@callable": name},
            steps=steps,
            relax_kwargs={"fmax": fmax},
            ionic_step_data=("energy",),
        )
    )

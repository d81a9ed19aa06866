"""Relaxation of a crystal with GPAW, in a folder from which it goes on if it was stopped."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monty.json import MontyEncoder
from pymatgen.core import Structure

from crystens_flows.distances import MIN_DISTANCE, shortest_distance
from crystens_flows.errors import InputError, OutputFolderError
from crystens_flows.msonable import structure_from_dict
from crystens_flows.relaxation.gpaw_calculator import (
    FUNCTIONAL,
    GpawError,
    import_gpaw,
    setup_files,
)
from crystens_flows.relaxation.gpaw_cutoffs import PAPER_CUTOFF, Cutoff, needed_cutoff
from crystens_flows.relaxation.gpaw_ionic import IonicLoop
from crystens_flows.relaxation.gpaw_settings import (
    INPUT_FILE,
    RESULT_FILE,
    GpawIonicStep,
    GpawRelaxation,
    GpawSettings,
)

__all__ = ["GpawIonicStep", "GpawRelaxation", "GpawSettings", "choose_cutoff", "relax"]


def choose_cutoff(cutoff: float | None, elements: Sequence[str]) -> tuple[float, str | None]:
    """
    Return the cutoff for a crystal, and what there is to warn of.

    Parameters
    ----------
    cutoff
        In eV; None for the paper's, or more where a setup needs more.
    elements
        Those of the crystal.

    Returns
    -------
    tuple
        The cutoff in eV, and a warning where it is not the paper's or is too low.
    """
    needed = needed_cutoff(elements)
    chosen = needed.cutoff if cutoff is None else float(cutoff)
    return chosen, _cutoff_note(chosen, needed)


def _cutoff_note(cutoff: float, needed: Cutoff) -> str | None:
    if cutoff < needed.cutoff:
        what = ", ".join([*needed.raised_for, *needed.unmeasured])
        return f"the cutoff of {cutoff:g} eV is too low: GPAW needs {needed.cutoff:g} eV for {what}"
    if cutoff == PAPER_CUTOFF:
        return None
    reasons = []
    if needed.raised_for:
        reasons.append(f"the setups of {', '.join(needed.raised_for)} need more")
    if needed.unmeasured:
        reasons.append(f"what {', '.join(needed.unmeasured)} needs was not measured")
    because = f": {'; '.join(reasons)}" if reasons else ""
    return f"the cutoff is {cutoff:g} eV, not the paper's {PAPER_CUTOFF:g} eV{because}"


def relax(
    structure: Structure,
    folder: str | Path,
    settings: GpawSettings | None = None,
    command: str | None = None,
) -> GpawRelaxation:
    """
    Relax cell and atoms, or go on with the relaxation that the folder holds.

    The folder keeps ``gpaw.txt`` (what GPAW tells), ``gpaw.traj`` (the ionic steps, for ASE),
    ``gpaw_input.json`` and ``gpaw_result.json``. Stopped at any point, it goes on from the last
    ionic step with the same steps as if it had not been stopped.

    Parameters
    ----------
    structure
        The structure to relax; magnetic moments and oxidation states are dropped.
    folder
        Where it works.
    settings
        How.
    command
        A Python interpreter that runs it as another process, with what is before it, e.g.
        ``"mpirun -np 8 gpaw python"``; by default it runs in this process.

    Returns
    -------
    GpawRelaxation
        What it found, or the reason why it failed.

    Raises
    ------
    MissingExtraError
        If GPAW is not installed.
    InputError
        If the structure is not ordered.
    OutputFolderError
        If the folder holds another relaxation.
    GpawError
        If the command cannot be run or dies.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.5), ["Si"], [[0, 0, 0]])
    >>> result = relax(silicon.get_primitive_structure(), "silicon")  # doctest: +SKIP
    >>> result.ionic_steps[-1].energy  # doctest: +SKIP
    """
    folder = Path(folder)
    settings = settings or GpawSettings()
    _write_input(structure, folder, settings)
    if not (folder / RESULT_FILE).exists():
        if command is None:
            import_gpaw()
            run_prepared(folder)
        else:
            _run_command(command, folder)
    result = read_result(folder)
    if result.method.get("cutoff_note"):
        warnings.warn(result.method["cutoff_note"], stacklevel=2)
    return result


def _write_input(structure: Structure, folder: Path, settings: GpawSettings) -> None:
    if not structure.is_ordered:
        raise InputError(
            f"GPAW relaxes ordered structures: {structure.formula} has mixed sites: order it first"
        )
    text = json.dumps(
        {
            "elements": [site.specie.symbol for site in structure],
            "lattice": structure.lattice.matrix.tolist(),
            "frac_coords": structure.frac_coords.tolist(),
            "settings": asdict(settings),
        }
    )
    path = folder / INPUT_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if json.loads(path.read_text()) != json.loads(text):
                raise OutputFolderError(
                    f"{folder} holds another relaxation with GPAW: give another folder"
                )
        else:
            _write(path, text)
    except (OSError, ValueError) as exc:
        raise OutputFolderError(f"cannot use the folder {folder}: {exc}: give another one") from exc


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)


def _run_command(command: str, folder: Path) -> None:
    words = [*shlex.split(command), "-m", "crystens_flows.relaxation.gpaw_run"]
    log = folder / "gpaw_command.txt"
    try:
        with log.open("a") as output:
            done = subprocess.run(
                words,
                cwd=folder,
                env=dict(os.environ),  # without what an MPI in this process has put there
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
    except OSError as exc:
        raise GpawError(
            f"cannot run {shlex.join(words)}: {exc.strerror}: correct the command"
        ) from exc
    if not (folder / RESULT_FILE).exists():
        last = log.read_text().strip().splitlines()[-1:] or ["it said nothing"]
        raise GpawError(f"{shlex.join(words)} ended with {done.returncode} in {folder}: {last[0]}")


def run_prepared(folder: str | Path) -> None:
    """
    Relax what the input file of a folder says, and write the result there.

    Parameters
    ----------
    folder
        One that :func:`relax` has prepared.
    """
    gpaw = import_gpaw()
    folder = Path(folder)
    data = json.loads((folder / INPUT_FILE).read_text())
    structure = Structure(data["lattice"], data["elements"], data["frac_coords"])
    settings = GpawSettings(**data["settings"])
    elements = sorted(structure.symbol_set)
    method: dict[str, Any] = {
        "functional": FUNCTIONAL,
        "kpoints": list(settings.kpoints),
        "gamma_centred": settings.gamma_centred,
        "smearing": f"Gaussian, {settings.smearing_width:g} eV",
        "spin_polarized": False,
        "fixed_basis": settings.fixed_basis,
        "version": gpaw.__version__,
    }
    result = GpawRelaxation(None, [], [], False, None, method)
    try:
        distance = shortest_distance(structure.frac_coords, structure.lattice.matrix)
        if distance < MIN_DISTANCE:
            raise GpawError(f"atoms collided, two are {distance:.2f} A apart at the start")
        method["setups"] = setup_files(elements)
        method["cutoff"], method["cutoff_note"] = choose_cutoff(settings.cutoff, elements)
        loop = IonicLoop(structure, folder, settings, method["cutoff"])
        result = loop.run(method)
    except GpawError as exc:
        result = GpawRelaxation(None, [], [], False, str(exc), method)
    if gpaw.mpi.world.rank == 0:
        _write(folder / RESULT_FILE, json.dumps(asdict(result), cls=MontyEncoder))
    gpaw.mpi.world.barrier()


def read_result(folder: str | Path) -> GpawRelaxation:
    """
    Read what a relaxation found.

    Parameters
    ----------
    folder
        Of a relaxation that has ended.

    Returns
    -------
    GpawRelaxation
        What it found.

    Raises
    ------
    OutputFolderError
        If there is no result in the folder.
    """
    path = Path(folder) / RESULT_FILE
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as exc:
        raise OutputFolderError(f"no result of GPAW in {folder}: {exc}: relax there first") from exc
    structure = data.pop("structure")
    steps = data.pop("ionic_steps")
    return GpawRelaxation(
        structure=None if structure is None else structure_from_dict(structure),
        ionic_steps=[GpawIonicStep(**step) for step in steps],
        **data,
    )

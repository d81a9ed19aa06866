"""
A stand-in for ``vasp_std``, to test and rehearse what surrounds VASP: it is not VASP.

It reads POSCAR, INCAR, KPOINTS and POTCAR in the folder it is started in, relaxes with a calculator
of ASE, and writes OUTCAR, OSZICAR, XDATCAR, CONTCAR, CHGCAR and vasprun.xml that pymatgen,
custodian and emmet read. Bands from a density that is kept (ICHARG = 11), on a mesh or along a
line, want the CHGCAR of the calculation before. Start it as
``python -m crystens_flows.testing.vasp_stand_in``.

Real are, for the calculator: energies (as free energies), forces, stresses, the relaxation and when
it stops (NSW, IBRION, ISIF, EDIFFG), and what happens to the files when it is killed or a disk is
full. Placeholders are: band gap, eigenvalues (flat bands), density of states, charge density, Fermi
energy, electronic steps, entropy (:data:`crystens_flows.testing.ENTROPY`), magnetisation and
charges. ENCUT, the k-points, the functional, the smearing, +U and the POTCAR change no energy, and
no basis changes when a relaxation starts anew: how much a second relaxation changes with VASP
cannot be learnt here.

``vasprun.xml`` states the version :data:`crystens_flows.testing.STAND_IN_VERSION`; the first lines
of OUTCAR and of what is printed say the same.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from crystens_flows.errors import CrystensError, InputError
from crystens_flows.testing.calculators import load_calculator
from crystens_flows.testing.cg import Relaxation, free_energy
from crystens_flows.testing.electrons import IonicStep, electrons
from crystens_flows.testing.inputs import Inputs, read_inputs
from crystens_flows.testing.outcar import (
    MARK,
    OSZICAR_TITLE,
    OutcarWriter,
    chgcar,
    contcar,
    ionic_line,
    oszicar_step,
    xdatcar_step,
)
from crystens_flows.testing.vasprun import VasprunWriter

CALCULATOR_VARIABLE = "CRYSTENS_STAND_IN_CALCULATOR"
"""Environment variable that names the calculator where the command does not."""

KBAR = 1602.1766208
"""Of one eV/A^3."""

_RELAXING = (1, 2, 3)
_DEFAULTS = (
    dict.fromkeys(("LASPH", "LHFCALC", "LDAU", "LUSE_VDW", "LCHIMAG"), "F")
    | {
        "LCHARG": "T",
        "PREC": "normal",
        "ALGO": "Normal",
        "GGA": "PE",
        "NELM": 60,
        "POTIM": 0.5,
        "ISIF": 2,
    }
    | {"ISMEAR": 1, "SIGMA": 0.2, "ISPIN": 1, "LORBIT": 0, "AEXX": 0.0, "HFSCREEN": 0.0}
    | {"LCHARG": "T"}
)


def main(arguments: list[str] | None = None) -> int:
    """
    Run in the current folder.

    Parameters
    ----------
    arguments
        Of the command line; by default those of the process.

    Returns
    -------
    int
        Exit status: 1 where an input is wrong or a file cannot be written.
    """
    options = _options(arguments)
    _say(f" {MARK}\n")
    if options.calls is not None:
        with options.calls.open("a") as stream:
            stream.write(f"{Path.cwd()}\n")
    if options.max_file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.max_file_size,) * 2)
    try:
        _run(Path(), options)
    except (CrystensError, OSError) as exc:
        message = f"ERROR: {exc}"
        _say(f" {message}\n")
        sys.stderr.write(f"{message}\n")
        return 1
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--calculator", default=os.environ.get(CALCULATOR_VARIABLE, "pair"))
    parser.add_argument("--calls", type=Path, help="file that gets a line at each call")
    parser.add_argument("--kill-after", type=int, help="kill itself after so many ionic steps")
    parser.add_argument("--max-file-size", type=int, help="bytes that a file may have")
    parser.add_argument("--cut-contcar", action="store_true", help="leave half of CONTCAR")
    return parser.parse_args(arguments)


def _run(folder: Path, options: argparse.Namespace) -> None:
    started = time.perf_counter()
    inputs = read_inputs(folder)
    parameters = _parameters(inputs)
    n_steps, ibrion = int(parameters["NSW"]), int(parameters["IBRION"])
    if ibrion not in (-1, *_RELAXING):
        raise InputError(f"INCAR: IBRION = {ibrion}, the stand-in relaxes only: -1, 1, 2 or 3")
    atoms = inputs.atoms.copy()
    atoms.calc = load_calculator(options.calculator)
    placeholders = electrons(inputs)
    parameters["NBANDS"] = str(len(placeholders.energies))
    with (
        (folder / "OUTCAR").open("w") as outcar_stream,
        (folder / "OSZICAR").open("w") as oszicar,
        (folder / "XDATCAR").open("w") as xdatcar,
        (folder / "vasprun.xml").open("w", encoding="iso-8859-1") as vasprun_stream,
    ):
        outcar = OutcarWriter(outcar_stream, inputs, placeholders, parameters)
        vasprun = VasprunWriter(vasprun_stream, inputs, placeholders, parameters)
        oszicar.write(OSZICAR_TITLE)
        held: list[IonicStep] = []

        def record() -> None:
            step = _step(atoms, held[-1] if held else None)
            if held:
                vasprun.step(held.pop())
            held.append(step)
            outcar.step(step)
            _say(oszicar_step(step), oszicar)
            _say(xdatcar_step(step, inputs), xdatcar)
            (folder / "CONTCAR").write_text(contcar(atoms, inputs))
            _say(ionic_line(step))
            if step.number == options.kill_after:
                os.kill(os.getpid(), signal.SIGKILL)

        moves = n_steps > 0 and ibrion in _RELAXING
        relaxation = Relaxation(
            atoms,
            isif=int(parameters["ISIF"]),
            max_steps=n_steps if moves else 1,
            ediffg=float(parameters["EDIFFG"]),
            record=record,
        )
        converged = relaxation.run() and moves
        vasprun.step(held[-1], last=True)
        vasprun.finish(atoms)
        outcar.finish(time.perf_counter() - started, converged=converged)
    if parameters["LCHARG"].strip(".").upper().startswith("T"):
        (folder / "CHGCAR").write_text(chgcar(atoms, inputs, placeholders.n_spins))
    if converged:
        _say(" reached required accuracy - stopping structural energy minimisation\n")
    if options.cut_contcar:
        os.truncate(folder / "CONTCAR", (folder / "CONTCAR").stat().st_size // 2)


def _step(atoms: Any, before: IonicStep | None) -> IonicStep:
    number = before.number + 1 if before else 1
    energy = free_energy(atoms)
    forces = np.array(atoms.get_forces(apply_constraint=False))
    stress = -KBAR * np.array(atoms.get_stress(voigt=False))
    if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
        raise InputError(f"energy, forces or stress are not finite at ionic step {number}")
    change = energy - before.energy if before else energy
    return IonicStep(number, atoms.copy(), energy, change, forces, stress)


def _say(text: str, stream: TextIO | None = None) -> None:
    stream = stream or sys.stdout
    stream.write(text)
    stream.flush()


def _parameters(inputs: Inputs) -> dict[str, str]:
    """Return all tags with the values that VASP would use."""
    number = inputs.incar.number
    n_steps = int(number("NSW", 0))
    ediff = number("EDIFF", 1e-4)
    cutoff = number("ENCUT", max(potential.cutoff for potential in inputs.potentials))
    defaults = {
        **_DEFAULTS,
        "ENMAX": cutoff,
        "EDIFF": ediff,
        "NSW": n_steps,
        "IBRION": 0 if n_steps else -1,
    }
    numbers = ("NSW", "IBRION", "ISIF", "ISPIN", "NELM", "ISMEAR")
    given = {
        tag: str(int(number(tag, 0))) if tag in numbers else text
        for tag, text in inputs.incar.items()
        if tag != "ENCUT"
    }
    return {
        **{tag: str(value) for tag, value in defaults.items()},
        **given,
        "EDIFFG": str(number("EDIFFG", 10 * ediff)),
        "NELECT": f"{inputs.n_electrons:.8f}",
    }


if __name__ == "__main__":
    sys.exit(main())

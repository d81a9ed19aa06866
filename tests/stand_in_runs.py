"""Real crystals, away from their equilibrium, and what the stand-in is asked to do with them."""

from __future__ import annotations

import contextlib
import io
import shlex
import subprocess
from pathlib import Path

from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Incar, Kpoints, Poscar, Potcar

from crystens_flows.testing import stand_in_command
from crystens_flows.testing.vasp_stand_in import main

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
).get_primitive_structure()
PEROVSKITE = Structure.from_spacegroup(
    "Pnma",
    Lattice.orthorhombic(5.44, 7.64, 5.38),
    ["Ca", "Ti", "O", "O"],
    [[0.035, 0.25, 0.99], [0, 0, 0.5], [0.48, 0.25, 0.07], [0.29, 0.037, 0.71]],
)
BADDELEYITE = Structure.from_spacegroup(
    "P2_1/c",
    Lattice.monoclinic(5.15, 5.21, 5.32, 99.2),
    ["Zr", "O", "O"],
    [[0.275, 0.040, 0.208], [0.070, 0.332, 0.345], [0.450, 0.757, 0.479]],
)
GOLD_COPPER = Structure(Lattice.tetragonal(2.85, 3.60), ["Cu", "Au"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CRYSTALS = {
    "rock salt": ROCK_SALT,
    "perovskite": PEROVSKITE,
    "baddeleyite": BADDELEYITE,
    "gold and copper": GOLD_COPPER,
}
_ELECTRONS = {"GGA": "Ps", "ENCUT": 400, "ISMEAR": 0, "SIGMA": 0.1, "EDIFF": 1e-5}
_IONS = {"EDIFFG": 1e-5, "IBRION": 2, "ISIF": 3, "NSW": 99}
INCAR = {**_ELECTRONS, **_IONS}


def write_inputs(folder: Path, structure: Structure, **tags: object) -> None:
    """Write the four files by pymatgen, with POTCARs from PMG_VASP_PSP_DIR."""
    structure = structure.get_sorted_structure()
    folder.mkdir(parents=True, exist_ok=True)
    Poscar(structure).write_file(folder / "POSCAR")
    Incar({**INCAR, **tags}).write_file(folder / "INCAR")
    Kpoints.gamma_automatic((2, 2, 2)).write_file(folder / "KPOINTS")
    symbols = list(dict.fromkeys(site.specie.symbol for site in structure))
    Potcar(symbols, functional="PBE_54").write_file(folder / "POTCAR")


def start_stand_in(folder: Path, calculator: str | None = "pair", **faults: object):
    """Start the command in a folder, as custodian does."""
    command = shlex.split(stand_in_command(calculator, **faults))
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def run_stand_in(folder: Path, calculator: str | None = "pair"):
    """Run it in this process, which takes less time than starting one."""
    arguments = shlex.split(stand_in_command(calculator))[3:]
    printed, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(errors),
    ):
        status = main(arguments)
    return subprocess.CompletedProcess(arguments, status, printed.getvalue(), errors.getvalue())


def run_flow(flow, folder: Path) -> JobStore:
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        run_locally(flow, store=store, log=False, create_folders=True, ensure_success=True)
    return store

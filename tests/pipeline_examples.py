"""Crystals and ways to run the scripts in workflows/ that go into existing pipelines."""

from __future__ import annotations

import runpy
import sys
import warnings
from pathlib import Path

from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.jobs import CGCNNPrefilterMaker, SelectMaker, ValidityPrefilterMaker
from crystens_flows.screening.selection import SelectionRules

WORKFLOWS = Path(__file__).parents[1] / "workflows"
SCRIPTS = ("prefilter_own_flow", "relax_generated", "elastic_and_bands", "vasp_with_powerups")


def fcc(element: str, a: float) -> Structure:
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, [element], [[0, 0, 0]])


COLLIDING = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.02, 0, 0]])
"""Rejected as no crystal."""


def write_cifs(folder: Path, **structures: Structure) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, structure in structures.items():
        structure.to(str(folder / f"{name}.cif"), fmt="cif")


def write_extxyz(file: Path, structures: list[Structure]) -> None:
    """Write structures as MatterGen does: a frame each, by ASE."""
    import ase.io

    ase.io.write(file, [AseAtomsAdaptor.get_atoms(each) for each in structures], format="extxyz")


def run_script(name: str, *arguments: object, monkeypatch, capsys) -> str:
    """Run a script in this process, as `python workflows/name.py` does; return what it printed."""
    path = WORKFLOWS / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


def own_flow(structures, **others):
    """Screen quickly and select all."""
    maker = DiscoveryFlowMaker(
        screen_makers=[
            ValidityPrefilterMaker(),
            CGCNNPrefilterMaker(max_formation_energy_per_atom=None),
        ],
        select_maker=SelectMaker(rules=SelectionRules.paper(n_pool=3, n_select=3), hull=None),
        tune_maker=None,
        **others,
    )
    return maker.make_from_structures(structures, campaign="own")

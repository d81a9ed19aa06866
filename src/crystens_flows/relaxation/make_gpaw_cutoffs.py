"""
Measure the cutoff that each PAW setup of GPAW needs, for the file that ships with the package.

Run as ``python -m crystens_flows.relaxation.make_gpaw_cutoffs [-o FILE] [ELEMENT ...]``; started
again it goes on where it was. One simple crystal or two stand for each element: the element itself,
and a compound with a soft partner where the element alone misleads, as a cation or an anion. At one
volume near that of equilibrium the pressure at a fixed cutoff is measured for a high cutoff, and
from the lowest on until two in a row are right: the difference of pressures, divided by three bulk
moduli, is by how much the lattice constant is wrong. Ten to sixty seconds a crystal on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystens_flows.relaxation.gpaw_calculator import (
    basis_pressure,
    calculator,
    energy_by_cutoff,
    free_energy,
    import_gpaw,
    stress_in_kbar,
)
from crystens_flows.relaxation.gpaw_cutoffs import FILE, MAX_CORRECTION, MEASURED, TOLERANCE

if TYPE_CHECKING:
    from ase import Atoms

REFERENCE = 1200.0
"""The cutoff that counts as converged, eV."""

KPOINTS = (3, 3, 3)

MODULUS_CUTOFF = 700.0
"""The bulk modulus is measured with it, eV."""

STRAIN = 0.01
"""The bulk modulus is taken between lattice constants so much smaller and larger."""

_ALONE = (
    "Al Si Sc Ti V Cr Fe Co Ni Cu Zn Ge Y Zr Nb Mo Ag Cd Sn Pd Pt Au W Ta Hf Ru Rh Re Os Ir Pb Tl"
)

# Lattice constants near PBEsol's, angstrom; where there is none, ASE's experimental crystal.
CRYSTALS: dict[str, list[tuple[Any, ...]]] = {
    **{element: [(element,)] for element in _ALONE.split()},
    "H": [("LiH", "rocksalt", 4.00)],
    "Li": [("Li",), ("LiCl", "rocksalt", 5.06)],
    "Be": [("Be",), ("BeS", "zincblende", 4.84)],
    "B": [("BP", "zincblende", 4.525)],
    "C": [("C",), ("SiC", "zincblende", 4.36)],
    "N": [("AlN", "zincblende", 4.38)],
    "O": [("MgO", "rocksalt", 4.222)],
    "F": [("NaF", "rocksalt", 4.635), ("LiF", "rocksalt", 4.006)],
    "Na": [("Na",), ("NaCl", "rocksalt", 5.605)],
    "Mg": [("Mg",), ("MgS", "rocksalt", 5.184)],
    "P": [("AlP", "zincblende", 5.476)],
    "S": [("MgS", "rocksalt", 5.184)],
    "Cl": [("NaCl", "rocksalt", 5.605)],
    "K": [("K",), ("KCl", "rocksalt", 6.25)],
    "Ca": [("Ca",), ("CaS", "rocksalt", 5.64)],
    "Mn": [("Mn", "fcc", 3.50)],
    "Ga": [("GaAs", "zincblende", 5.662)],
    "As": [("GaAs", "zincblende", 5.662)],
    "Se": [("MgSe", "rocksalt", 5.46)],
    "Br": [("KBr", "rocksalt", 6.58)],
    "Rb": [("Rb",), ("RbCl", "rocksalt", 6.57)],
    "Sr": [("Sr",), ("SrS", "rocksalt", 5.97)],
    "In": [("InP", "zincblende", 5.88)],
    "Sb": [("AlSb", "zincblende", 6.17)],
    "Te": [("MgTe", "zincblende", 6.43)],
    "I": [("KI", "rocksalt", 7.04)],
    "Cs": [("Cs",), ("CsCl", "cesiumchloride", 4.08)],
    "Ba": [("Ba",), ("BaS", "rocksalt", 6.36)],
    "Hg": [("HgTe", "zincblende", 6.49)],
    "Bi": [("Bi", "sc", 3.18)],
    **{
        element: [(element, "fcc", constant)]
        for element, constant in {
            "La": 5.2,
            "Ce": 4.6, "Pr": 5.1, "Nd": 5.1, "Sm": 5.1, "Eu": 5.5, "Gd": 5.0, "Tb": 5.0,
            "Dy": 5.0, "Ho": 4.95, "Er": 4.9, "Tm": 4.9, "Yb": 5.4, "Lu": 4.85,
        }.items()
    },
}  # fmt: skip


def measure(crystal: tuple[Any, ...]) -> dict[str, Any]:
    """
    Measure how wrong the lattice constant is at each cutoff.

    Parameters
    ----------
    crystal
        Formula, and structure and lattice constant as for ``ase.build.bulk``.

    Returns
    -------
    dict
        The bulk modulus in kbar and, by cutoff, the relative error of the lattice constant from
        the pressure at a fixed cutoff (``errors``) and from that of a fixed set of plane waves
        (``fixed_basis_errors``), and the derivative of the energy by the cutoff, a cell.
    """
    from ase.build import bulk

    formula, *rest = crystal
    atoms = bulk(formula, *rest[:1], **({"a": rest[1]} if rest[1:] else {}))
    atoms.set_initial_magnetic_moments(None)  # ASE's iron, cobalt and nickel have some
    volume = atoms.get_volume()
    derivatives, fixed_basis = {}, {}

    def pressure(cutoff: float) -> float:
        fixed_basis[cutoff] = _pressure(atoms, cutoff)
        derivatives[cutoff] = energy_by_cutoff(atoms, cutoff, kpoints=KPOINTS)
        return fixed_basis[cutoff] + basis_pressure(derivatives[cutoff], cutoff, volume)

    modulus = _bulk_modulus(atoms)
    true = pressure(REFERENCE)
    errors: dict[str, float] = {}
    uncorrected: dict[str, float] = {}
    for cutoff in MEASURED:
        errors[f"{cutoff:g}"] = round((pressure(cutoff) - true) / (3 * modulus), 6)
        uncorrected[f"{cutoff:g}"] = round((fixed_basis[cutoff] - true) / (3 * modulus), 6)
        last = list(errors)[-2:]
        if len(last) == 2 and all(_right(errors[c], uncorrected[c]) for c in last):
            break
    return {
        "crystal": list(crystal),
        "volume": round(volume, 4),
        "bulk_modulus": round(modulus, 1),
        "errors": errors,
        "fixed_basis_errors": uncorrected,
        "dedecut": {f"{cutoff:g}": float(f"{d:.3g}") for cutoff, d in derivatives.items()},
    }


def _right(error: float, uncorrected: float) -> bool:
    return abs(error) < TOLERANCE and abs(uncorrected) < MAX_CORRECTION


def _pressure(atoms: Atoms, cutoff: float) -> float:
    crystal = atoms.copy()
    crystal.calc = calculator(cutoff, KPOINTS)
    free_energy(crystal)
    return float(np.trace(stress_in_kbar(crystal)) / 3)


def _bulk_modulus(atoms: Atoms) -> float:
    pressures = []
    for factor in (1 - STRAIN, 1 + STRAIN):
        crystal = atoms.copy()
        crystal.set_cell(atoms.cell * factor, scale_atoms=True)
        pressures.append(_pressure(crystal, MODULUS_CUTOFF))
    return (pressures[0] - pressures[1]) / (6 * STRAIN)


def lowest_cutoff(measurements: Sequence[dict[str, Any]]) -> float | None:
    """
    Return the lowest cutoff from which on the lattice constants are right.

    Parameters
    ----------
    measurements
        As :func:`measure` returns them.

    Returns
    -------
    float or None
        In eV; None where even the highest cutoff does not do.
    """
    needs = []
    for measurement in measurements:
        right: list[float] = []
        for cutoff, error in measurement["errors"].items():
            if _right(error, measurement["fixed_basis_errors"][cutoff]):
                right.append(float(cutoff))
            else:
                right.clear()
        if not right:
            return None
        needs.append(right[0])
    return max(needs)


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Measure and write.

    Parameters
    ----------
    arguments
        Of the command line; those of the process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("elements", nargs="*", metavar="ELEMENT")
    parser.add_argument("-o", "--output", type=Path, default=FILE)
    options = parser.parse_args(arguments)
    gpaw = import_gpaw()
    table: dict[str, Any] = {"elements": {}, "crystals": {}}
    if options.output.exists():
        table = json.loads(options.output.read_text())
    table |= {
        "gpaw": gpaw.__version__,
        "tolerance": TOLERANCE,
        "max_correction": MAX_CORRECTION,
        "cutoffs": list(MEASURED),
        "reference": REFERENCE,
    }
    for element in options.elements or CRYSTALS:
        names = []
        for crystal in CRYSTALS[element]:
            name = " ".join(map(str, crystal[:2]))
            names.append(name)
            if name not in table["crystals"]:
                table["crystals"][name] = measure(crystal)
        found = [table["crystals"][name] for name in names]
        table["elements"][element] = {"cutoff": lowest_cutoff(found), "crystals": names}
        temporary = options.output.with_suffix(".new")
        temporary.write_text(json.dumps(table, indent=1) + "\n")
        temporary.replace(options.output)
        print(element, table["elements"][element]["cutoff"], flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

"""Reading what VASP reads, and refusing what it refuses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from crystens_flows.errors import InputError, import_extra
from crystens_flows.testing.kpoints import Mesh, PointList, mesh_of_spacing, read_kpoints
from crystens_flows.testing.potcars import nominal_valence

DEFAULT_SPACING = 0.5
"""KSPACING where neither the INCAR nor a KPOINTS file says anything, 1/A."""


@dataclass(frozen=True)
class Potential:
    """
    One potential of the POTCAR.

    Parameters
    ----------
    title
        Its TITEL.
    element
        Symbol of the element.
    valence
        Electrons.
    cutoff
        Its ENMAX, eV.
    """

    title: str
    element: str
    valence: float
    cutoff: float


class Incar(dict[str, str]):
    """The tags of an INCAR, in capitals, each with its text."""

    def number(self, tag: str, default: float) -> float:
        """
        Return the number that a tag has.

        Parameters
        ----------
        tag
            The tag.
        default
            What VASP takes where it is not given.

        Returns
        -------
        float
            The number.

        Raises
        ------
        InputError
            If it is none.
        """
        text = self.get(tag)
        if text is None:
            return default
        try:
            return float(re.sub("[dD]", "e", text.split()[0]))
        except (ValueError, IndexError):
            raise InputError(f"INCAR: {tag} = {text!r} is no number") from None


@dataclass(frozen=True)
class Inputs:
    """
    Everything that was read.

    Parameters
    ----------
    comment
        First line of the POSCAR.
    atoms
        The structure, an ``ase.Atoms``; selective dynamics as constraints.
    species
        Symbol and number of the atoms of each block of the POSCAR.
    incar
        The tags.
    kpoints
        The mesh or the list.
    potentials
        One for each block.
    """

    comment: str
    atoms: Any
    species: list[tuple[str, int]]
    incar: Incar
    kpoints: Mesh | PointList
    potentials: list[Potential]

    @property
    def n_electrons(self) -> float:
        """Sum of the valence electrons."""
        pairs = zip(self.species, self.potentials, strict=True)
        return sum(n * potential.valence for (_, n), potential in pairs)


def read_inputs(folder: Path) -> Inputs:
    """
    Read POSCAR, INCAR, KPOINTS and POTCAR.

    Parameters
    ----------
    folder
        Where they are. A POTCAR.spec (labels only) is enough in place of a POTCAR; KPOINTS may be
        missing, as the mesh then comes from KSPACING.

    Returns
    -------
    Inputs
        What was read.

    Raises
    ------
    InputError
        If a file is missing, cannot be read, or does not match the others.
    """
    incar = read_incar(_text(folder, "INCAR"))
    comment, atoms = _read_poscar(folder)
    groups = [(symbol, len(list(g))) for symbol, g in groupby(atoms.get_chemical_symbols())]
    potentials = _read_potentials(folder)
    given = [each.element for each in potentials]
    if given != [symbol for symbol, _ in groups]:
        raise InputError(
            f"POTCAR has potentials of {' '.join(given) or 'nothing'}, "
            f"POSCAR has atoms of {' '.join(symbol for symbol, _ in groups)}: they must match"
        )
    if incar.number("ICHARG", 0) >= 10:
        _check_density(folder, groups)
    text = _text(folder, "KPOINTS") if (folder / "KPOINTS").is_file() else None
    if text is None:
        spacing = incar.number("KSPACING", DEFAULT_SPACING)
        kpoints: Mesh | PointList = mesh_of_spacing(spacing, atoms.cell.reciprocal())
    else:
        kpoints = read_kpoints(text)
    return Inputs(comment, atoms, groups, incar, kpoints, potentials)


def _check_density(folder: Path, groups: list[tuple[str, int]]) -> None:
    """Raise if there is no density of these atoms to begin with, as VASP does."""
    lines = _text(folder, "CHGCAR").splitlines()
    try:
        numbers = [int(each) for each in lines[6].split()]
        if list(zip(lines[5].split(), numbers, strict=True)) != groups:
            raise ValueError
    except (ValueError, IndexError):
        raise InputError("CHGCAR: this is no density of the atoms in POSCAR") from None


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text()
    except FileNotFoundError:
        raise InputError(f"{name} is missing") from None
    except UnicodeDecodeError:
        raise InputError(f"{name} is no text") from None


def read_incar(text: str) -> Incar:
    """
    Read the tags of an INCAR.

    Parameters
    ----------
    text
        Its text.

    Returns
    -------
    Incar
        The tags.

    Raises
    ------
    InputError
        If a line is no ``TAG = value``.
    """
    incar = Incar()
    text = re.sub(r"[!#].*", "", text).replace("\\\n", " ")
    for statement in re.split(r"[\n;]", text):
        tag, equals, value = statement.partition("=")
        if equals and re.fullmatch(r"\w+", tag.strip()) and value.strip():
            incar[tag.strip().upper()] = value.strip()
        elif statement.strip():
            raise InputError(f"INCAR: cannot read the line {statement.strip()!r}")
    return incar


def _read_poscar(folder: Path) -> tuple[str, Any]:
    lines = _text(folder, "POSCAR").splitlines()
    try:
        return lines[0].strip(), _atoms(lines)
    except (ValueError, IndexError, KeyError) as exc:
        raise InputError(f"POSCAR: cannot be read ({type(exc).__name__}: {exc})") from exc


def _atoms(lines: list[str]) -> Any:
    """Make the atoms of a POSCAR with symbols, as VASP 5 reads it."""
    ase = import_extra("ase", "ase", "the stand-in for VASP")
    cell = np.array([[float(x) for x in line.split()[:3]] for line in lines[2:5]])
    scale = float(lines[1].split()[0])
    cell *= scale if scale > 0 else (-scale / abs(np.linalg.det(cell))) ** (1 / 3)
    symbols = [
        symbol
        for symbol, n in zip(lines[5].split(), lines[6].split(), strict=True)
        for _ in range(int(n))
    ]
    selective = lines[7].strip()[:1] in ("S", "s")
    start = 9 if selective else 8
    cartesian = lines[start - 1].strip()[:1] in ("C", "c", "K", "k")
    words = [line.split() for line in lines[start : start + len(symbols)]]
    coordinates = np.array([[float(x) for x in row[:3]] for row in words])
    numbers = np.concatenate([cell.ravel(), coordinates.ravel()])
    if coordinates.shape != (len(symbols), 3) or not np.isfinite(numbers).all():
        raise ValueError("coordinates are missing, or not finite")
    if abs(np.linalg.det(cell)) < 1e-3:
        raise ValueError("the cell has no volume")
    positions = abs(scale) * coordinates if cartesian else coordinates @ cell
    atoms = ase.Atoms(symbols, positions=positions, cell=cell, pbc=True)
    if selective:
        fixed = np.array([[flag.upper() == "F" for flag in row[3:6]] for row in words])
        constraints = import_extra("ase.constraints", "ase", "selective dynamics")
        atoms.set_constraint(
            [constraints.FixScaled([i], row) for i, row in enumerate(fixed) if row.any()]
        )
    return atoms


def _read_potentials(folder: Path) -> list[Potential]:
    if not (folder / "POTCAR").is_file() and (folder / "POTCAR.spec").is_file():
        labels = _text(folder, "POTCAR.spec").split()
        return [
            Potential(f"PAW_PBE {label}", symbol, nominal_valence(symbol), 300.0)
            for label in labels
            for symbol in [label.split("_")[0]]
        ]
    parts = _text(folder, "POTCAR").split("End of Dataset")[:-1]
    return [_potential(part, number) for number, part in enumerate(parts, start=1)]


def _potential(text: str, number: int) -> Potential:
    found = {
        tag: re.search(rf"\b{tag}\s*=\s*([^;\n]+)", text)
        for tag in ("TITEL", "VRHFIN", "ZVAL", "ENMAX")
    }
    missing = [tag for tag, match in found.items() if match is None]
    if missing:
        raise InputError(f"POTCAR: potential {number} has no {', '.join(missing)}")
    title, element, valence, cutoff = (match[1].strip() for match in found.values() if match)
    return Potential(
        title, element.split(":")[0].strip(), float(valence.split()[0]), float(cutoff.split()[0])
    )

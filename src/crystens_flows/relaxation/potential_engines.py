"""What computes energies, forces and stresses for relaxations."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from crystens_flows.errors import InputError, import_extra
from crystens_flows.screening.potentials.energies import unfit
from crystens_flows.screening.potentials.registry import POTENTIALS, Derivatives, load_potential

MAX_BYTES = 400_000_000
"""Memory of one pass through a network, forth and back. A structure that takes more is a pass of
its own."""


@dataclass
class Crystal:
    """
    A crystal that moves.

    Parameters
    ----------
    structure
        As it was given.
    positions
        Where the sites are now: cartesian, in angstrom, shape ``(sites, 3)``.
    cell
        The lattice vectors now, as rows, in angstrom.
    """

    structure: Structure
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]


class Engine(Protocol):
    """What is asked of an engine."""

    name: str
    """As documents name it."""
    method: dict[str, Any]
    """Which model or calculator it is."""
    together: bool
    """Whether it gains from being asked about many crystals at once."""

    def unfit(self, structure: Structure) -> str | None:
        """Tell why it cannot be asked about a structure; None where there is no reason."""

    def evaluate(self, crystals: Sequence[Crystal]) -> list[Derivatives | str]:
        """Evaluate some crystals: for each energy, forces and stress, or why there are none."""


def load_engine(calculator: str, calculator_kwargs: Mapping[str, Any] | None = None) -> Engine:
    """
    Load an engine.

    Parameters
    ----------
    calculator
        ``"chgnet"``, ``"7net-l3i5"``, or where a calculator of ASE is: ``"package.module:Class"``
        or ``"package.module.Class"``; a function that makes one will do.
    calculator_kwargs
        Arguments of that class.

    Returns
    -------
    Engine
        With its model loaded, or its calculator made.

    Raises
    ------
    InputError
        If there is no such potential or calculator, it cannot be made of the arguments, or it
        computes no stress.
    MissingExtraError
        If the package of the potential, or ASE, is not installed.
    CheckpointError
        If the weights of the potential are not in its package.
    """
    if calculator in POTENTIALS:
        if calculator_kwargs:
            raise InputError(
                f"calculator '{calculator}' takes no arguments: give the path of an ASE calculator "
                "to choose some"
            )
        return PotentialEngine(calculator)
    return CalculatorEngine(calculator, calculator_kwargs or {})


class PotentialEngine:
    """
    A potential of this package, asked about many crystals at once.

    Parameters
    ----------
    potential
        One of :data:`crystens_flows.screening.potentials.POTENTIALS`.
    """

    together = True

    def __init__(self, potential: str) -> None:
        self._potential = load_potential(potential)
        self.method = self._potential.card()
        self.name = str(self.method["name"]).split()[0]  # as atomate2 names it, without version

    def unfit(self, structure: Structure) -> str | None:
        """Tell why it cannot be asked: no crystal, far too dense or sparse, an element unknown."""
        return unfit(structure, self._potential)

    def evaluate(self, crystals: Sequence[Crystal]) -> list[Derivatives | str]:
        """Evaluate some crystals, as many at a time as :data:`MAX_BYTES` hold."""
        found: list[Derivatives | str] = [""] * len(crystals)
        batch: list[tuple[int, Any]] = []
        n_bytes = 0
        for i, crystal in enumerate(crystals):
            graph, reason = self._graph(crystal)
            if reason:
                found[i] = reason
                continue
            size = self._potential.memory(graph)
            if batch and n_bytes + size > MAX_BYTES:
                self._pass(batch, found)
                batch, n_bytes = [], 0
            batch.append((i, graph))
            n_bytes += size
        self._pass(batch, found)
        return found

    def _graph(self, crystal: Crystal) -> tuple[Any, str | None]:
        lattice = crystal.structure.lattice
        # the shape changes little: what reduces the cell at the start, reduces it well enough
        reduce = np.round(lattice.get_lll_reduced_lattice().matrix @ lattice.inv_matrix)
        numbers = np.array([site.specie.Z for site in crystal.structure])
        return self._potential.graph_of(numbers, crystal.positions, reduce @ crystal.cell)

    def _pass(self, batch: list[tuple[int, Any]], found: list[Derivatives | str]) -> None:
        if not batch:
            return
        try:
            derivatives = self._potential.derivatives([graph for _, graph in batch])
        except RuntimeError as exc:  # of torch, above all where memory is short
            if len(batch) == 1:
                found[batch[0][0]] = f"{self.name} failed: {_in_one_line(exc)}"
            else:
                for alone in batch:
                    self._pass([alone], found)
            return
        for (i, _), each in zip(batch, derivatives, strict=True):
            found[i] = each


class CalculatorEngine:
    """
    A calculator of ASE, asked about one crystal after the other.

    Parameters
    ----------
    path
        ``"package.module:Class"`` or ``"package.module.Class"``.
    arguments
        Arguments of that class.

    Raises
    ------
    InputError
        If there is no such calculator, it cannot be made, or it computes no stress.
    MissingExtraError
        If ASE is not installed.
    """

    together = False

    def __init__(self, path: str, arguments: Mapping[str, Any]) -> None:
        self._calculator = _make_calculator(path, arguments)
        name = getattr(self._calculator, "name", None)
        self.name = str(name or type(self._calculator).__name__)
        self.method = {"calculator": path, "calculator_kwargs": dict(arguments)}
        self._adaptor = import_extra("pymatgen.io.ase", "ase", "ASE's calculators").AseAtomsAdaptor

    def unfit(self, structure: Structure) -> str | None:
        """Tell why it cannot be asked: only of ordered sites can Atoms be made."""
        if not structure.is_ordered:
            return "disordered sites"
        finite = (
            np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()
        )
        return None if finite else "lattice or coordinates are not finite"

    def evaluate(self, crystals: Sequence[Crystal]) -> list[Derivatives | str]:
        """Evaluate some crystals."""
        return [self._evaluate(crystal) for crystal in crystals]

    def _evaluate(self, crystal: Crystal) -> Derivatives | str:
        try:
            atoms = self._adaptor.get_atoms(crystal.structure, msonable=False)
            atoms.set_constraint()
            atoms.set_cell(crystal.cell)
            atoms.set_positions(crystal.positions)
            atoms.calc = self._calculator
            with contextlib.redirect_stdout(io.StringIO()):
                return Derivatives(
                    energy=float(atoms.get_potential_energy()),
                    forces=np.asarray(atoms.get_forces(), dtype=float),
                    stress=np.asarray(atoms.get_stress(voigt=False), dtype=float),
                )
        except Exception as exc:  # noqa: BLE001  # one structure must not stop the others
            return f"{self.name} failed: {_in_one_line(exc)}"


def _make_calculator(path: str, arguments: Mapping[str, Any]) -> Any:
    import_extra("ase", "ase", "ASE's calculators")
    module_name, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not module_name or not name:
        raise InputError(
            f"no potential is called '{path}': take one of {', '.join(POTENTIALS)}, or the path of "
            "an ASE calculator, as ase.calculators.emt.EMT"
        )
    try:
        found = getattr(importlib.import_module(module_name), name)
    except ImportError as exc:
        raise InputError(
            f"cannot import the calculator {path}: {exc}: install its package"
        ) from exc
    except AttributeError as exc:
        raise InputError(f"cannot import the calculator {path}: {exc}: correct its path") from exc
    if not callable(found):
        raise InputError(f"{path} is no calculator: give the path of a class of ASE's kind")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            calculator = found(**arguments)
    except Exception as exc:
        raise InputError(
            f"cannot make the calculator {path} of {dict(arguments)}: {_in_one_line(exc)}: "
            "correct its arguments, or give the path of another"
        ) from exc
    if "stress" not in getattr(calculator, "implemented_properties", ()):
        raise InputError(
            f"{path} computes no stress: relaxing a cell needs a calculator with energy, forces "
            "and stress"
        )
    return calculator


def _in_one_line(exc: Exception) -> str:
    return " ".join(f"{type(exc).__name__}: {exc}".split())

"""The potentials, by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from crystens_flows.errors import InputError

POTENTIALS = {"chgnet": "chgnet", "7net-l3i5": "sevenn"}
"""The package that brings each potential."""


@dataclass(frozen=True)
class Derivatives:
    """
    The energy of a structure and its derivatives.

    Parameters
    ----------
    energy
        Of the cell, in eV.
    forces
        In eV/A, shape ``(sites, 3)``.
    stress
        In eV/A^3, positive = expanded, as ASE has it; symmetric, shape ``(3, 3)``.
    """

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


class Potential(Protocol):
    """What is asked of a potential; :mod:`.energies` asks it for many structures."""

    name: str
    elements: frozenset[int]
    """Atomic numbers the potential knows."""
    shifted: tuple[int, ...]
    """Atomic numbers that need another reference beside oxygen or fluorine."""

    def graph(self, structure: Structure) -> tuple[Any, str | None]:
        """Make the graph of a valid structure, or say why there is none."""

    def graph_of(
        self,
        numbers: NDArray[np.int64],
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
    ) -> tuple[Any, str | None]:
        """Make it from atomic numbers, cartesian positions and lattice vectors as rows."""

    def energies(self, graphs: list[Any]) -> NDArray[np.float64]:
        """Evaluate some graphs at once: total energies in eV/atom, shape ``(n,)``."""

    def derivatives(self, graphs: list[Any]) -> list[Derivatives]:
        """Evaluate some graphs at once: energies, forces and stresses."""

    def memory(self, graph: Any) -> int:
        """Estimate the bytes that :meth:`derivatives` takes for a graph."""

    def calculator(self) -> Any:
        """Return an ASE calculator, for forces and stresses."""

    def card(self) -> dict[str, Any]:
        """Say which model this is."""


def available_potentials() -> list[str]:
    """
    List the potentials whose package is installed.

    Returns
    -------
    list of str
        Names that :func:`~crystens_flows.screening.potentials.predict` takes.
    """
    return [name for name, package in POTENTIALS.items() if find_spec(package) is not None]


@lru_cache(maxsize=len(POTENTIALS))
def load_potential(name: str) -> Potential:
    """
    Load a potential, once.

    Parameters
    ----------
    name
        One of :data:`POTENTIALS`.

    Returns
    -------
    Potential
        On the CPU.

    Raises
    ------
    InputError
        If there is no potential of that name.
    MissingExtraError
        If its package is not installed.
    CheckpointError
        If its weights are not in the package.
    """
    if name == "chgnet":
        from crystens_flows.screening.potentials.chgnet import CHGNetPotential

        return CHGNetPotential()
    if name == "7net-l3i5":
        from crystens_flows.screening.potentials.sevennet import SevenNetPotential

        return SevenNetPotential()
    raise InputError(f"no potential is called '{name}': take one of {', '.join(POTENTIALS)}")

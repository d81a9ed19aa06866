"""What the stand-in computes energies with: real calculators of ASE."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from crystens_flows.errors import InputError, import_extra

if TYPE_CHECKING:
    from numpy.typing import NDArray

WELL_DEPTHS = (0.1, 0.6, 0.05)
"""Of the pair potential, eV: between two atoms of other elements, one of them and one of
:data:`ANIONS`, and two of those."""

ANION_GAP = 1.5
"""How much farther than their covalent radii two anions are at the minimum, A; without it salts and
oxides would collapse."""

ANIONS = (7, 8, 9, 15, 16, 17, 34, 35, 52, 53)
"""Atomic numbers of nitrogen to fluorine, phosphorus to chlorine, and those below."""

STEEPNESS = 6.0
"""Of the pair potential: its exponent over the distance of the minimum, as in Lennard-Jones."""


def load_calculator(name: str) -> Any:
    """
    Return a calculator of ASE.

    Parameters
    ----------
    name
        ``"pair"``, a pair potential for any element; ``"emt"``; ``"chgnet"``; or the dotted path
        of a class or function that makes a calculator without arguments.

    Returns
    -------
    ase.calculators.calculator.Calculator
        The calculator.

    Raises
    ------
    InputError
        If there is none of that name.
    MissingExtraError
        If the package that has it is not installed.
    """
    if name == "pair":
        return pair_potential()
    if name == "emt":
        return import_extra("ase.calculators.emt", "ase", "the calculator 'emt'").EMT()
    if name == "chgnet":
        chgnet = import_extra("chgnet.model.dynamics", "relax", "the calculator 'chgnet'")
        return chgnet.CHGNetCalculator(use_device="cpu")
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError) as exc:
        raise InputError(
            f"no calculator is called '{name}': take pair, emt, chgnet, or the dotted path of one "
            f"({exc})"
        ) from exc


def pair_potential() -> Any:
    """
    Return a Morse potential between all atoms, with its minimum at the sum of covalent radii.

    For two anions the minimum is farther, by :data:`ANION_GAP`. Energy and force are shifted so
    that both end smoothly at twice its distance. It knows no charges: it is for tests of what
    happens to energies, forces and stresses, not for their values.

    Returns
    -------
    ase.calculators.calculator.Calculator
        With energy, forces and stress.
    """
    base = import_extra("ase.calculators.calculator", "ase", "the stand-in for VASP")

    class PairPotential(base.Calculator):  # type: ignore[name-defined]
        implemented_properties = ("energy", "free_energy", "forces", "stress")

        def calculate(
            self,
            atoms: Any = None,
            properties: Any = ("energy",),
            system_changes: Any = base.all_changes,
        ) -> None:
            super().calculate(atoms, properties, system_changes)
            self.results = _evaluated(atoms)

    return PairPotential()


def _evaluated(atoms: Any) -> dict[str, Any]:
    data = import_extra("ase.data", "ase", "the stand-in for VASP")
    radii = data.covalent_radii[atoms.numbers]
    is_anion = np.isin(atoms.numbers, ANIONS).astype(int)
    cutoffs = 2 * radii + ANION_GAP * is_anion
    first, second, vectors, distances = _neighbors(atoms, cutoffs)
    n_anions = is_anion[first] + is_anion[second]
    minimum = radii[first] + radii[second] + ANION_GAP * (n_anions == 2)
    depths = np.array(WELL_DEPTHS)[n_anions]
    end, slope_there = _morse(2 * minimum, minimum, depths)
    energies, slopes = _morse(distances, minimum, depths)
    inside = distances < 2 * minimum
    energies = inside * (energies - end - slope_there * (distances - 2 * minimum))
    slopes = inside * (slopes - slope_there)
    with np.errstate(divide="ignore", invalid="ignore"):  # of atoms in one place: not finite
        pulls = (slopes / distances)[:, None] * vectors
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, first, pulls)
    stress = np.einsum("ka,kb->ab", vectors, pulls) / 2 / atoms.get_volume()
    energy = float(energies.sum() / 2)
    return {
        "energy": energy,
        "free_energy": energy,
        "forces": forces,
        "stress": stress.ravel()[[0, 4, 8, 5, 2, 1]],
    }


def _neighbors(
    atoms: Any, cutoffs: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return pairs with their vectors and distances; in numpy, as ASE's needs a second to load."""
    cell = atoms.cell[:]
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    reach = np.ceil(2 * cutoffs.max() / heights).astype(int) + 1
    images = np.array(list(np.ndindex(*(2 * reach + 1)))) - reach
    wrapped = atoms.get_scaled_positions() @ cell
    between = wrapped[None, :] - wrapped[:, None]
    found = []
    for image in images:
        vectors = between + image @ cell
        distances = np.sqrt(np.einsum("ijk,ijk->ij", vectors, vectors))
        near = distances < cutoffs[:, None] + cutoffs[None, :]
        if not image.any():
            np.fill_diagonal(near, val=False)
        first, second = np.nonzero(near)
        found.append((first, second, vectors[near], distances[near]))
    first, second, vectors, distances = (np.concatenate(each) for each in zip(*found, strict=True))
    return first, second, vectors, distances


def _morse(
    distance: NDArray[np.float64], minimum: NDArray[np.float64], depth: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return energy and derivative; finite at any distance, as generated atoms may overlap."""
    decay = np.exp(-STEEPNESS * (distance / minimum - 1))
    energy = depth * (decay * decay - 2 * decay)
    return energy, depth * 2 * STEEPNESS / minimum * (decay - decay * decay)

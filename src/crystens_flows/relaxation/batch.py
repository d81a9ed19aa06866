"""Four successive relaxations of many structures with a potential, all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pymatgen.core import Structure

from crystens_flows.errors import InputError, import_extra
from crystens_flows.relaxation.changes import MAX_VOLUME_CHANGE, broken
from crystens_flows.relaxation.potential_engines import Crystal, Engine, load_engine
from crystens_flows.relaxation.potential_fire import CellFire
from crystens_flows.relaxation.results import N_STEPS, summarise_steps_read
from crystens_flows.relaxation.steps import RelaxStep
from crystens_flows.schemas import RelaxDocument
from crystens_flows.screening.potentials.registry import Derivatives

MAX_IONIC_STEPS = 200
"""Ionic steps of a relaxation with a potential, at most."""

MAX_FORCE = 0.02
"""It ends below this force, eV/A (on the cell: a stress times the volume)."""


def relax_four_times(
    structures: Sequence[Structure],
    calculator: str = "chgnet",
    *,
    candidate_ids: Sequence[str | None] | None = None,
    calculator_kwargs: Mapping[str, Any] | None = None,
    steps: int = MAX_IONIC_STEPS,
    fmax: float = MAX_FORCE,
) -> list[RelaxDocument]:
    """
    Relax structures four times each, sites and cell, each time from where the last one ended.

    Each goes the way it goes alone, with ASE's FIRE on its ``FrechetCellFilter``, as atomate2
    relaxes with force fields. A potential is asked about all that still move at once; one that has
    converged, or failed, is not asked about again. With other calculators of ASE the structures
    are relaxed one after the other.

    Parameters
    ----------
    structures
        The structures.
    calculator
        ``"chgnet"``, ``"7net-l3i5"``, or where a calculator of ASE is: ``"package.module:Class"``
        or ``"package.module.Class"``.
    candidate_ids
        Identifiers of the candidates, for the documents.
    calculator_kwargs
        Arguments of that class.
    steps
        Ionic steps of each of the four relaxations, at most.
    fmax
        Each ends below this force, in eV/A; that on the cell, a stress times the volume, counts
        as one on a site.

    Returns
    -------
    list of RelaxDocument
        One for each structure, in their order. A structure that the calculator cannot be asked
        about, or that leaves the physical, has a document with the reason, and what was found
        before.

    Raises
    ------
    InputError
        If `steps` or `fmax` is not positive, there are not as many identifiers as structures, or
        there is no such calculator.
    MissingExtraError
        If the package of the potential is not installed.
    CheckpointError
        If its weights are missing.
    """
    if steps < 1 or not fmax > 0:
        raise InputError(f"steps ({steps}) and fmax ({fmax}) must be positive")
    names = [None] * len(structures) if candidate_ids is None else list(candidate_ids)
    if len(names) != len(structures):
        raise InputError(f"{len(names)} identifiers given for {len(structures)} structures")
    if not structures:
        return []
    engine = load_engine(calculator, calculator_kwargs)
    method = {**engine.method, "optimizer": "FIRE", "fmax": fmax, "max_ionic_steps": steps}
    relaxations = [_Relaxation(each, engine, method, steps, fmax) for each in structures]
    _relax(relaxations, engine)
    return [each.document(name) for each, name in zip(relaxations, names, strict=True)]


def relax_once(
    structures: Sequence[Structure],
    calculator: str = "chgnet",
    *,
    steps: int = MAX_IONIC_STEPS,
    fmax: float = MAX_FORCE,
) -> list[RelaxStep]:
    """
    Relax structures once each, as :func:`relax_four_times` does the first time.

    Parameters
    ----------
    structures
        The structures.
    calculator, steps, fmax
        As for :func:`relax_four_times`.

    Returns
    -------
    list of RelaxStep
        One for each structure, in their order; one that failed has `failure` and no structure.

    Raises
    ------
    InputError
        If `steps` or `fmax` is not positive, or there is no such calculator.
    MissingExtraError
        If the package of the potential is not installed.
    CheckpointError
        If its weights are missing.
    """
    if steps < 1 or not fmax > 0:
        raise InputError(f"steps ({steps}) and fmax ({fmax}) must be positive")
    if not structures:
        return []
    engine = load_engine(calculator)
    relaxations = [
        _Relaxation(each, engine, engine.method, steps, fmax, times=1) for each in structures
    ]
    _relax(relaxations, engine)
    return [each.first for each in relaxations]


def _relax(relaxations: Sequence[_Relaxation], engine: Engine) -> None:
    for group in [relaxations] if engine.together else [[each] for each in relaxations]:
        while moving := [each for each in group if each.moves]:
            found = engine.evaluate([each.crystal for each in moving])
            for relaxation, derivatives in zip(moving, found, strict=True):
                relaxation.go_on(derivatives)


class _Relaxation:
    """
    The successive relaxations of one structure, driven by what its engine finds.

    Parameters
    ----------
    structure
        The structure.
    engine
        The engine.
    method
        What the documents say of it.
    steps, fmax
        As for :func:`relax_four_times`.
    times
        How many relaxations.
    """

    def __init__(
        self,
        structure: Structure,
        engine: Engine,
        method: dict[str, Any],
        steps: int,
        fmax: float,
        times: int = N_STEPS,
    ) -> None:
        self._structure, self._times = structure, times
        self._engine, self._method = engine.name, method
        self._limit, self._fmax = steps, fmax
        self._done: list[RelaxStep] = []
        self._initial_energy: float | None = None
        self.moves = True
        self._sound = structure.is_ordered and bool(
            np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()
        )
        if reason := engine.unfit(structure):
            self._fail(reason)
            return
        self._begin(structure.cart_coords, structure.lattice.matrix)

    def _begin(self, positions: Any, cell: Any) -> None:
        self._fire = CellFire(positions, cell)
        self.crystal = Crystal(self._structure, self._fire.positions, self._fire.cell)

    def go_on(self, found: Derivatives | str) -> None:
        """
        Go one ionic step, into the next relaxation where one has ended.

        Parameters
        ----------
        found
            What the engine found for :attr:`crystal`, or why it found nothing.
        """
        if isinstance(found, str):
            self._fail(found)
            return
        if not (
            np.isfinite(found.energy)
            and np.isfinite(found.forces).all()
            and np.isfinite(found.stress).all()
        ):
            self._fail("energy, forces or stress are not finite")
            return
        if self._initial_energy is None:
            self._initial_energy = found.energy
        # the next relaxation begins where this one ends: what was found there holds for it too
        while self.moves:
            forces = self._fire.generalised(found.forces, found.stress)
            converged = bool(np.linalg.norm(forces, axis=1).max() < self._fmax)
            if not converged and self._fire.n_steps < self._limit:
                self._fire.step(forces)
                self.crystal = Crystal(self._structure, self._fire.positions, self._fire.cell)
                if self._ran_away():
                    self._end(found, converged)
                return
            self._end(found, converged)
            self._begin(self.crystal.positions, self.crystal.cell)

    def _ran_away(self) -> bool:
        ratio = abs(np.linalg.det(self.crystal.cell)) / self._structure.volume
        return not 1 / MAX_VOLUME_CHANGE <= ratio <= MAX_VOLUME_CHANGE

    def _end(self, found: Derivatives, converged: bool) -> None:
        gpa = import_extra("ase.units", "ase", "relaxing with a potential").GPa
        structure = Structure(
            self.crystal.cell,
            self._structure.species,
            self.crystal.positions,
            coords_are_cartesian=True,
        )
        self._done.append(
            RelaxStep(
                structure=structure,
                initial_energy=self._initial_energy,
                energy=found.energy,
                stress=(-10 / gpa * found.stress).tolist(),
                converged=converged,
                engine=self._engine,
                dir_name=None,
                n_ionic_steps=self._fire.n_steps + 1,
                method=self._method,
            )
        )
        self._initial_energy = found.energy
        self.moves = len(self._done) < self._times and broken(self._structure, structure) is None

    def _fail(self, reason: str) -> None:
        self._done.append(RelaxStep(None, None, None, None, None, None, None, failure=reason))
        self.moves = False

    @property
    def first(self) -> RelaxStep:
        """The first relaxation; what has left the physical failed."""
        step = self._done[0]
        reason = None if step.structure is None else broken(self._structure, step.structure)
        return step if reason is None else replace(step, structure=None, failure=reason)

    def document(self, candidate_id: str | None) -> RelaxDocument:
        """
        Bring the relaxations into one document.

        Parameters
        ----------
        candidate_id
            Identifier of the candidate.

        Returns
        -------
        RelaxDocument
            With the reason where they are fewer than four.
        """
        return summarise_steps_read(
            [*self._done, *[None] * (N_STEPS - len(self._done))],
            candidate_id,
            structure=self._structure if self._sound else None,
        )

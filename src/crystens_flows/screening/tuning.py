"""Candidates made better before they are relaxed: symmetry, elements, volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.representation.space_group import SYMPREC
from crystens_flows.screening.element_correction import element_corrections
from crystens_flows.screening.symmetrize import Symmetrized, nearby_symmetries, space_group_number
from crystens_flows.screening.validity import nearest_distance, structural_validity

Energies = Callable[[list[Structure]], Sequence[float | None]]
"""Formation energies in eV/atom of structures, None where there is none."""

ENERGY_SCALE = 0.002
"""So many eV/atom weigh as much as a factor e in likelihood when symmetries are compared."""

MIN_DISTANCE_KEPT = 0.9
"""No structure is proposed whose shortest distance is under this share of the original's."""


@dataclass(frozen=True)
class TuningOptions:
    """
    How far tuning may go.

    Parameters
    ----------
    max_displacement
        The longest way a site is moved to make a structure symmetric, angstrom.
    energy_tolerance
        How much worse the energy model may find a proposal than the original, eV/atom.
    relax
        Relaxes what was tuned, quickly, and returns None where it fails. What it returns is taken
        if the energy model does not find it worse. Nothing is relaxed by default.
    """

    max_displacement: float = 1.0
    energy_tolerance: float = 0.01
    relax: Callable[[Structure], Structure | None] | None = None


@dataclass(frozen=True, eq=False)
class TuningResult:
    """
    What tuning made of one structure.

    Parameters
    ----------
    structure
        The tuned structure: the original itself where nothing was changed.
    changed
        Whether anything was.
    space_group_before, space_group_after
        At 0.01 angstrom; None for a structure that is not valid.
    symprec
        The longest distance by which the symmetry missed a site of the original, angstrom;
        None where the structure was not made more symmetric.
    max_displacement
        The longest way a site was moved to that end, angstrom.
    elements_replaced
        What was replaced by what; empty where nothing was.
    energy_before, energy_after
        What the energy model says, eV/atom; None where it does not.
    reason
        Why a structure was left as it was; None for one that was changed.
    """

    structure: Structure
    changed: bool
    space_group_before: int | None
    space_group_after: int | None
    symprec: float | None = None
    max_displacement: float = 0.0
    elements_replaced: dict[str, str] = field(default_factory=dict)
    energy_before: float | None = None
    energy_after: float | None = None
    reason: str | None = None

    @property
    def summary(self) -> str:
        """What was changed, in a few words, or why nothing was."""
        if not self.changed:
            return self.reason or "nothing better nearby"
        said = []
        if self.symprec is not None:
            said.append(
                f"space group {self.space_group_before} to {self.space_group_after}, sites moved "
                f"by up to {self.max_displacement:.2f} A"
            )
        said += [f"{old} replaced by {new}" for old, new in self.elements_replaced.items()]
        if self.energy_before is not None and self.energy_after is not None:
            said.append(f"energy {self.energy_after - self.energy_before:+.3f} eV/atom")
        return "; ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """Return the particulars, without the structure and the reason."""
        left_out = ("structure", "changed", "reason")
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name not in left_out
        }


def tune(
    structures: Sequence[Structure],
    energies: Energies | None,
    options: TuningOptions = TuningOptions(),
) -> list[TuningResult]:
    """
    Make candidates more symmetric, and possible, where their energy allows.

    First each is made as symmetric as is likely, see
    :func:`~crystens_flows.screening.symmetrize.nearby_symmetries`; then, where its charges cannot
    balance, one element is replaced by the neighbour of lowest energy; then it is relaxed, if
    there is something to relax it with.

    Parameters
    ----------
    structures
        The structures; they are not changed.
    energies
        The energy model. It is asked for the proposals to all structures at once, three times at
        most. None to go by geometry alone: then no element is replaced and nothing relaxed.
    options
        How far to go.

    Returns
    -------
    list of TuningResult
        One for each structure. One that is not valid is returned as it is, with the reason.
    """
    results = [_start(structure) for structure in structures]
    valid = [i for i, result in enumerate(results) if result.reason is None]
    tuned = _symmetrize([results[i] for i in valid], energies, options)
    if energies is not None:
        tuned = _correct_elements(tuned, energies, options)
        if options.relax is not None:
            tuned = _relax(tuned, energies, options.relax, options.energy_tolerance)
    for i, result in zip(valid, tuned, strict=True):
        if not result.changed:
            result = replace(result, reason="nothing better nearby")
        results[i] = result
    return results


def tune_with(
    structures: Sequence[Structure], potential: str = "chgnet", relax_steps: int = 0
) -> list[TuningResult]:
    """
    Tune candidates with a potential as the energy model.

    Parameters
    ----------
    structures
        The structures; they are not changed.
    potential
        See :func:`crystens_flows.screening.potentials.predict`.
    relax_steps
        So many steps of relaxation at most, volume included, at the end; 0 for none.

    Returns
    -------
    list of TuningResult
        One for each structure.
    """
    from crystens_flows.screening.potentials import predict, relax

    def energies(proposals: list[Structure]) -> list[float | None]:
        return [each.formation_energy_per_atom for each in predict(proposals, potential)]

    def relaxed(structure: Structure) -> Structure | None:
        return relax([structure], potential, steps=relax_steps)[0].structure

    return tune(structures, energies, TuningOptions(relax=relaxed if relax_steps else None))


def _start(structure: Structure) -> TuningResult:
    if reason := structural_validity(structure):
        return TuningResult(structure, False, None, None, reason=reason)
    number = space_group_number(structure)
    return TuningResult(
        structure, changed=False, space_group_before=number, space_group_after=number
    )


def _symmetrize(
    results: list[TuningResult], energies: Energies | None, options: TuningOptions
) -> list[TuningResult]:
    proposals = [_symmetries(result, options.max_displacement) for result in results]
    asked = _ask(
        energies,
        [
            [result.structure, *(proposal.structure for proposal in own)]
            for result, own in zip(results, proposals, strict=True)
        ],
    )
    found = []
    for result, own, (before, *after) in zip(results, proposals, asked, strict=True):
        result = replace(result, energy_before=before, energy_after=before)
        best = _likeliest(own, before, after, options.energy_tolerance, energies is not None)
        if best is not None:
            proposal = own[best]
            number = space_group_number(proposal.structure)
            if number != result.space_group_before or proposal.max_displacement > SYMPREC:
                result = replace(
                    result,
                    structure=proposal.structure,
                    changed=True,
                    space_group_after=number,
                    symprec=proposal.tolerance,
                    max_displacement=proposal.max_displacement,
                    energy_after=after[best],
                )
        found.append(result)
    return found


def _symmetries(result: TuningResult, max_displacement: float) -> list[Symmetrized]:
    """Propose what has more symmetry than the structure has already, and no short distances."""
    shortest = MIN_DISTANCE_KEPT * nearest_distance(result.structure)
    return [
        proposal
        for proposal in nearby_symmetries(result.structure, max_displacement)
        if nearest_distance(proposal.structure) >= shortest
    ]


def _likeliest(
    proposals: list[Symmetrized],
    before: float | None,
    after: list[float | None],
    tolerance: float,
    energy_counts: bool,
) -> int | None:
    """Choose by evidence, less energy where it counts; None for the original."""
    if not energy_counts:
        weights = [proposal.evidence for proposal in proposals]
    else:
        limit = np.inf if before is None else before + tolerance
        weights = [
            -np.inf
            if energy is None or energy > limit
            else proposal.evidence - energy / ENERGY_SCALE
            for proposal, energy in zip(proposals, after, strict=True)
        ]
    original = 0.0
    if energy_counts:
        original = -np.inf if before is None else -before / ENERGY_SCALE
    best = int(np.argmax(weights)) if weights else 0
    return best if weights and weights[best] > original else None


def _correct_elements(
    results: list[TuningResult], energies: Energies, options: TuningOptions
) -> list[TuningResult]:
    """Take the neighbouring element of lowest energy where charges cannot balance."""
    proposals = [list(element_corrections(result.structure)) for result in results]
    asked = _ask(energies, [[structure for _, structure in own] for own in proposals])
    found = []
    for result, own, after in zip(results, proposals, asked, strict=True):
        known = [(energy, i) for i, energy in enumerate(after) if energy is not None]
        energy, i = min(known, default=(np.inf, 0))
        before = result.energy_after
        limit = np.inf if before is None else before + options.energy_tolerance
        if known and energy <= limit:
            replaced, structure = own[i]
            found.append(
                replace(
                    result,
                    structure=structure,
                    changed=True,
                    elements_replaced=replaced,
                    energy_after=energy,
                )
            )
        else:
            found.append(result)
    return found


def _relax(
    results: list[TuningResult],
    energies: Energies,
    relax: Callable[[Structure], Structure | None],
    tolerance: float,
) -> list[TuningResult]:
    relaxed = [relax(result.structure) for result in results]
    asked = _ask(energies, [[] if one is None else [one] for one in relaxed])
    found = []
    for result, structure, after in zip(results, relaxed, asked, strict=True):
        energy = after[0] if after else None
        before = result.energy_after
        if (
            structure is None
            or energy is None
            or (before is not None and energy > before + tolerance)
        ):
            found.append(result)
            continue
        found.append(
            replace(
                result,
                structure=structure,
                changed=True,
                space_group_after=space_group_number(structure),
                energy_after=energy,
            )
        )
    return found


def _ask(energies: Energies | None, groups: list[list[Structure]]) -> list[list[float | None]]:
    """Ask for the energies of all structures of all groups at once."""
    structures = [structure for group in groups for structure in group]
    if energies is None:
        return [[None] * len(group) for group in groups]
    answers = list(energies(structures)) if structures else []
    if len(answers) != len(structures):
        raise InputError(
            f"{len(answers)} energies for {len(structures)} structures: the energy model has to "
            "return one, or None, for each"
        )
    numbers = iter(
        None if energy is None or not np.isfinite(energy) else float(energy) for energy in answers
    )
    return [[next(numbers) for _ in group] for group in groups]

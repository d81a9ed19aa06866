"""Energies of samples: of the models, above the hull, and after a relaxation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from crystens_flows.screening.consensus import combine
from crystens_flows.screening.hull import load_hull
from crystens_flows.screening.potentials import available_potentials, predict, relax

_NAMES = {"chgnet": "chgnet", "7net-l3i5": "sevennet"}

RELAX_STEPS, RELAX_FORCE = 200, 0.02
"""Steps at most, and force in eV/A below which it ends, of the relaxation for RMSD."""


@dataclass(frozen=True)
class Energy:
    """
    Energies of one structure as it is.

    Parameters
    ----------
    formation_energy_per_atom
        Mean of the potentials, eV/atom; None where there is none.
    energy_above_hull
        Above the hull that ships, eV/atom; negative below it.
    """

    formation_energy_per_atom: float | None
    energy_above_hull: float | None


def energies(structures: Sequence[Structure]) -> list[Energy]:
    """
    Predict formation energies by the mean of the potentials, and hold them against the hull.

    Parameters
    ----------
    structures
        The structures; nothing is relaxed.

    Returns
    -------
    list of Energy
        One for each.
    """
    predicted = {
        _NAMES[potential]: [
            each.formation_energy_per_atom for each in predict(structures, potential)
        ]
        for potential in available_potentials()
    }
    means = [
        combine({name: values[i] for name, values in predicted.items()})
        for i in range(len(structures))
    ]
    formation = [None if mean is None else mean.formation_energy_per_atom for mean in means]
    return _above_hull(structures, formation)


def _above_hull(structures: Sequence[Structure], formation: Sequence[float | None]) -> list[Energy]:
    results = load_hull().evaluate([each.composition for each in structures], formation)
    return [
        Energy(energy, result.energy_above_hull)
        for energy, (result, _) in zip(formation, results, strict=True)
    ]


@dataclass(frozen=True)
class Relaxed:
    """
    One structure after a relaxation with CHGNet.

    Parameters
    ----------
    rmsd
        Root mean square distance of the sites from where they were, angstrom, after the best
        mapping; None where the relaxed structure is another crystal.
    energy_above_hull
        Of the relaxed structure, by CHGNet, eV/atom; None where there is none.
    reason
        Why there is none.
    """

    rmsd: float | None
    energy_above_hull: float | None
    reason: str | None = None


def relaxed(structures: Sequence[Structure]) -> list[Relaxed]:
    """
    Relax structures with CHGNet; how far did they move, and how stable are they then.

    The distance is MatterGen's: StructureMatcher with ltol 0.5, stol 0.5 and angle 10, without
    scaling, not normalised.

    Parameters
    ----------
    structures
        The structures.

    Returns
    -------
    list of Relaxed
        One for each.

    References
    ----------
    C. Zeni et al., Nature 639, 624 (2025), and its evaluation code.
    """
    matcher = StructureMatcher(
        ltol=0.5, stol=0.5, angle_tol=10, scale=False, attempt_supercell=False
    )
    ends = relax(structures, "chgnet", RELAX_STEPS, RELAX_FORCE)
    kept = [i for i, end in enumerate(ends) if end.structure is not None]
    found = dict(
        zip(
            kept,
            _above_hull(
                [structures[i] for i in kept], [ends[i].formation_energy_per_atom for i in kept]
            ),
            strict=True,
        )
    )
    results = []
    for i, end in enumerate(ends):
        if end.structure is None:
            results.append(Relaxed(None, None, end.reason))
            continue
        distance = matcher.get_rms_dist(structures[i], end.structure)
        rmsd = None
        if distance is not None:
            volumes = [each.volume / len(each) for each in (structures[i], end.structure)]
            rmsd = float(distance[0]) * (sum(volumes) / 2) ** (1 / 3)
        results.append(Relaxed(rmsd, found[i].energy_above_hull))
    return results

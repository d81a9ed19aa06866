"""Energies of samples: of the models, above the hull, and after a relaxation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystens_flows.evaluation.hull import chgnet_hull
from crystens_flows.relaxation.batch import relax_once
from crystens_flows.screening.consensus import combine
from crystens_flows.screening.hull import load_hull
from crystens_flows.screening.potentials import available_potentials, predict

_NAMES = {"chgnet": "chgnet", "7net-l3i5": "sevennet"}

RELAX_STEPS, RELAX_FORCE = 200, 0.02
"""Steps at most, and force in eV/A below which it ends, of the relaxation for RMSD."""


MAX_RMSD = 0.5
"""In units of the edge of an atom's cube; further apart no sites are matched."""


@dataclass(frozen=True)
class Energy:
    """
    Energies of one structure as it is.

    Parameters
    ----------
    formation_energy_per_atom
        Mean of the potentials, eV/atom; None where there is none.
    energy_above_hull
        Above the hull that ships, eV/atom; negative below it. Its energies are of density
        functionals, to whose release those of the models are shifted.
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
        mapping; None where the relaxation failed.
    energy_above_hull
        Of the relaxed structure, eV/atom, by CHGNet's energies on both sides; None where there is
        none.
    energy_above_shipped_hull
        Of the same, above the hull that ships, of more crystals and other energies.
    reason
        Why there is none.
    """

    rmsd: float | None = None
    energy_above_hull: float | None = None
    energy_above_shipped_hull: float | None = None
    reason: str | None = None


def relaxed(structures: Sequence[Structure]) -> list[Relaxed]:
    """
    Relax structures with CHGNet; how far did they move, and how stable are they then.

    The distance is MatterGen's: StructureMatcher with ltol 0.5, stol 0.5 and angle 10, without
    scaling, with supercells; not normalised. What does not match any more counts as moved by
    :data:`MAX_RMSD`.

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
        ltol=0.5, stol=MAX_RMSD, angle_tol=10, scale=False, attempt_supercell=True
    )
    steps = relax_once(structures, "chgnet", steps=RELAX_STEPS, fmax=RELAX_FORCE)
    ends = [step.structure for step in steps if step.structure is not None]
    predicted = predict(ends, "chgnet")
    formation = [each.formation_energy_per_atom for each in predicted]
    compositions = [each.composition for each in ends]
    own = chgnet_hull().evaluate(compositions, formation)
    others = (result for result, _ in load_hull().evaluate(compositions, formation))
    after = iter(zip(ends, predicted, own, others, strict=True))
    results = []
    for structure, step in zip(structures, steps, strict=True):
        if step.structure is None:
            results.append(Relaxed(reason=step.failure))
            continue
        end, prediction, by_own, by_shipped = next(after)
        if prediction.formation_energy_per_atom is None:
            results.append(Relaxed(reason=prediction.reason))
            continue
        results.append(
            Relaxed(
                _moved(matcher, structure, end),
                by_own.energy_above_hull,
                by_shipped.energy_above_hull,
            )
        )
    return results


def _moved(matcher: StructureMatcher, before: Structure, after: Structure) -> float:
    distance = matcher.get_rms_dist(before, after)
    parameters = np.mean([before.lattice.parameters, after.lattice.parameters], axis=0)
    edge = (Lattice.from_parameters(*parameters).volume / len(before)) ** (1 / 3)
    return float((MAX_RMSD if distance is None else distance[0]) * edge)

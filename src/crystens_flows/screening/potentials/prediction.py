"""Formation energies of many structures from a potential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymatgen.core import Structure

from crystens_flows.screening.potentials.energies import total_energies
from crystens_flows.screening.potentials.references import load_references
from crystens_flows.screening.potentials.registry import load_potential

ENERGY_DECIMALS = 6

PLAUSIBLE = (-6.0, 50.0)
"""Formation energies beyond these, in eV/atom, are an error of the potential; the shipped crystals
have -4.5 to 5.1."""


@dataclass(frozen=True)
class PotentialPrediction:
    """
    What a potential says about one structure.

    Parameters
    ----------
    formation_energy_per_atom
        In eV/atom, on the scale of the shipped data set; None where there is none.
    energy_per_atom
        The potential's own total energy in eV/atom; None where it cannot be asked.
    reason
        Why there is no formation energy; None where there is one.
    """

    formation_energy_per_atom: float | None
    energy_per_atom: float | None = None
    reason: str | None = None


def predict(
    structures: Sequence[Structure], potential: str = "chgnet"
) -> list[PotentialPrediction]:
    """
    Predict formation energies: a potential's total energies less fitted element references.

    The potentials were trained on the Materials Project and have probably seen the crystals of the
    shipped data set: how far they are off on those, held out of the fit or not, says little about
    crystals that are new. Energies are computed in single precision on the CPU and are the same
    within 1e-5 eV/atom whatever the other structures are.

    Parameters
    ----------
    structures
        The structures, of any number of sites, taken as they are: nothing is relaxed.
    potential
        ``"chgnet"`` (CHGNet 0.3.0) or ``"7net-l3i5"`` (SevenNet-l3i5).

    Returns
    -------
    list of PotentialPrediction
        One for each structure. Structures have a reason that are not valid, far too dense or too
        sparse, with an isolated site, overlapping atoms, an element that the potential or the
        references lack, or an energy that cannot be.

    Raises
    ------
    InputError
        If there is no such potential.
    MissingExtraError
        If its package is not installed.
    CheckpointError
        If its weights are missing or not those the references were fitted to.
    """
    model = load_potential(potential)
    references = load_references(potential).references
    predictions = []
    for structure, (energy, reason) in zip(
        structures, total_energies(structures, model), strict=True
    ):
        if energy is None:
            predictions.append(PotentialPrediction(None, None, reason))
            continue
        numbers = [site.specie.Z for site in structure]
        lacking = sorted(
            {str(s.specie) for s in structure if np.isnan(references.energies[s.specie.Z])}
        )
        formation = None
        if lacking:
            reason = f"element without a reference energy: {', '.join(lacking)}"
        else:
            formation = round(energy - float(references.per_atom([numbers])[0]), ENERGY_DECIMALS)
            if not PLAUSIBLE[0] <= formation <= PLAUSIBLE[1]:
                reason = f"energy is not plausible: formation energy {formation:.3g} eV/atom"
                formation = None
        predictions.append(PotentialPrediction(formation, round(energy, ENERGY_DECIMALS), reason))
    return predictions


def card(potential: str = "chgnet") -> dict[str, Any]:
    """
    Say which model predicts, what it was trained on and what its references were fitted to.

    Parameters
    ----------
    potential
        As for :func:`predict`.

    Returns
    -------
    dict
        Plain values: the name, package and version, the SHA-256 of the weights, and, under
        ``"references"``, how the references were fitted and how far the energies are off.
    """
    origin = load_references(potential).origin
    return {
        **load_potential(potential).card(),
        "references": {
            key: origin[key] for key in ("target", "split", "n", "seed", "left_out", "held_out")
        },
    }

"""One formation energy of several models' opinions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WEIGHTS = {"sevennet": 2 / 3, "chgnet": 1 / 3}
"""Potentials have seen strained and unstable structures too; their weighted mean is taken. On
crystals that neither has seen, SevenNet-l3i5 errs by 0.044 and CHGNet by 0.063 eV/atom (Matbench
Discovery, unique prototypes): these are the inverse squares."""

OTHERS = ("m3gnet", "cgcnn")
"""Models of crystals near their minimum; the first is asked where no potential has an energy."""

AGREEMENT = 0.1
"""Models that differ by at most this, in eV/atom, agree."""


@dataclass(frozen=True)
class Consensus:
    """
    The formation energy that the hull is asked with.

    Parameters
    ----------
    formation_energy_per_atom
        In eV/atom.
    models
        The models it is the weighted mean of.
    disagreement
        The largest difference between two models' energies, CGCNN's left out, in eV/atom; None
        where there are no two.
    """

    formation_energy_per_atom: float
    models: tuple[str, ...]
    disagreement: float | None

    @property
    def agree(self) -> bool | None:
        """Whether the models agree; None where there is only one."""
        return None if self.disagreement is None else self.disagreement <= AGREEMENT


def combine(energies: Mapping[str, float | None]) -> Consensus | None:
    """
    Take the weighted mean of the potentials' formation energies, and say how far models differ.

    Parameters
    ----------
    energies
        Formation energies by name of the model, eV/atom; None or missing where a model has none.

    Returns
    -------
    Consensus or None
        None where no model has an energy.
    """
    known = {name: float(energy) for name, energy in energies.items() if energy is not None}
    models = tuple(name for name in WEIGHTS if name in known)
    if not models:
        models = tuple(name for name in OTHERS if name in known)[:1]
    if not models:
        return None
    weights = [WEIGHTS.get(name, 1.0) for name in models]
    total = sum(weight * known[name] for weight, name in zip(weights, models, strict=True))
    opinions = [known[name] for name in (*WEIGHTS, "m3gnet") if name in known]
    apart = max(opinions) - min(opinions) if len(opinions) > 1 else None
    return Consensus(total / sum(weights), models, apart)

"""One formation energy of several models' opinions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

POTENTIALS = ("chgnet", "sevennet")
"""Models that have seen strained and unstable structures too; their mean is taken."""

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
        The models it is the mean of.
    disagreement
        The largest difference to another model's energy, CGCNN's left out, in eV/atom; None where
        there is no other.
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
    Take the mean of the potentials' formation energies, and say how far the others are.

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
    models = tuple(name for name in POTENTIALS if name in known)
    if not models:
        models = tuple(name for name in OTHERS if name in known)[:1]
    if not models:
        return None
    mean = sum(known[name] for name in models) / len(models)
    opinions = [known[name] for name in (*POTENTIALS, "m3gnet") if name in known]
    apart = max(abs(a - b) for a in (*opinions, mean) for b in opinions) if opinions else None
    return Consensus(mean, models, apart if len(opinions) > 1 else None)

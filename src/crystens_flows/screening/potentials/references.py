"""The element references of the potentials, and where they come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from crystens_flows.errors import CheckpointError
from crystens_flows.screening.element_references import ElementReferences
from crystens_flows.screening.potentials.registry import load_potential

FOLDER = files("crystens_flows.screening.potentials") / "references"


@dataclass(frozen=True)
class PotentialReferences:
    """
    References that make formation energies of a potential's total energies.

    Parameters
    ----------
    references
        The references: what is to be taken from the total energy.
    origin
        The potential, its weights, what was fitted to what, and how far the fit is off.
    """

    references: ElementReferences
    origin: dict[str, Any]

    def save(self, path: Path) -> Path:
        """Write them as JSON."""
        record = {
            **self.origin,
            "references": self.references.to_dict(),
            "oxide_shifts": self.references.oxide_shifts_to_dict(),
        }
        path.write_text(json.dumps(record, indent=1) + "\n")
        return path

    @classmethod
    def from_json(cls, text: str) -> PotentialReferences:
        """Read what :meth:`save` wrote."""
        record = json.loads(text)
        energies, shifts = record.pop("references"), record.pop("oxide_shifts")
        return cls(ElementReferences.from_dict(energies, shifts), record)


@lru_cache(maxsize=8)
def load_references(potential: str) -> PotentialReferences:
    """
    Load the references that ship with the package.

    Parameters
    ----------
    potential
        The name of the potential.

    Returns
    -------
    PotentialReferences
        Fitted to the weights that are installed.

    Raises
    ------
    CheckpointError
        If they are missing, or were fitted to other weights.
    """
    file = FOLDER / f"{potential}.json"
    remedy = f"make them with python -m crystens_flows.screening.potentials.fit {potential}"
    if not file.is_file():
        raise CheckpointError(f"there are no element references for {potential}: {remedy}")
    references = PotentialReferences.from_json(file.read_text())
    installed = load_potential(potential).card()
    if references.origin["weights_sha256"] != installed["weights_sha256"]:
        raise CheckpointError(
            f"the weights of {potential} in {installed['package']} {installed['version']} are not "
            f"those the element references were fitted to: {remedy}"
        )
    return references

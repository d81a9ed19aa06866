"""CHGNet 0.3.0."""

from __future__ import annotations

import contextlib
import hashlib
import io
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from crystens_flows.errors import CheckpointError, import_extra
from crystens_flows.screening.potentials.neighbors import neighborhood_reason

MODEL = "0.3.0"

MAX_ANGLES = 1_500_000
"""More angles between bonds than this in one structure would fill gigabytes; 1,000 sites of
diamond have half as many."""


class CHGNetPotential:
    """
    CHGNet 0.3.0, whose weights are in the wheel of chgnet.

    Its energies are on the Materials Project's corrected scale (MP2020), so one reference for each
    element is enough. It was trained on the relaxation trajectories of the Materials Project
    (MPtrj): it has probably seen the crystals of the shipped data set, those held out here too, and
    errs more on crystals that are new.

    References
    ----------
    B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023).
    """

    name = "chgnet"
    elements = frozenset(range(1, 95))
    shifted: tuple[int, ...] = ()

    def __init__(self) -> None:
        package = import_extra("chgnet", "screen", "formation energies from CHGNet")
        found = sorted((Path(str(package.__file__)).parent / "pretrained" / MODEL).glob("*.tar"))
        if len(found) != 1:
            raise CheckpointError(f"chgnet has no weights of CHGNet {MODEL}: reinstall chgnet")
        self._weights = found[0]
        model = import_extra("chgnet.model", "screen", "formation energies from CHGNet")
        with contextlib.redirect_stdout(io.StringIO()):
            self._model = model.CHGNet.load(model_name=MODEL, use_device="cpu", verbose=False)

    def graph(self, structure: Structure) -> tuple[Any, str | None]:
        """Make CHGNet's graph; its own error for isolated atoms is anticipated."""
        converter = self._model.graph_converter
        cutoff, bond = converter.atom_graph_cutoff, converter.bond_graph_cutoff
        centers, neighbors, _, distances = structure.get_neighbor_list(cutoff)
        numbers = np.array([site.specie.Z for site in structure])
        if reason := neighborhood_reason(numbers, centers, neighbors, distances, cutoff):
            return None, reason
        bonds = np.bincount(centers[distances < bond], minlength=len(structure))
        if (n_angles := int((bonds * (bonds - 1)).sum())) > MAX_ANGLES:
            return None, f"too many angles: {n_angles} within {bond:g} A, at most {MAX_ANGLES}"
        return converter(structure), None

    def energies(self, graphs: list[Any]) -> NDArray[np.float64]:
        """Evaluate some graphs at once, in eV/atom."""
        torch = import_extra("torch", "screen", "formation energies from CHGNet")
        with torch.inference_mode():
            energies = self._model.eval()(graphs, task="e")["e"]
        return energies.double().numpy()

    @cached_property
    def _calculator(self) -> Any:
        dynamics = import_extra("chgnet.model.dynamics", "screen", "relaxing with CHGNet")
        with contextlib.redirect_stdout(io.StringIO()):
            return dynamics.CHGNetCalculator(
                self._model, use_device="cpu", on_isolated_atoms="error"
            )

    def calculator(self) -> Any:
        """Return CHGNet's own ASE calculator."""
        return self._calculator

    @cached_property
    def _sha256(self) -> str:
        return hashlib.sha256(self._weights.read_bytes()).hexdigest()

    def card(self) -> dict[str, Any]:
        """Say which model this is."""
        return {
            "name": f"CHGNet {MODEL}",
            "package": "chgnet",
            "version": version("chgnet"),
            "weights_sha256": self._sha256,
            "trained_on": "MPtrj, energies corrected by MP2020: it has probably seen the crystals "
            "of the Materials Project, those of the shipped held-out splits too",
        }

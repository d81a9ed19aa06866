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
from crystens_flows.screening.potentials.chgnet_graphs import count_angles, crystal_graph
from crystens_flows.screening.potentials.neighbors import find_neighbors, neighborhood_reason
from crystens_flows.screening.potentials.registry import Derivatives

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
        from crystens_flows.screening.potentials.chgnet_layers import replace_layers

        self._model.requires_grad_(False)
        replace_layers(self._model)

    def graph(self, structure: Structure) -> tuple[Any, str | None]:
        """Make CHGNet's graph of a structure."""
        numbers = np.array([site.specie.Z for site in structure])
        return self.graph_of(numbers, structure.cart_coords, structure.lattice.matrix)

    def graph_of(
        self,
        numbers: NDArray[np.int64],
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
    ) -> tuple[Any, str | None]:
        """Make CHGNet's graph; for isolated atoms it has none."""
        converter = self._model.graph_converter
        cutoff, bond = converter.atom_graph_cutoff, converter.bond_graph_cutoff
        neighbors = find_neighbors(positions, cell, cutoff)
        if reason := neighborhood_reason(numbers, neighbors):
            return None, reason
        if (n_angles := count_angles(neighbors, bond, len(numbers))) > MAX_ANGLES:
            return None, f"too many angles: {n_angles} within {bond:g} A, at most {MAX_ANGLES}"
        return crystal_graph(numbers, positions, cell, neighbors, bond), None

    def energies(self, graphs: list[Any]) -> NDArray[np.float64]:
        """Evaluate some graphs at once, in eV/atom."""
        torch = import_extra("torch", "screen", "formation energies from CHGNet")
        with torch.inference_mode():
            energies = self._model.eval()(graphs, task="e")["e"]
        return energies.double().numpy()

    def derivatives(self, graphs: list[Any]) -> list[Derivatives]:
        """
        Evaluate some graphs at once: energies, forces and stresses.

        One pass backwards gives what chgnet takes two for, each of which could be gone back
        through once more, as for training.
        """
        torch = import_extra("torch", "screen", "relaxing with CHGNet")
        leaves = [graph.atom_frac_coord.requires_grad_() for graph in graphs]
        leaves += [graph.lattice.requires_grad_() for graph in graphs]
        per_atom = self._model.eval()(graphs, task="e")["e"]
        sizes = per_atom.new_tensor([len(graph.atomic_number) for graph in graphs])
        totals = per_atom * sizes
        slopes = [each.double().numpy() for each in torch.autograd.grad(totals.sum(), leaves)]
        return [
            _cartesian(*each)
            for each in zip(
                totals.detach().double().numpy(),
                (graph.lattice.detach().double().numpy() for graph in graphs),
                slopes[: len(graphs)],
                slopes[len(graphs) :],
                strict=True,
            )
        ]

    def memory(self, graph: Any) -> int:
        """Estimate the bytes that derivatives take: 15 kB a pair or angle, as measured."""
        return 15_000 * (len(graph.atom_graph) + len(graph.bond_graph))

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


def _cartesian(
    energy: float,
    cell: NDArray[np.float64],
    by_fractional: NDArray[np.float64],
    by_cell: NDArray[np.float64],
) -> Derivatives:
    """Turn the slopes by fractional coordinates and lattice vectors into forces and stress."""
    stress = cell.T @ by_cell / abs(np.linalg.det(cell))
    return Derivatives(
        energy=float(energy),
        forces=np.asarray(-by_fractional @ np.linalg.inv(cell).T),
        stress=(stress + stress.T) / 2,
    )

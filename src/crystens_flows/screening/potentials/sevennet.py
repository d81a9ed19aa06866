"""SevenNet-l3i5."""

from __future__ import annotations

import hashlib
import warnings
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element, Structure

from crystens_flows.errors import CheckpointError, import_extra
from crystens_flows.screening.potentials.neighbors import find_neighbors, neighborhood_reason
from crystens_flows.screening.potentials.registry import Derivatives

MODEL = "7net-l3i5"

EDGES_AT_A_TIME = 256
"""Messages are made for so many pairs at a time: those of one batch (30 kB each) would fill
hundreds of megabytes, and not the processor's cache."""

_PURPOSE = "formation energies from SevenNet"


class SevenNetPotential:
    """
    SevenNet-l3i5, whose weights are in the wheel of sevenn.

    It was trained on the uncorrected energies of the Materials Project's relaxations (MPtrj), PBE
    and PBE+U mixed: V, Cr, Mn, Fe, Co, Ni, Mo and W have a Hubbard U in compounds with oxygen or
    fluorine and need another reference there. It has probably seen the crystals of the shipped data
    set, those held out here too, and errs more on crystals that are new. Energies alone are
    computed here: without forces the network takes a quarter of the time.

    References
    ----------
    Y. Park, J. Kim, S. Hwang, S. Han, J. Chem. Theory Comput. 20, 4857 (2024).
    """

    name = MODEL
    shifted = tuple(Element(symbol).Z for symbol in ("V", "Cr", "Mn", "Fe", "Co", "Ni", "Mo", "W"))

    def __init__(self) -> None:
        self._weights = Path(import_extra("sevenn._const", "sevennet", _PURPOSE).SEVENNET_l3i5)
        # sevenn would look for them on the network
        if not self._weights.is_file():
            raise CheckpointError(f"sevenn has no weights of {MODEL}: reinstall sevenn")
        self._keys = import_extra("sevenn._keys", "sevennet", _PURPOSE)
        checkpoint = import_extra("sevenn.util", "sevennet", _PURPOSE).load_checkpoint(
            str(self._weights)
        )
        with warnings.catch_warnings():
            # that torch.jit, which e3nn uses, has a successor
            warnings.simplefilter("ignore", FutureWarning)
            network = checkpoint.build_model()
        network.delete_module_by_key("force_output")
        network.key_grad = None
        network.set_is_batch_data(True)
        for key, module in list(network.named_children()):
            if key.endswith("_convolution"):
                network.replace_module(key, _in_parts(module))
        self._network = network.eval().requires_grad_(False)
        self.elements = frozenset(network.type_map)
        self.cutoff = float(network.cutoff)

    def graph(self, structure: Structure) -> tuple[Any, str | None]:
        """Make SevenNet's graph of a structure."""
        numbers = np.array([site.specie.Z for site in structure])
        return self.graph_of(numbers, structure.cart_coords, structure.lattice.matrix)

    def graph_of(
        self,
        numbers: NDArray[np.int64],
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
    ) -> tuple[Any, str | None]:
        """Make SevenNet's graph."""
        neighbors = find_neighbors(positions, cell, self.cutoff)
        if reason := neighborhood_reason(numbers, neighbors):
            return None, reason
        centers, others = neighbors.centers, neighbors.others
        keys = self._keys
        data = import_extra("sevenn.atom_graph_data", "sevennet", _PURPOSE)
        return data.AtomGraphData.from_numpy_dict(
            {
                keys.NODE_FEATURE: numbers,
                keys.ATOMIC_NUMBERS: numbers,
                keys.POS: positions,
                keys.EDGE_IDX: np.stack([centers, others]),
                keys.EDGE_VEC: positions[others] - positions[centers] + neighbors.images @ cell,
                keys.CELL_VOLUME: np.array(abs(np.linalg.det(cell))),
                keys.NUM_ATOMS: np.array(len(numbers)),
                keys.INFO: {},
            }
        ), None

    def energies(self, graphs: list[Any]) -> NDArray[np.float64]:
        """Evaluate some graphs at once, in eV/atom."""
        torch = import_extra("torch", "sevennet", _PURPOSE)
        batch = import_extra("torch_geometric.data", "sevennet", _PURPOSE).Batch
        with torch.inference_mode():
            found = self._network(batch.from_data_list(graphs))
        totals = found[self._keys.PRED_TOTAL_ENERGY].double().numpy()
        return totals / found[self._keys.NUM_ATOMS].numpy()

    def derivatives(self, graphs: list[Any]) -> list[Derivatives]:
        """Evaluate some graphs at once: energies, forces and stresses, from the pairs."""
        torch = import_extra("torch", "sevennet", _PURPOSE)
        keys = self._keys
        batch = import_extra("torch_geometric.data", "sevennet", _PURPOSE).Batch
        data = batch.from_data_list(graphs)
        vectors = data[keys.EDGE_VEC].requires_grad_()
        totals = self._network(data)[keys.PRED_TOTAL_ENERGY]
        (slopes,) = torch.autograd.grad(totals.sum(), [vectors])
        slopes = slopes.double().numpy()
        found, start = [], 0
        for graph, energy in zip(graphs, totals.detach().double().numpy(), strict=True):
            centers, others = graph[keys.EDGE_IDX].numpy()
            slope = slopes[start : start + len(centers)]
            start += len(centers)
            forces = np.zeros((int(graph[keys.NUM_ATOMS]), 3))
            np.add.at(forces, centers, slope)
            np.subtract.at(forces, others, slope)
            vector = graph[keys.EDGE_VEC].double().numpy()
            stress = vector.T @ slope / float(graph[keys.CELL_VOLUME])
            found.append(Derivatives(float(energy), forces, (stress + stress.T) / 2))
        return found

    def memory(self, graph: Any) -> int:
        """Estimate the bytes that derivatives take: 230 kB a pair, as measured."""
        return 230_000 * int(graph[self._keys.EDGE_IDX].shape[1])

    @cached_property
    def _calculator(self) -> Any:
        calculator = import_extra("sevenn.calculator", "sevennet", "relaxing with SevenNet")
        with warnings.catch_warnings():
            # as above, and that no accelerator for GPUs is in use
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", UserWarning)
            return calculator.SevenNetCalculator(str(self._weights), device="cpu")

    def calculator(self) -> Any:
        """Return SevenNet's own ASE calculator."""
        return self._calculator

    @cached_property
    def _sha256(self) -> str:
        return hashlib.sha256(self._weights.read_bytes()).hexdigest()

    def card(self) -> dict[str, Any]:
        """Say which model this is."""
        return {
            "name": "SevenNet-l3i5",
            "package": "sevenn",
            "version": version("sevenn"),
            "weights_sha256": self._sha256,
            "trained_on": "MPtrj, uncorrected energies (PBE and PBE+U): it has probably seen the "
            "crystals of the Materials Project, those of the shipped held-out splits too",
        }


def _in_parts(convolution: Any) -> Any:
    """Return a convolution that makes and sums its messages some at a time."""
    torch = import_extra("torch", "sevennet", _PURPOSE)

    class ConvolutionInParts(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.whole = convolution

        def forward(self, data: Any) -> Any:
            whole = self.whole
            x, (to, of) = data[whole.key_x], data[whole.key_edge_idx]
            filters, embedding = data[whole.key_filter], data[whole.key_weight_input]
            summed = x.new_zeros(len(x), whole.convolution.irreps_out.dim)
            for start in range(0, len(to), EDGES_AT_A_TIME):
                part = slice(start, start + EDGES_AT_A_TIME)
                weights = whole.weight_nn(embedding[part])
                summed.index_add_(
                    0, to[part], whole.convolution(x[of[part]], filters[part], weights)
                )
            data[whole.key_x] = summed / whole.denominator
            return data

    return ConvolutionInParts()

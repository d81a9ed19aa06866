"""What happens to samples when a generator is asked for a low formation energy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crystens_flows.evaluation.samples import CHUNK
from crystens_flows.generators.base import Generator
from crystens_flows.generators.conditions import Conditions
from crystens_flows.representation import decode
from crystens_flows.screening.cgcnn import predict_properties
from crystens_flows.screening.validity import smact_validity, structural_validity


def lowest_tenth(energies: NDArray[np.float64]) -> float | None:
    """
    Take the mean of the lowest tenth of formation energies.

    Parameters
    ----------
    energies
        In eV/atom, shape (n,).

    Returns
    -------
    float or None
        In eV/atom; None for fewer than ten.
    """
    if len(energies) < 10:
        return None
    return float(np.sort(energies)[: len(energies) // 10].mean())


def data_guidance(energies: NDArray[np.float64]) -> float | None:
    """Return how far the lowest tenth is below the mean, eV/atom; None for fewer than ten."""
    low = lowest_tenth(energies)
    return None if low is None else low - float(energies.mean())


def guidance(
    generator: Generator, energies: NDArray[np.float64], n_samples: int, seed: int
) -> tuple[float | None, float] | None:
    """
    Sample with the formation energy of the lowest tenth of a data set asked for.

    Parameters
    ----------
    generator
        A generator that takes a formation energy.
    energies
        Formation energies of the crystals it was trained on, eV/atom, shape (n,).
    n_samples
        How many samples.
    seed
        Seed of the sampling.

    Returns
    -------
    tuple or None
        Mean formation energy of the samples by CGCNN, eV/atom (None where it predicts none), and
        the share that is valid in structure and composition; None for fewer than ten energies.
    """
    low = lowest_tenth(energies)
    if low is None:
        return None
    conditions = Conditions(formation_energy_per_atom=low)
    structures = []
    for start in range(0, n_samples, CHUNK):
        tensors = generator.sample(
            min(CHUNK, n_samples - start), seed, start, conditions=conditions
        )
        structures += [each.structure for each in decode(tensors) if each.structure is not None]
    valid = sum(
        structural_validity(each) is None and bool(smact_validity(each)) for each in structures
    )
    predicted = [
        value
        for prediction in predict_properties(structures)
        if (value := prediction.values["formation_energy_per_atom"]) is not None
        and np.isfinite(value)
    ]
    return (float(np.mean(predicted)) if predicted else None, valid / n_samples)

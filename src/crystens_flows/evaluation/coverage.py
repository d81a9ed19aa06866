"""How much of the real crystals the samples reach, and how many samples are near a real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure
from scipy.spatial.distance import cdist

from crystens_flows.evaluation.fingerprints import (
    LENGTH,
    composition_fingerprints,
    structure_fingerprints,
)

STRUCTURE_CUTOFF = 0.4
"""Distance of structure fingerprints up to which a crystal is reached: CDVAE's for MP-20."""

COMPOSITION_CUTOFF = 10.0
"""Distance of scaled composition fingerprints up to which it is: CDVAE's for MP-20."""

ROWS = 1000
"""Samples whose distances are in memory at once."""


@dataclass(frozen=True)
class Fingerprints:
    """
    Fingerprints of the structures that have both.

    Parameters
    ----------
    structures
        Shape (n, 61).
    compositions
        Shape (n, 132), not scaled.
    n_given
        How many structures were given, those without a fingerprint included.
    """

    structures: NDArray[np.float64]
    compositions: NDArray[np.float64]
    n_given: int

    @classmethod
    def of(cls, structures: Sequence[Structure], processes: int = 1) -> Self:
        """
        Compute fingerprints.

        Parameters
        ----------
        structures
            The structures.
        processes
            How many processes share the work.

        Returns
        -------
        Fingerprints
            Of those that have one.
        """
        found = structure_fingerprints(structures, processes)
        kept = [i for i, each in enumerate(found) if each is not None]
        coordination = np.array([found[i] for i in kept]).reshape(-1, LENGTH)
        chemistry = composition_fingerprints([structures[i].composition for i in kept])
        return cls(coordination, chemistry, len(structures))


@dataclass(frozen=True)
class Coverage:
    """
    Coverage, as CDVAE defines it.

    Parameters
    ----------
    recall
        COV-R: share of the real crystals with a sample within both cutoffs.
    precision
        COV-P: share of the samples with a real crystal within both cutoffs.
    """

    recall: float
    precision: float


def coverage(samples: Fingerprints, reference: Fingerprints, n_samples: int) -> Coverage | None:
    """
    Measure coverage.

    The nearest neighbour is sought in structure and in composition separately, as CDVAE does.
    Compositions are scaled by mean and standard deviation of the reference.

    Parameters
    ----------
    samples
        Fingerprints of the valid samples.
    reference
        Fingerprints of real crystals.
    n_samples
        Samples in all, the invalid included: those count as not near a real crystal.

    Returns
    -------
    Coverage or None
        None if either has no fingerprints.

    References
    ----------
    T. Xie et al., "Crystal Diffusion Variational Autoencoder for Periodic Material Generation",
    ICLR 2022; A. Ganea et al., "GeoMol", NeurIPS 2021.
    """
    if not len(samples.structures) or not len(reference.structures) or not n_samples:
        return None
    mean = reference.compositions.mean(axis=0)
    deviation = reference.compositions.std(axis=0)
    deviation[deviation == 0] = 1.0
    structure = _nearest(samples.structures, reference.structures)
    composition = _nearest(
        (samples.compositions - mean) / deviation, (reference.compositions - mean) / deviation
    )
    of_samples, of_reference = (
        int(((near <= STRUCTURE_CUTOFF) & (alike <= COMPOSITION_CUTOFF)).sum())
        for near, alike in zip(structure, composition, strict=True)
    )
    return Coverage(of_reference / reference.n_given, of_samples / n_samples)


def _nearest(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distance of each row to the nearest of the other; never all distances at once."""
    of_first = np.empty(len(first))
    of_second = np.full(len(second), np.inf)
    for start in range(0, len(first), ROWS):
        distances = cdist(first[start : start + ROWS], second)
        of_first[start : start + ROWS] = distances.min(axis=1)
        np.minimum(of_second, distances.min(axis=0), out=of_second)
    return of_first, of_second

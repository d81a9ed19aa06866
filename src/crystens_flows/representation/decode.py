"""CrysTens to structures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from pymatgen.core import Composition, Element, Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.representation.consistency import (
    NO_CONSISTENCY,
    Consistency,
    measure_consistency,
)
from crystens_flows.representation.layout import FIRST_SITE, N_ATTRIBUTES, SHAPE
from crystens_flows.representation.normalization import REFERENCE, Normalization
from crystens_flows.representation.occupancy import count_sites

_BLOCK = 64


@dataclass(frozen=True)
class Decoded:
    """
    What one CrysTens says.

    Parameters
    ----------
    structure
        The crystal, or None where there is none.
    reason
        Why there is no structure, or None.
    consistency
        Tables 1 and 2 for this tensor.
    space_group
        The space group number that the tensor states, or None if it states none from 1 to 230.
    """

    structure: Structure | None
    reason: str | None
    consistency: Consistency
    space_group: int | None


def decode(tensors: np.ndarray, *, normalization: Normalization = REFERENCE) -> list[Decoded]:
    """Decode."""
    tensors = np.asarray(tensors)
    if tensors.shape[1:] != SHAPE or not np.issubdtype(tensors.dtype, np.floating):
        raise InputError(
            f"tensors have shape {tensors.shape} and type {tensors.dtype}: expected (n, 4, 64, 64) "
            "of a float type, batch first"
        )
    decoded: list[Decoded] = []
    for start in range(0, len(tensors), _BLOCK):
        decoded += _decode_block(tensors[start : start + _BLOCK], normalization)
    return decoded


def _decode_block(tensors: np.ndarray, normalization: Normalization) -> list[Decoded]:
    results: list[Decoded] = []
    rows = tensors[:, :, :N_ATTRIBUTES, FIRST_SITE:]
    columns = tensors[:, :, FIRST_SITE:, :N_ATTRIBUTES].swapaxes(2, 3)
    copies = np.concatenate([rows, columns], axis=1).astype(np.float64)
    counts, gains = count_sites(tensors, copies[:, :, 4:].mean(axis=1), normalization)
    for i, n in enumerate(counts):
        if not np.isfinite(tensors[i]).all():
            results.append(Decoded(None, "holds entries that are not finite", NO_CONSISTENCY, None))
            continue
        if gains[i] < 1e-6:
            results.append(Decoded(None, "holds no sites", NO_CONSISTENCY, None))
            continue
        values = copies[i, :, :, :n] * normalization.attribute_span[:, None]
        values += normalization.attribute_low[:, None]
        pairs = tensors[i, :, FIRST_SITE : FIRST_SITE + n, FIRST_SITE : FIRST_SITE + n]
        pairs = pairs * normalization.pair_span[:, None, None]
        pairs += normalization.pair_low[:, None, None]
        consistency = measure_consistency(values[None], pairs[None], counts[i : i + 1])[0]
        mean = values.mean(axis=0)
        difference = (pairs[1:] - pairs[1:].swapaxes(1, 2)) / 2
        position = mean[1:4]
        residual = position[:, :, None] - position[:, None, :] - difference
        position = (position + residual.sum(axis=1) / n).T
        numbers = np.rint(mean[0]).astype(int)
        lattice = mean[4:10].mean(axis=1)
        number = int(np.rint(mean[10].mean()))
        space_group = number if 1 <= number <= 230 else None
        structure, reason = _build(lattice, numbers, position)
        results.append(Decoded(structure, reason, consistency, space_group))
    return results


@cache
def _species(number: int) -> Composition:
    return Composition({Element.from_Z(number): 1})


def _build(
    lattice: np.ndarray, numbers: np.ndarray, frac_coords: np.ndarray
) -> tuple[Structure | None, str | None]:
    if numbers.min() < 1 or numbers.max() > 118:
        return None, f"atomic numbers from {numbers.min()} to {numbers.max()}"
    cosines = np.cos(np.radians(lattice[3:]))
    volume = 1 + 2 * cosines.prod() - np.square(cosines).sum()
    if lattice[:3].min() <= 0 or lattice[3:].min() <= 0 or volume <= 1e-8:
        return None, "impossible lattice"
    cell = Lattice.from_parameters(*lattice.tolist())
    return Structure(cell, [_species(int(z)) for z in numbers], frac_coords), None

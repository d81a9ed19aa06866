"""CrysTens to structures."""

from __future__ import annotations

import numpy as np

from crystens_flows.errors import InputError
from crystens_flows.representation.consistency import NO_CONSISTENCY
from crystens_flows.representation.layout import (
    CRYSTAL,
    FIRST_SITE,
    N_ATTRIBUTES,
    N_LAYERS,
    holds_crystens,
)
from crystens_flows.representation.normalization import REFERENCE, Normalization
from crystens_flows.representation.occupancy import count_sites
from crystens_flows.representation.reconstruction import Clusters, Decoded, reconstruct

_CHUNK = 256
_STEP = 4

_LARGEST_ENTRY = 1e6
"""Far beyond anything normalised, and far below where float32 overflows."""


def decode(
    tensors: np.ndarray,
    *,
    normalization: Normalization = REFERENCE,
    element_clusters: Clusters = "auto",
    coordinate_clusters: Clusters = "auto",
) -> list[Decoded]:
    """
    Decode normalised CrysTens.

    Every copy of every value is used: the lattice and the space group are means of 8A entries;
    atomic numbers and coordinates start from their eight copies; positions are then combined with
    all stored differences (figure 3 of the paper). The number of sites is the most probable one
    by all entries. How many elements and distinct coordinates there are follows from the spread
    of the copies.

    Parameters
    ----------
    tensors
        Normalised CrysTens, shape (n, 4, 64, 64), of a float type; further layers, as of chemical
        descriptors, are not read.
    normalization
        The scaling they were made with.
    element_clusters
        ``"auto"``, or a fixed K for K-means on the atomic numbers (3 in the paper).
    coordinate_clusters
        ``"auto"``, or a fixed K for K-means on the coordinates of each axis (6 in the paper).

    Returns
    -------
    list of Decoded
        One for each tensor, in order. A tensor that cannot be decoded has no structure and a
        reason; it does not stop the others.

    Raises
    ------
    InputError
        If the array has another shape or type, or a number of clusters is no positive number.
    """
    tensors = np.asarray(tensors)
    if not holds_crystens(tensors.shape) or not np.issubdtype(tensors.dtype, np.floating):
        raise InputError(
            f"tensors have shape {tensors.shape} and type {tensors.dtype}: expected "
            "(n, 4, 64, 64) of a float type, the batch first, or more layers than 4"
        )
    for name, clusters in (
        ("element_clusters", element_clusters),
        ("coordinate_clusters", coordinate_clusters),
    ):
        if clusters != "auto" and not (isinstance(clusters, int) and clusters >= 1):
            raise InputError(f"{name} is {clusters!r}: give 'auto' or a whole number from 1")
    decoded: list[Decoded] = []
    for start in range(0, len(tensors), _CHUNK):
        with np.errstate(over="ignore"):
            chunk = np.ascontiguousarray(
                tensors[start : start + _CHUNK, :N_LAYERS], dtype=np.float32
            )
        decoded += _decode_chunk(chunk, normalization, element_clusters, coordinate_clusters)
    return decoded


def _decode_chunk(
    tensors: np.ndarray,
    normalization: Normalization,
    element_clusters: Clusters,
    coordinate_clusters: Clusters,
) -> list[Decoded]:
    results: list[Decoded | None] = [None] * len(tensors)
    flat = tensors.reshape(len(tensors), -1)
    sound = (flat.max(axis=1) < _LARGEST_ENTRY) & (flat.min(axis=1) > -_LARGEST_ENTRY)
    tensors = tensors if sound.all() else np.where(sound[:, None, None, None], tensors, 0)
    rows = tensors[:, :, :N_ATTRIBUTES, FIRST_SITE:]
    columns = tensors[:, :, FIRST_SITE:, :N_ATTRIBUTES].swapaxes(2, 3)
    copies = np.concatenate([rows, columns], axis=1)
    counts = count_sites(tensors, copies[:, :, CRYSTAL], normalization)
    for i in np.flatnonzero(counts == 0):
        reason = "the tensor holds no sites"
        if not sound[i]:
            reason = f"the tensor holds NaN, infinity or entries above {_LARGEST_ENTRY:g}"
        results[i] = Decoded(None, reason, NO_CONSISTENCY, None)

    # Cut to a width that depends on the tensor alone, so that sums come out the same to the last
    # digit whatever else is in the batch.
    widths = -(-counts // _STEP) * _STEP
    for width in np.unique(widths[counts > 0]):
        block = np.flatnonzero(widths == width)
        values = copies[block, :, :, :width] * normalization.attribute_span[:, None]
        values += normalization.attribute_low[:, None]
        end = FIRST_SITE + width
        pairs = tensors[block, :, FIRST_SITE:end, FIRST_SITE:end]
        pairs = pairs * normalization.pair_span.astype(pairs.dtype)[:, None, None]
        pairs += normalization.pair_low.astype(pairs.dtype)[:, None, None]
        decoded = reconstruct(values, pairs, counts[block], element_clusters, coordinate_clusters)
        for i, result in zip(block, decoded, strict=True):
            results[i] = result
    return [result for result in results if result is not None]

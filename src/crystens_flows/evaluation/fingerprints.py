"""Fingerprints of structure and composition, in which coverage is measured."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Structure

from crystens_flows.errors import import_extra
from crystens_flows.screening.validity import structural_validity

MAX_COORDINATION = 24
"""Coordination numbers that the structure fingerprint tells apart."""

LENGTH = 61
"""Of the fingerprint of a structure."""

_ORDER_PARAMETERS = {1: ["sgl_bd"], **{cn: ["q2", "q4", "q6"] for cn in (9, 10, 11, 12)}}
"""Order parameters of a coordination number beside those of pymatgen's motifs."""

ELEMENT_PROPERTIES = (
    *("Number", "MendeleevNumber", "AtomicWeight", "MeltingT", "Column", "Row", "CovalentRadius"),
    *("Electronegativity", "NsValence", "NpValence", "NdValence", "NfValence", "NValence"),
    *("NsUnfilled", "NpUnfilled", "NdUnfilled", "NfUnfilled", "NUnfilled", "GSvolume_pa"),
    *("GSbandgap", "GSmagmom", "SpaceGroupNumber"),
)
"""Magpie's properties of elements, in its order."""


def structure_fingerprints(
    structures: Sequence[Structure], processes: int = 1
) -> list[NDArray[np.float64] | None]:
    """
    Describe the coordination in each structure.

    The fingerprint of a site holds, for each coordination number, how likely CrystalNN finds it,
    and times that how much the neighbours look like each motif of that number; that of a
    structure is the mean over its sites. It is what matminer calls ``CrystalNNFingerprint`` with
    the preset "ops", in the same order.

    Parameters
    ----------
    structures
        The structures.
    processes
        How many processes share the work.

    Returns
    -------
    list of numpy.ndarray or None
        Shape (61,) each; None for what is not structurally valid, or where CrystalNN fails.

    References
    ----------
    N. E. R. Zimmermann, A. Jain, RSC Adv. 10, 6063 (2020).
    """
    if processes == 1 or len(structures) < 2 * processes:
        return [_structure_fingerprint(structure) for structure in structures]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(_structure_fingerprint, structures, chunksize=8))


def _structure_fingerprint(structure: Structure) -> NDArray[np.float64] | None:
    from pymatgen.core.local_env import CrystalNN

    if structural_validity(structure) is not None:  # collapsed cells have neighbours without end
        return None
    finder = CrystalNN()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oxidation states are not known of generated crystals
            sites = [_site_fingerprint(finder, structure, i) for i in range(len(structure))]
    # CrystalNN fails in several ways where atoms overlap or have no neighbours
    except (ValueError, RuntimeError, IndexError, ZeroDivisionError, TypeError):
        return None
    mean = np.mean(sites, axis=0)
    return mean if np.isfinite(mean).all() else None


def _site_fingerprint(finder: Any, structure: Structure, index: int) -> list[float]:
    found = finder.get_nn_data(structure, index)
    values: list[float] = []
    for number in range(1, MAX_COORDINATION + 1):
        weight = found.cn_weights.get(number, 0.0)
        values.append(weight)
        for parameter in _parameters().get(number, ()):
            value = 0.0
            if weight:
                neighbours = [each["site"] for each in found.cn_nninfo[number]]
                around = list(range(1, len(neighbours) + 1))
                sites = [structure[index], *neighbours]
                value = parameter.get_order_parameters(sites, 0, indices_neighs=around)[0] or 0.0
            values.append(weight * value)
    return values


@lru_cache(maxsize=1)
def _parameters() -> dict[int, list[Any]]:
    from pymatgen.core.local_env import CN_OPT_PARAMS, LocalStructOrderParams

    parameters: dict[int, list[Any]] = {}
    for number in range(1, MAX_COORDINATION + 1):
        motifs: dict[str, Any] = CN_OPT_PARAMS.get(number, {})
        kinds: list[tuple[Any, Any]] = [(*motif, None)[:2] for motif in motifs.values()]
        kinds += [(kind, None) for kind in _ORDER_PARAMETERS.get(number, ())]
        if kinds:
            parameters[number] = [
                LocalStructOrderParams([kind], parameters=[settings]) for kind, settings in kinds
            ]
    return parameters


def composition_fingerprints(compositions: Iterable[Composition]) -> NDArray[np.float64]:
    """
    Describe each composition by Magpie's properties of its elements.

    Of each property the minimum, maximum, range, mean, mean absolute deviation over the atoms, and
    that of the most abundant element (the lowest of several), as matminer's preset "magpie", from
    the table that SMACT ships. What the table lacks counts as zero.

    Parameters
    ----------
    compositions
        The compositions.

    Returns
    -------
    numpy.ndarray
        Shape (n, 132).

    Raises
    ------
    MissingExtraError
        If SMACT is not installed.

    References
    ----------
    L. Ward et al., npj Comput. Mater. 2, 16028 (2016).
    """
    rows = [_composition_fingerprint(composition) for composition in compositions]
    return np.array(rows).reshape(-1, 6 * len(ELEMENT_PROPERTIES))


def _composition_fingerprint(composition: Composition) -> NDArray[np.float64]:
    table = _element_properties()
    amounts = composition.fractional_composition.get_el_amt_dict()
    unknown = np.zeros(len(ELEMENT_PROPERTIES))
    values = np.array([table.get(symbol, unknown) for symbol in amounts])
    shares = np.array(list(amounts.values()))
    shares /= shares.sum()
    mean = shares @ values
    low, high = values.min(axis=0), values.max(axis=0)
    mode = values[np.isclose(shares, shares.max())].min(axis=0)
    columns = (low, high, high - low, mean, shares @ np.abs(values - mean), mode)
    return np.stack(columns, axis=1).ravel()


@lru_cache(maxsize=1)
def _element_properties() -> dict[str, NDArray[np.float64]]:
    import pandas as pd

    import_extra("smact", "screen", "measuring coverage")
    with files("smact").joinpath("data", "magpie.csv").open() as stream:
        table = pd.read_csv(stream, keep_default_na=False, na_values=[""])
    values = table[list(ELEMENT_PROPERTIES)].to_numpy(dtype=float)
    return dict(zip(table["element"], np.nan_to_num(values), strict=True))

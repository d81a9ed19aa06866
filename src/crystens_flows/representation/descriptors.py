"""Chemical descriptors as further layers of a CrysTens, the fifth and on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from crystens_flows.errors import InputError
from crystens_flows.representation.layout import FIRST_SITE, MAX_SITES, N_LAYERS, SHAPE, SIZE

if TYPE_CHECKING:
    from pymatgen.core import Element

_LARGEST_NUMBER = 118
_BLOCKS = {"s": 1, "p": 2, "d": 3, "f": 4}


@dataclass(frozen=True)
class Descriptor:
    """
    A number that describes an element.

    Parameters
    ----------
    value
        Gives it for an element, always above 0; None or NaN where it is not known.
    largest
        The value that becomes 1.
    meaning
        What it is, with its unit.
    """

    value: Callable[[Element], float | None]
    largest: float
    meaning: str


def _block(element: Element) -> int:
    # pymatgen takes helium for a p element, after its group
    return _BLOCKS["s" if element.Z == 2 else element.block]


def _valence_electrons(element: Element) -> int:
    if element.Z == 2:
        return 2
    if element.block == "f":
        return element.Z - (54 if element.is_lanthanoid else 86)
    return element.group - 10 if element.block == "p" else element.group


DESCRIPTORS: dict[str, Descriptor] = {
    "group": Descriptor(lambda e: e.group, 18, "group of the periodic table, 3 for f elements"),
    "period": Descriptor(lambda e: e.row, 7, "period of the periodic table"),
    "block": Descriptor(_block, 4, "1 to 4 for s, p, d, f; helium is an s element"),
    "valence_electrons": Descriptor(
        _valence_electrons,
        16,
        "electrons of the s subshell last filled and, by block, of the p, d, or d and f ones",
    ),
    "electronegativity": Descriptor(
        lambda e: e.X, 4, "electronegativity of Pauling; none for He, Ne, Ar and beyond Z = 103"
    ),
    "radius": Descriptor(
        lambda e: e.atomic_radius,
        2.6,
        "empirical atomic radius of Slater in angstrom; none for noble gases but Ar, for At and "
        "Fr, and beyond Z = 95",
    ),
    "mendeleev_number": Descriptor(
        lambda e: e.mendeleev_no,
        103,
        "place in Pettifor's order of the elements, similar ones side by side; none beyond Z = 103",
    ),
}
"""By name; the values are pymatgen's."""


def check_descriptors(names: Sequence[str]) -> tuple[str, ...]:
    """
    Refuse names of descriptors that are unknown or given twice.

    Parameters
    ----------
    names
        Names of descriptors.

    Returns
    -------
    tuple of str
        The names.

    Raises
    ------
    InputError
        If one is unknown, with those that are known, or is given twice.
    """
    if isinstance(names, str):
        raise InputError(f"descriptors are a list of names, not the text '{names}'")
    for place, name in enumerate(names):
        if name not in DESCRIPTORS:
            raise InputError(f"'{name}' is no descriptor: known are {', '.join(DESCRIPTORS)}")
        if name in names[:place]:
            raise InputError(f"the descriptor '{name}' is given twice: give it once")
    return tuple(names)


@cache
def descriptor_values(name: str) -> np.ndarray:
    """
    Tabulate a descriptor as it stands in a layer.

    Parameters
    ----------
    name
        Name of the descriptor.

    Returns
    -------
    numpy.ndarray
        Its share of the largest value by atomic number, above 0 and up to 1, float32 of shape
        (119,); 0 for no atom (row 0) and where it is not known.
    """
    from pymatgen.core import Element

    (name,) = check_descriptors([name])
    descriptor = DESCRIPTORS[name]
    values = np.zeros(_LARGEST_NUMBER + 1, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of each value that it does not have
        for z in range(1, _LARGEST_NUMBER + 1):
            value = descriptor.value(Element.from_Z(z))
            if value is not None and isfinite(value):
                values[z] = float(value) / descriptor.largest
    values.flags.writeable = False
    return values


def add_descriptors(tensors: np.ndarray, numbers: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """
    Add a layer for each descriptor to CrysTens.

    A layer is built as the four are. Rows and columns 0 to 11 are those of the other layers,
    which are alike in all of them. Entry (i, j) of the pair block is the mean of the descriptor of
    sites i and j; the diagonal, empty in the four layers, so holds the descriptor of each site
    itself. Where it is not known for one of both, and beyond the last site, there is 0.

    Parameters
    ----------
    tensors
        Normalised CrysTens, shape (n, 4, 64, 64).
    numbers
        The atomic numbers that they hold, whole numbers of shape (n, m) with m <= 52, 0 beyond the
        last site.
    names
        Names of descriptors, keys of :data:`DESCRIPTORS`, in the order of the layers.

    Returns
    -------
    numpy.ndarray
        float32, shape (n, 4 + d, 64, 64): the tensors, then their descriptors, 0 to 1. The first
        four layers are unchanged; :func:`~crystens_flows.representation.decode.decode` reads those
        alone.

    Raises
    ------
    InputError
        If a name is unknown or given twice, shapes do not fit together, or a number is that of no
        element.
    """
    names = check_descriptors(names)
    numbers = np.asarray(numbers)
    n, m = len(tensors), numbers.shape[-1] if numbers.ndim else 0
    if tensors.shape[1:] != SHAPE or numbers.shape != (n, m) or m > MAX_SITES:
        raise InputError(
            f"add_descriptors: tensors and numbers have shapes {tensors.shape} and "
            f"{numbers.shape}; expected (n, {N_LAYERS}, {SIZE}, {SIZE}) and (n, m) with "
            f"m <= {MAX_SITES}"
        )
    whole = np.issubdtype(numbers.dtype, np.integer)
    if not whole or (numbers.size and not 0 <= numbers.min() <= numbers.max() <= _LARGEST_NUMBER):
        raise InputError(
            f"add_descriptors: numbers must be whole, from 1 to {_LARGEST_NUMBER} for atoms and 0 "
            "beyond the last site"
        )
    layers = np.zeros((n, N_LAYERS + len(names), SIZE, SIZE), dtype=np.float32)
    layers[:, :N_LAYERS] = tensors
    added = layers[:, N_LAYERS:]
    added[:, :, :FIRST_SITE] = tensors[:, :1, :FIRST_SITE]
    added[:, :, :, :FIRST_SITE] = tensors[:, :1, :, :FIRST_SITE]
    sites = slice(FIRST_SITE, FIRST_SITE + m)
    for layer, name in enumerate(names):
        values = descriptor_values(name)[numbers]
        known = values > 0
        pairs = (values[:, :, None] + values[:, None, :]) / 2
        added[:, layer, sites, sites] = pairs * (known[:, :, None] & known[:, None, :])
    return layers

"""Where each quantity stands in a CrysTens."""

from __future__ import annotations

MAX_SITES = 52
"""Largest number of sites a CrysTens holds."""

N_LAYERS = 4
"""Pairwise distance, then the differences in x, y and z."""

SIZE = 64
"""Rows and columns of a layer."""

FIRST_SITE = 12
"""Row and column of the first site; row and column 11 stay empty."""

SHAPE = (N_LAYERS, SIZE, SIZE)
"""Shape of one CrysTens."""

ATTRIBUTES = (
    "atomic_number",
    "x",
    "y",
    "z",
    "a",
    "b",
    "c",
    "alpha",
    "beta",
    "gamma",
    "space_group",
)
"""What rows (and columns) 0 to 10 hold, in this order, for each site."""

N_ATTRIBUTES = len(ATTRIBUTES)

NUMBER = 0
"""Row of the atomic numbers."""

COORDINATES = slice(1, 4)
"""Rows of the fractional coordinates."""

CRYSTAL = slice(4, 11)
"""Rows of the quantities that belong to the crystal, the same for every site."""

PAIRS = ("direction", "distance")
"""The two kinds of pair entries: layers 1 to 3, and layer 0."""


def holds_crystens(shape: tuple[int, ...]) -> bool:
    """Tell whether arrays of a shape hold CrysTens, with layers of descriptors or without."""
    return len(shape) == 4 and shape[1] >= N_LAYERS and shape[2:] == (SIZE, SIZE)

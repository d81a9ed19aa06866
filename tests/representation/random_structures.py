"""Hypothesis strategies for structures that a CrysTens holds."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure


@st.composite
def lattices(draw):
    lengths = [draw(st.floats(1.5, 60.0)) for _ in range(3)]
    angles = [draw(st.floats(25.0, 150.0)) for _ in range(3)]
    cosines = np.cos(np.radians(angles))
    if 1 + 2 * cosines.prod() - np.square(cosines).sum() < 0.02:
        angles = [draw(st.floats(55.0, 110.0)) for _ in range(3)]
    return Lattice.from_parameters(*lengths, *angles)


@st.composite
def structures(draw, max_sites=52):
    n = draw(st.one_of(st.just(1), st.just(max_sites), st.integers(1, max_sites)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    elements = generator.integers(1, 119, size=draw(st.integers(1, 8)))
    coordinates = generator.uniform(-1.0, 2.0, size=(n, 3))
    if draw(st.booleans()):
        # Many equal and special coordinates, as in real crystals.
        coordinates = np.rint(coordinates * 4) / 4
    return Structure(
        draw(lattices()), [int(z) for z in generator.choice(elements, size=n)], coordinates
    )

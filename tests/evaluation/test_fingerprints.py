import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure

from crystens_flows.evaluation.fingerprints import (
    ELEMENT_PROPERTIES,
    composition_fingerprints,
    structure_fingerprints,
)

pytest.importorskip("smact", reason="the table of element properties comes with SMACT")


def rock_salt(a=5.64):
    return Structure.from_spacegroup(
        225, Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def zinc_blende():
    return Structure.from_spacegroup(
        216, Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )


def test_ideal_coordination_is_its_motif():
    """matminer 0.10.1's CrystalNNFingerprint("ops") gives these: 1 for the number and motif."""
    octahedral, tetrahedral = structure_fingerprints([rock_salt(), zinc_blende()])
    # before the place of a number stand all smaller numbers, each with its motifs
    four, six = 12, 22
    assert octahedral.shape == (61,)
    assert np.flatnonzero(octahedral > 0.99).tolist() == [six, six + 2]
    assert np.flatnonzero(tetrahedral > 0.99).tolist() == [four, four + 2]


def test_of_a_disturbed_crystal():
    """The numbers that matminer 0.10.1 gives for this crystal."""
    crystal = Structure(
        Lattice.from_parameters(4.1, 5.2, 6.3, 80, 95, 110),
        ["Ca", "Ti", "O", "O", "O"],
        [[0, 0, 0], [0.5, 0.48, 0.52], [0.5, 0, 0.5], [0, 0.5, 0.45], [0.5, 0.5, 0.05]],
    )
    (found,) = structure_fingerprints([crystal])
    expected = np.array(
        [
            *(0.023329, 0.023329, 0.699759, 0, 8.5e-05, 0.007971, 0.404203, 0.526048),
            *(0.135242, 0.019328, 0.042888, 0.083354, 0.06286, 0.025689, 0.020944, 0.030372),
            *(0.026952, 0.007836, 0.056168, 0.022363, 0.028473, 0.025239, 0.021368, 0.008459),
            *(0.008354, 0.007452, 0.001273, 0.000592, 0.001258),
            *([0.0] * 32),
        ]
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_processes_change_nothing():
    crystals = [rock_salt(5.5 + 0.1 * k) for k in range(5)]
    for one, two in zip(
        structure_fingerprints(crystals), structure_fingerprints(crystals, 2), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_what_has_collapsed_has_none():
    flat = Structure(Lattice.cubic(0.001), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert structure_fingerprints([flat, rock_salt()])[0] is None


def test_statistics_of_the_elements():
    """Against a plain loop over the atoms; the mode is that of the most abundant element."""
    composition = Composition("Ca2Ti2O7")
    (found,) = composition_fingerprints([composition])
    by_name = found.reshape(len(ELEMENT_PROPERTIES), 6)
    atoms = [20] * 2 + [22] * 2 + [8] * 7
    mean = sum(atoms) / 11
    deviation = sum(abs(z - mean) for z in atoms) / 11
    np.testing.assert_allclose(
        by_name[ELEMENT_PROPERTIES.index("Number")], [8, 22, 14, mean, deviation, 8]
    )
    columns = by_name[ELEMENT_PROPERTIES.index("Column")]
    np.testing.assert_allclose(columns[[0, 1, 5]], [2, 16, 16])
    (even,) = composition_fingerprints([Composition("YThRu2")])
    assert even.reshape(-1, 6)[ELEMENT_PROPERTIES.index("Column"), 5] == 8

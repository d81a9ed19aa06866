"""Layers of chemical descriptors, against plain loops over pymatgen's elements."""

from __future__ import annotations

import warnings
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Element
from random_structures import structures

from crystens_flows.datasets import shipped
from crystens_flows.errors import InputError
from crystens_flows.representation import DESCRIPTORS, add_descriptors, decode, encode
from crystens_flows.representation.descriptors import descriptor_values

NAMES = tuple(DESCRIPTORS)
LARGEST = {
    "group": 18,
    "period": 7,
    "block": 4,
    "valence_electrons": 16,
    "electronegativity": 4,
    "radius": 2.6,
    "mendeleev_number": 103,
}


def valence_electrons(element):
    """Count them in the configuration of the free atom."""
    if element.Z > 104:  # pymatgen knows no configuration
        return element.group - 10 * (element.block == "p")
    shells = [s for s in element.full_electronic_structure if s[:2] != (0, "")]
    noble = {2: "He", 10: "Ne", 18: "Ar", 36: "Kr", 54: "Xe", 86: "Rn"}
    core = max((z for z in noble if z < element.Z), default=0)
    inner = {s[:2] for s in Element(noble[core]).full_electronic_structure} if core else set()
    outer = [(kind, n) for shell, kind, n in shells if (shell, kind) not in inner]
    # full d and f subshells below a p or a d one are not counted
    closed = {"p": "df", "d": "f"}.get(element.block, "") if element.Z != 2 else ""
    return sum(n for kind, n in outer if kind not in closed)


def value_of(name, element):
    """Return a descriptor of an element, read in another way, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "block":
            return 1 if element.symbol == "He" else " spdf".index(element.block)
        if name == "valence_electrons":
            return valence_electrons(element)
        read = {
            "group": element.group,
            "period": element.row,
            "electronegativity": element.X,
            "radius": element.data.get("Atomic radius"),
            "mendeleev_number": element.data.get("Mendeleev no"),
        }[name]
    if read in (None, "no data") or isnan(read):
        return None
    return float(read)


def plain_layer(structure, tensor, name):
    """Write a layer one entry after the other."""
    layer = np.zeros((64, 64))
    for i in range(64):
        for j in range(64):
            if i < 12 or j < 12:
                layer[i, j] = tensor[0, i, j]
                continue
            if i - 12 >= len(structure) or j - 12 >= len(structure):
                continue
            pair = [value_of(name, structure[k - 12].specie) for k in (i, j)]
            if None not in pair:
                layer[i, j] = sum(pair) / 2 / LARGEST[name]
    return layer


@pytest.mark.parametrize("name", NAMES)
def test_every_element_as_pymatgen_has_it(name):
    values = descriptor_values(name)
    assert values.shape == (119,)
    assert values.dtype == np.float32
    assert values[0] == 0
    for z in range(1, 119):
        expected = value_of(name, Element.from_Z(z))
        if expected is None:
            assert values[z] == 0
        else:
            assert values[z] == pytest.approx(expected / LARGEST[name], rel=1e-6)
            assert 0 < values[z] <= 1


def test_values_that_a_chemist_knows():
    def of(name, *symbols):
        found = descriptor_values(name)[[Element(s).Z for s in symbols]] * LARGEST[name]
        return found.round(2).tolist()

    assert of("group", "Na", "Fe", "O", "Ce") == [1, 8, 16, 3]
    assert of("period", "H", "Fe", "Pb") == [1, 4, 6]
    assert of("block", "He", "Al", "Zn", "U") == [1, 2, 3, 4]
    symbols = ("H", "He", "Mg", "Fe", "Pd", "Zn", "Ga", "Bi", "Nd", "Yb", "Lu", "U", "Og")
    assert of("valence_electrons", *symbols) == [1, 2, 2, 8, 10, 12, 3, 5, 6, 16, 3, 6, 8]
    assert of("electronegativity", "F", "Cs", "Ne", "Xe") == pytest.approx([3.98, 0.79, 0, 2.6])
    assert of("radius", "Si", "Cs", "Kr", "Cm") == pytest.approx([1.1, 2.6, 0, 0])


def test_every_entry_is_that_of_the_plain_loop(crystal):
    (expected,) = encode([crystal], [225])
    (found,) = encode([crystal], [225], descriptors=NAMES)
    assert found.shape == (4 + len(NAMES), 64, 64)
    assert found.dtype == np.float32
    assert np.array_equal(found[:4], expected)
    for layer, name in enumerate(NAMES, start=4):
        np.testing.assert_allclose(
            found[layer], plain_layer(crystal, expected, name), atol=1e-6, err_msg=name
        )
        assert np.array_equal(found[layer, 12:, 12:], found[layer, 12:, 12:].T)


def test_pairs_with_an_unknown_value_are_empty():
    """Argon has a radius and no electronegativity, krypton the reverse, neon neither."""
    numbers = np.array([[18, 36, 10, 9]])
    known = {"electronegativity": [36, 9], "radius": [18, 9]}
    tensors = np.zeros((1, 4, 64, 64), np.float32)
    layers = add_descriptors(tensors, numbers, list(known))[0, 4:, 12:16, 12:16]
    for layer, having in zip(layers, known.values(), strict=True):
        present = np.isin(numbers[0], having)
        assert np.array_equal(layer > 0, np.outer(present, present))


@settings(max_examples=25, deadline=None)
@given(
    structure=structures(),
    names=st.lists(st.sampled_from(NAMES), unique=True),
    space_group=st.integers(1, 230),
)
def test_decoded_to_the_last_bit_as_without(structure, names, space_group):
    tensors = encode([structure], [space_group])
    numbers = np.array([structure.atomic_numbers])
    layers = add_descriptors(tensors, numbers, names)
    assert layers.shape == (1, 4 + len(names), 64, 64)
    assert np.array_equal(layers, encode([structure], [space_group], descriptors=names))
    assert layers[:, 4:, 12:, 12:].min(initial=0) >= 0
    assert layers[:, 4:, 12:, 12:].max(initial=0) <= 1
    layers[:, 4:] *= 7  # what a network makes of them is not read either
    (plain,), (decoded,) = decode(tensors), decode(layers)
    assert decoded.reason == plain.reason
    assert decoded.consistency == plain.consistency
    assert decoded.space_group == plain.space_group
    assert (decoded.structure is None) == (plain.structure is None)
    if plain.structure is not None:
        assert decoded.structure == plain.structure
        assert np.array_equal(decoded.structure.frac_coords, plain.structure.frac_coords)
        assert np.array_equal(decoded.structure.lattice.matrix, plain.structure.lattice.matrix)


def test_batches_and_orders_of_names_change_nothing(all_crystals):
    together = encode(all_crystals, [1] * len(all_crystals), descriptors=["radius", "group"])
    for row, crystal in zip(together, all_crystals, strict=True):
        (alone,) = encode([crystal], [1], descriptors=["group", "radius"])
        assert np.array_equal(row[[0, 1, 2, 3, 5, 4]], alone)


def test_batches_of_a_data_set_have_the_layers():
    dataset = shipped()
    (batch,) = dataset.crystens_batches(range(3), descriptors=["group"])
    (plain,) = dataset.crystens_batches(range(3))
    numbers = dataset.numbers[:3].astype(int)
    assert np.array_equal(batch, add_descriptors(plain, numbers, ["group"]))
    assert batch.shape == (3, 5, 64, 64)


def test_what_is_wrong_is_named(all_crystals):
    tensors, numbers = np.zeros((2, 4, 64, 64), np.float32), np.ones((2, 3), int)
    with pytest.raises(InputError) as caught:
        encode(all_crystals, descriptors=["group", "colour"])
    assert str(caught.value) == f"'colour' is no descriptor: known are {', '.join(NAMES)}"
    for changed, words in (
        ({"names": ["group", "period", "group"]}, "'group' is given twice"),
        ({"names": "group"}, "a list of names, not the text 'group'"),
        ({"numbers": numbers[:1]}, r"shapes \(2, 4, 64, 64\) and \(1, 3\)"),
        ({"numbers": np.ones((2, 53), int)}, "m <= 52"),
        ({"numbers": np.array(3)}, "expected"),
        ({"numbers": numbers * 1.5}, "whole"),
        ({"numbers": numbers * 119}, "whole, from 1 to 118"),
        ({"tensors": tensors[:, :3]}, "expected"),
    ):
        arguments = {"tensors": tensors, "numbers": numbers, "names": ["group"]} | changed
        with pytest.raises(InputError, match=words):
            add_descriptors(**arguments)

"""CrysTens: crystals as tensors of shape (4, 64, 64), and back."""

from crystens_flows.representation.consistency import Consistency
from crystens_flows.representation.decode import decode
from crystens_flows.representation.descriptors import DESCRIPTORS, add_descriptors
from crystens_flows.representation.encode import encode, render
from crystens_flows.representation.layout import MAX_SITES, SHAPE
from crystens_flows.representation.normalization import REFERENCE, Normalization
from crystens_flows.representation.reconstruction import Decoded
from crystens_flows.representation.symmetry import Symmetry, find_symmetry

__all__ = [
    "DESCRIPTORS",
    "MAX_SITES",
    "REFERENCE",
    "SHAPE",
    "Consistency",
    "Decoded",
    "Normalization",
    "Symmetry",
    "add_descriptors",
    "decode",
    "encode",
    "find_symmetry",
    "render",
]

"""Field types for pydantic documents."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer
from pymatgen.core import Structure

from crystens_flows.msonable import structure_from_dict


def _to_structure(value: Any) -> Any:
    return structure_from_dict(value) if isinstance(value, dict) else value


StructureField = Annotated[
    Structure,
    BeforeValidator(_to_structure),
    PlainSerializer(lambda structure: structure.as_dict(), return_type=dict, when_used="json"),
]
"""A pymatgen Structure; a dictionary in JSON."""

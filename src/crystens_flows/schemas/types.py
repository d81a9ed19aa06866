"""Field types for pydantic documents."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer
from pymatgen.core import Structure


def _to_structure(value: Any) -> Any:
    return Structure.from_dict(value) if isinstance(value, dict) else value


StructureField = Annotated[
    Structure,
    BeforeValidator(_to_structure),
    PlainSerializer(lambda structure: structure.as_dict(), return_type=dict, when_used="json"),
]
"""A pymatgen Structure; a dictionary in JSON."""

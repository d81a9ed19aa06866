"""The documented schema of candidates, made from the models themselves."""

from __future__ import annotations

import re
import types
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pymatgen.core import Structure

from crystens_flows.schemas.candidate import SCHEMA_VERSION, CandidateDocument

_HEADER = """# Documents of candidates

One document for each candidate, in the collection `candidates`; made from the outputs of the jobs by
`crystens build` and by nobody else. This page is made from the models
(`python -m crystens_flows.schemas.describe > docs/schema.md`) and tested against them.

`schema_version` is {version}. Documents of earlier versions are read as they are, and every build and
`crystens candidates upgrade` rewrite what they touch:

| version | new |
|---|---|
| 2 | `energy_above_hull`, `known_as`, `tuning`; uncertainty, values and reasons of screens and selection |
| 3 | `energy_above_hull_dft`; in `relaxation`: steps, method, energies without smearing, energies of DFT, `stand_in` |
| 4 | `completed_at`, so that a job that ran again is read again |

A document of a later version than the package knows is refused, and left as it is. Structures are
pymatgen's `Structure.as_dict()`. A field without a value is null.
"""  # noqa: E501


def schema_page() -> str:
    """Return the page: a table for the document and for each document within it."""
    parts = [_HEADER.format(version=SCHEMA_VERSION)]
    todo: list[type[BaseModel]] = [CandidateDocument]
    for model in todo:
        rows = []
        for name, field in model.model_fields.items():
            todo += [each for each in _models(field.annotation) if each not in todo]
            rows.append(f"| `{name}` | {_type(field)} | {_cell(field.description or '')} |")
        first = (model.__doc__ or "").strip().splitlines()[0]
        parts.append(f"## {model.__name__}\n\n{first}\n\n| field | type | |\n|---|---|---|")
        parts[-1] += "\n" + "\n".join(rows) + "\n"
    return "\n".join(parts)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in get_args(annotation) for model in _models(each)]


def _type(field: FieldInfo) -> str:
    return _cell(_name(field.annotation))


def _name(annotation: Any) -> str:
    if annotation is Structure:
        return "structure"
    if annotation is type(None):
        return "null"
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_name(each) for each in inner)
    if origin is list:
        return f"list of {_name(inner[0])}"
    if origin is dict:
        return f"{_name(inner[1])} by name"
    if origin is not None and inner and not isinstance(inner[0], str):
        return _name(inner[0])
    if inner:
        return ", ".join(repr(each) for each in inner)
    return {"str": "text", "float": "number", "int": "whole number", "bool": "true or false"}.get(
        getattr(annotation, "__name__", ""), re.sub(r"^typing\.", "", _plain(annotation))
    )


def _plain(annotation: Any) -> str:
    name = str(getattr(annotation, "__name__", annotation))
    return {"Any": "anything", "datetime": "time, UTC"}.get(name, name)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    import sys

    sys.stdout.write(schema_page())

"""The fields of a candidate as rows of text."""

from __future__ import annotations

from typing import Any

from crystens_flows.msonable import structure_from_dict


def spread(document: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """
    Spread a document over dotted names.

    Parameters
    ----------
    document
        The document, as JSON has it.
    prefix
        What stands before the names.

    Returns
    -------
    list of tuple
        Name and value of each field; a structure as its sites in short.
    """
    rows: list[tuple[str, Any]] = []
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value.get("@class") == "Structure":
            rows.append((name, str(structure_from_dict(value))))
        elif isinstance(value, dict) and value:
            rows += spread(value, f"{name}.")
        else:
            rows.append((name, value))
    return rows

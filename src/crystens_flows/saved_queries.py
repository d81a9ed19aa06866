"""Queries on candidates that are kept by name, a YAML file each in the user's own folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from crystens_flows.errors import InputError, OutputFolderError

FOLDER = "~/.crystens_flows/queries"
_NAME = re.compile(r"[A-Za-z0-9][\w-]{0,63}", re.ASCII)


def query_file(name: str) -> Path:
    """
    Return the file of a query; it can be given to ``--config`` as well.

    Parameters
    ----------
    name
        Letters, digits, dashes and underscores.

    Returns
    -------
    Path
        In :data:`FOLDER`, whether it exists or not.

    Raises
    ------
    InputError
        If it is no such name.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a query: take letters, digits, dashes and underscores"
        )
    return Path(FOLDER).expanduser() / f"{name}.yaml"


def save_query(name: str, options: Mapping[str, Any]) -> Path:
    """
    Keep a query, in place of one of the same name.

    Parameters
    ----------
    name
        See :func:`query_file`.
    options
        Options of ``crystens candidates query`` by their long names, without dashes.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If it is no name.
    OutputFolderError
        If the file cannot be written.
    """
    file = query_file(name)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(yaml.safe_dump(dict(options), sort_keys=False, allow_unicode=True))
        temporary.replace(file)
    except OSError as exc:
        raise OutputFolderError(
            f"cannot write {file}: {exc.strerror}: make it possible to write there, or keep the "
            "options in a file for --config"
        ) from exc
    return file


def saved_queries() -> dict[str, str]:
    """Return the queries that are kept, by name: their options in a line each."""
    folder = Path(FOLDER).expanduser()
    found = {}
    for file in sorted(folder.glob("*.yaml")):
        if not _NAME.fullmatch(file.stem):
            continue
        try:
            options = yaml.safe_load(file.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            options = None
        found[file.stem] = (
            " ".join(f"--{name} {value}" for name, value in options.items())
            if isinstance(options, dict)
            else "cannot be read"
        )
    return found

"""What the command line says of an error: one line."""

from __future__ import annotations

from typing import Any

import typer

from crystens_flows.masking import without_password

# Where this class is differs by the version of typer.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]

_KINDS = {"int": "an integer", "float": "a number", "bool": "true or false"}
_BOUNDS = {"greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most")}
_STORE_ERRORS = {"pymongo.errors.PyMongoError", "sqlite3.Error"}


def usage_line(exc: Any) -> str | None:
    """
    Say what is wrong with the command that was given.

    Parameters
    ----------
    exc
        What a command raised.

    Returns
    -------
    str or None
        One line that names the option and the value; None if it is another kind of error.
    """
    if not isinstance(exc, _USAGE_ERROR):
        return None
    context = getattr(exc, "ctx", None)
    parameter = getattr(exc, "param", None)
    if parameter is None or not str(exc.message):  # not a value, or none at all
        text = exc.format_message() if parameter is not None else str(exc.message)
        if possible := getattr(exc, "possibilities", None):
            text = f"{text.rstrip('.')} (perhaps {', '.join(sorted(possible))})"
        text = text[:1].lower() + text[1:] if text[:1].isalpha() else text
        return _one_line(f"{text.rstrip('.')} (see 'crystens{_subcommand(context)} --help')")
    name = max(parameter.opts, key=len)
    return _one_line(f"{name}: {_plain(exc)}")


def failure_line(exc: Exception) -> str | None:
    """
    Say what the system or a database did not do.

    Parameters
    ----------
    exc
        What a command raised.

    Returns
    -------
    str or None
        One line that names the file; None if it is another kind of error.
    """
    if isinstance(exc, OSError):
        where = f"{exc.filename}: " if exc.filename is not None else ""
        return _one_line(f"{where}{exc.strerror or exc or type(exc).__name__}")
    # By name, for importing pymongo takes long.
    if _STORE_ERRORS & {f"{kind.__module__}.{kind.__name__}" for kind in type(exc).__mro__}:
        first = without_password(str(exc)).split(", Timeout:")[0].split(", full error")[0]
        return _one_line(f"the store can no longer be used: {first}; start again when it is back")
    return None


def _plain(exc: Any) -> str:
    """Say in plain words what a value is not."""
    message = str(exc.message)
    errors = getattr(exc.__cause__, "errors", None)
    if errors is None:
        return message
    first = errors()[0]
    kind, value = first["type"], first["input"]
    if kind in _BOUNDS:
        limit, words = _BOUNDS[kind]
        return f"{value} is not possible: give {words} {first['ctx'][limit]}"
    if kind.split("_")[0] in _KINDS:
        return f"{value!r} is not {_KINDS[kind.split('_')[0]]}"
    return message.removeprefix("Value error, ").rstrip(".")


def _subcommand(context: typer.Context | None) -> str:
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, f" {context.info_name}")
        context = context.parent  # type: ignore[assignment]
    return "".join(names)


def _one_line(text: str) -> str:
    return " ".join(text.split())

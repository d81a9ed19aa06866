"""YAML text with comments."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


class Sections:
    """
    Parts of a YAML file, each under a comment.

    Parameters
    ----------
    about
        Comment on the whole file.
    """

    def __init__(self, about: str) -> None:
        self._parts = [_comment(about)]

    def add(self, comment: str, values: dict[str, Any]) -> None:
        """
        Add a part.

        Parameters
        ----------
        comment
            What it is about; empty for none.
        values
            The keys and values.
        """
        body = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
        self._parts.append(f"\n{_comment(comment)}{body}" if comment else body)

    def text(self) -> str:
        """Return the file."""
        return "".join(self._parts)


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in text.splitlines())

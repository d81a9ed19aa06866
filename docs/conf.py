"""How Sphinx builds these pages: ``make docs``."""

from __future__ import annotations

import inspect
import os
import re
import warnings
from collections.abc import Iterator
from enum import Enum
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

# Imported before autodoc looks at classes: it writes annotations into those of pydantic, with which
# emmet's can no longer be made.
import crystens_flows.jobs.vasp  # noqa: F401
from crystens_flows import __version__
from crystens_flows.cli import app

os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.simplefilter("ignore")

project = "crystens_flows"
author = "The crystens_flows developers"
release = version = __version__
project_copyright = author

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "figures"]
highlight_language = "console"
smartquotes = False

myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True

html_theme = "furo"
html_title = f"crystens_flows {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
html_show_sphinx = False
html_copy_source = False
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True

autodoc_default_options = {"members": True, "exclude-members": "model_config, screen_type"}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_rtype = True
napoleon_use_ivar = True
napoleon_attr_annotations = False

# Files beside this folder that have a page here: a link to the file becomes one to the page.
PAGES = {
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../stores/README.md": "store-files.md",
    "../workflows": "scripts.md",
}


def link_pages(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Let links to files that have a page of their own lead there, and list the commands."""
    if docname == "commands":
        command = typer.main.get_command(app)
        source[0] += "".join(_described(f"crystens {name}", each) for name, each in _all(command))
    text = re.sub(r"\]\(\.\./workflows/[\w-]+\.(py|yaml)\)", "](scripts.md)", source[0])
    for file, page in PAGES.items():
        text = text.replace(f"]({file})", f"]({page})")
    source[0] = text


def _all(command: Any) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group, and of the groups in it, by their full names."""
    for name, each in command.commands.items():
        if hasattr(each, "commands"):
            yield from ((f"{name} {inner}", found) for inner, found in _all(each))
        else:
            yield name, each


def _described(name: str, command: Any) -> str:
    """Describe a command: what it does, and a row for each option."""
    types = get_type_hints(inspect.unwrap(command.callback))
    rows = []
    for option in command.params:
        if option.name == "config":
            continue
        # an argument has its name alone
        names = ", ".join(f"`{each}`" for each in [*option.opts, *option.secondary_opts])
        said = re.sub(r"([|<>*_])", r"\\\1", option.help or "")
        kinds = [types[option.name], *get_args(types[option.name])]
        choices = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Enum)]
        said += "".join(f" ({', '.join(f'`{each}`' for each in choice)})" for choice in choices)
        default, shown = option.default, getattr(option, "show_default", None)
        if option.required:
            shown = "required"
        elif not isinstance(shown, str):
            nothing = default in (None, "") or default is False or callable(default)
            shown = "" if nothing else f"`{option.opts[0] if default is True else default}`"
        rows.append(f"| {names} | {said} | {shown} |")
    text = inspect.cleandoc(command.help or "")
    table = "| option | | default |\n|---|---|---|\n" + "\n".join(rows) if rows else ""
    return f"\n## {name}\n\n{text}\n\n{table}\n"


def describe_fields(
    _app: Sphinx, what: str, _name: str, documented: Any, _options: Any, lines: list[str]
) -> None:
    """Add the fields of a pydantic model, with the words that they have; types are autodoc's."""
    lines[:] = [line for line in lines if not line.startswith(":rtype:")]
    if what != "class" or not (isinstance(documented, type) and issubclass(documented, BaseModel)):
        return
    lines.append("")
    for name, field in documented.model_fields.items():
        lines.append(f":param {name}: {field.description or ''}")
        lines.append(f":type {name}: {stringify_annotation(_plain(field.annotation), 'smart')}")
    lines.append("")


def _plain(annotation: Any) -> Any:
    """Return a type without what pydantic is told beside it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _plain(inner[0])
    if origin in (Union, UnionType):
        return reduce(or_, map(_plain, inner))
    if origin in (list, dict):
        return origin[tuple(map(_plain, inner))]
    return annotation


def setup(sphinx: Sphinx) -> dict[str, bool]:
    """Connect what is above."""
    sphinx.connect("source-read", link_pages)
    sphinx.connect("autodoc-process-docstring", describe_fields, priority=600)  # after napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The command that puts the files of stores and workflow managers into place."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from crystens_flows.cli.options import Config
from crystens_flows.cli.output import say


class BackendName(StrEnum):
    """What runs the jobs."""

    LOCAL = "local"
    JF = "jf"
    FIREWORKS = "fireworks"


def init(
    backend: Annotated[BackendName, typer.Option("--backend", help="What runs the jobs.")],
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            help="mongodb:// URI that names a database, or a folder for embedded stores; else the "
            "configured one. Leave the password out and set CRYSTENS_DB_PASSWORD.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder for the files; else where the backend looks for them: ~/.jfremote, "
            "~/.fireworks, the working folder.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    config: Config = None,
) -> None:
    """
    Write the files that stores and a workflow manager need here, and make the indexes.

    Queue, partitions, Python environment, cores and scratch folder are found out. A password goes
    only into files that cannot do without, which nobody else can read.
    """
    from crystens_flows.init import Backend, place

    placed = place(Backend(backend.value), store, output, force=force)
    for path in placed.files:
        how = ", replaced" if path in placed.replaced else ""
        secret = ", holds the password: mode 600" if path in placed.secret else ""
        say(f"wrote {path}{how}{secret}")
    say(f"store: {placed.store}, indexes made")
    for note in placed.notes:
        say(note)
    say("next:")
    for step in placed.next_steps:
        say(f"  {step}")

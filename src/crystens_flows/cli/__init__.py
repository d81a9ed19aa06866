"""The command line, ``crystens``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from crystens_flows import __version__
from crystens_flows.cli import candidates, discover, generate, tensors
from crystens_flows.cli.output import say
from crystens_flows.errors import CrystensError

app = typer.Typer(
    name="crystens",
    help="Generate crystals, screen and relax them, and find every candidate in a store.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"crystens_flows {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    context.obj = {"traceback": traceback}


app.command()(discover.discover)
app.command()(tensors.encode)
app.command()(tensors.decode)
app.command()(generate.train)
app.command()(generate.sample)
app.command()(candidates.build)
app.add_typer(candidates.app, name="candidates")


def main() -> None:
    """Run the command line; an error that a user can cause is one line and exit code 1."""
    try:
        app(prog_name="crystens")
    except CrystensError as exc:
        if "--traceback" in sys.argv:
            raise
        say(f"error: {exc}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted; start the same command again to go on")
        sys.exit(130)

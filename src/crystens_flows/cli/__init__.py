"""The command line, ``crystens``."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from crystens_flows import __version__
from crystens_flows.cli import (
    campaign,
    candidates,
    check,
    discover,
    evaluate,
    explore,
    generate,
    init,
    relax,
    relaxations,
    screen,
    submit,
    tensors,
    train_m3gnet,
)
from crystens_flows.cli.errors import failure_line, usage_line
from crystens_flows.cli.output import say
from crystens_flows.errors import CrystensError
from crystens_flows.masking import without_password

INTERRUPTED = 130
RESUMABLE = ("discover", "relax", "resume", "retry", "submit", "train", "train-m3gnet")

app = typer.Typer(
    name="crystens",
    help="Generate crystals, screen and relax them, and find every candidate in a store.",
    invoke_without_command=True,
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
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command()(discover.discover)
app.command()(tensors.encode)
app.command()(tensors.decode)
app.command()(generate.train)
app.command()(generate.sample)
app.command()(screen.screen)
app.command()(evaluate.evaluate)
app.command()(relax.relax)
app.command()(explore.explore)
app.command()(check.check)
app.command()(submit.submit)
app.command()(campaign.status)
app.command()(campaign.extend)
app.command()(campaign.retry)
app.command()(campaign.pause)
app.command()(campaign.resume)
app.command()(init.init)
app.command("train-m3gnet")(train_m3gnet.train_m3gnet_command)
app.command()(candidates.build)
candidates.app.command()(relaxations.relaxations)
app.add_typer(candidates.app, name="candidates")


def main() -> None:
    """Run the command line; an error that a user can cause is one line, exit code 1 or 2."""
    try:
        code = app(prog_name="crystens", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as exc:
        usage = usage_line(exc)
        line = str(exc) if isinstance(exc, CrystensError) else usage or failure_line(exc)
        if line is None or (usage is None and "--traceback" in sys.argv):
            raise
        if isinstance(exc, OSError):
            _drop_output()
        say(f"error: {without_password(line)}")
        sys.exit(1 if usage is None else 2)
    if code == INTERRUPTED:
        command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
        again = "; start the same command again to go on" if command in RESUMABLE else ""
        say(f"interrupted{again}")
    sys.exit(code or 0)


def _drop_output() -> None:
    """Let what standard output did not take go, or Python complains of it again at its end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

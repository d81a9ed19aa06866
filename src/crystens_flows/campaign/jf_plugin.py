"""``jf crystens``: the commands on campaigns, in the command line of jobflow-remote."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from crystens_flows.cli import campaign, submit
from crystens_flows.cli.submit import BackendChoice
from crystens_flows.errors import CrystensError

COMMANDS: tuple[Callable[..., None], ...] = (
    submit.submit,
    campaign.status,
    campaign.extend,
    campaign.retry,
    campaign.pause,
    campaign.resume,
)


def setup_jf_plugin() -> None:
    """Add the commands; jobflow-remote calls this when ``jf`` starts."""
    from jobflow_remote.cli.jf import app as jf_app
    from jobflow_remote.cli.jfr_typer import JFRTyper
    from jobflow_remote.cli.utils import exit_with_error_msg

    app = JFRTyper(
        name="crystens",
        help="Campaigns of crystens_flows in this project",
        no_args_is_help=True,
    )
    for command in COMMANDS:
        app.command()(_of_project(command, exit_with_error_msg))
    jf_app.add_typer(app)


def _of_project(command: Callable[..., None], fail: Callable[[str], Any]) -> Callable[..., None]:
    """Return a command that takes the project that jf has selected."""

    @functools.wraps(command)
    def with_project(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, backend=BackendChoice.JF, **kwargs)
        except CrystensError as exc:
            fail(str(exc))

    signature = inspect.signature(command, eval_str=True)
    left = [each for name, each in signature.parameters.items() if name != "backend"]
    with_project.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
    with_project.__annotations__ = {each.name: each.annotation for each in left}
    return with_project

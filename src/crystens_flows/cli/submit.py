"""The command that begins a campaign."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crystens_flows.cli.output import progress_bar, say

if TYPE_CHECKING:
    from crystens_flows.campaign.file import CampaignFile


class BackendChoice(StrEnum):
    """What can run the jobs of a campaign."""

    LOCAL = "local"
    JF = "jf"
    FIREWORKS = "fireworks"


CampaignPath = Annotated[Path, typer.Argument(help="Campaign file (YAML).", metavar="CONFIG.yaml")]
Chosen = Annotated[
    BackendChoice | None,
    typer.Option(
        "--backend",
        help="What runs the jobs, if not what the file says.",
        show_default="the file's, else local",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="NAME=VALUE in place of what the file says, e.g. n_samples=20 or "
        "screening.selection.n_select=2; may be repeated.",
        show_default=False,
    ),
]


def submit(
    file: CampaignPath,
    backend: Chosen = None,
    settings: Settings = None,
) -> None:
    """
    Begin a campaign: locally in this process, with jobflow-remote, or with FireWorks.

    A local campaign that was interrupted goes on.
    """
    from crystens_flows.campaign.backends import find_backend
    from crystens_flows.campaign.submission import submit_campaign

    campaign = campaign_of(file, backend, settings)
    with progress_bar("starting") as progress:
        done = submit_campaign(find_backend(campaign, progress))
    say(done)


def campaign_of(
    file: Path, backend: BackendChoice | None, settings: list[str] | None
) -> CampaignFile:
    """
    Read a campaign file as a command was given it.

    Parameters
    ----------
    file
        The file.
    backend
        What is to run the jobs, if not what the file says.
    settings
        What is to be other than in the file.

    Returns
    -------
    CampaignFile
        The campaign.
    """
    from crystens_flows.campaign.file import read_campaign

    chosen = [] if backend is None else [f"backend={backend.value}"]
    return read_campaign(file, [*(settings or []), *chosen])

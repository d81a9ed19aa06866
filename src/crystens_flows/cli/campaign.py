"""Commands on a campaign that was begun: how far it is, more of it, again, and a pause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from crystens_flows.cli.options import Format, OutputFormat
from crystens_flows.cli.output import print_records, progress_bar, say
from crystens_flows.cli.submit import CampaignPath, Chosen, Settings, campaign_of

if TYPE_CHECKING:
    from crystens_flows.campaign.status import CampaignStatus

COLUMNS = [
    *("stage", "waiting", "running", "finished", "failed", "paused", "per_hour", "minutes"),
]


def status(
    file: CampaignPath,
    backend: Chosen = None,
    settings: Settings = None,
    output_format: Format = OutputFormat.TABLE,
) -> None:
    """Show what of a campaign is done, runs, waits and failed and why, by stage, and how fast."""
    from crystens_flows.campaign.backends import find_backend
    from crystens_flows.campaign.status import campaign_status

    found = campaign_status(find_backend(campaign_of(file, backend, settings)))
    if output_format is OutputFormat.JSON:
        typer.echo(found.model_dump_json(indent=1))
        return
    if not found.n_parts:
        say(f"campaign {found.campaign} was not submitted yet")
        return
    print_records([each.model_dump() for each in found.stages], COLUMNS, output_format)
    _say_failures(found)


def _say_failures(found: CampaignStatus) -> None:
    say(f"campaign {found.campaign}: {found.n_samples} samples in {found.n_parts} parts")
    if found.candidates is not None:
        counts = ", ".join(f"{number} {name}" for name, number in found.candidates.items())
        say(f"  candidates at the last build: {counts}")
    for each in found.failures:
        say(f"  failed in {each.stage}: {each.n_jobs}  {each.example}")
        say(f"    jobs {', '.join(each.jobs)}{' ...' if each.n_jobs > len(each.jobs) else ''}")
        if each.folders:
            say(f"    {each.folders[0]}")


def extend(
    file: CampaignPath,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many samples more.")],
    backend: Chosen = None,
    settings: Settings = None,
) -> None:
    """
    Add samples to a campaign; their indices follow those that there are.

    They are selected from on their own; what is selected and relaxed already stays as it is.
    """
    from crystens_flows.campaign.backends import find_backend
    from crystens_flows.campaign.submission import extend_campaign

    campaign = campaign_of(file, backend, settings)
    with progress_bar("starting") as progress:
        done = extend_campaign(find_backend(campaign, progress), number)
    say(done)


def retry(
    file: CampaignPath,
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason",
            help="Only jobs whose reason holds this text, as 'crystens status' shows it.",
            show_default=False,
        ),
    ] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", help="Only jobs of this stage.", show_default=False)
    ] = None,
    backend: Chosen = None,
    settings: Settings = None,
) -> None:
    """Run jobs that failed again, all or for one reason, and what comes after them."""
    from crystens_flows.campaign.backends import find_backend
    from crystens_flows.campaign.status import failed_jobs

    with progress_bar("starting") as progress:
        runs = find_backend(campaign_of(file, backend, settings), progress)
        jobs = failed_jobs(runs.jobs(), reason, stage)
        retried = runs.retry(jobs)
    say(f"{len(jobs)} failed jobs found; {len(retried.keys)} jobs run again")
    for part in retried.late:
        say(
            f"  samples {part.start} to {part.stop - 1} come after the selection: submitted once "
            "more, to be selected from on their own"
        )
    for key, why in retried.refused.items():
        say(f"  not {key}: {why}")


def pause(file: CampaignPath, backend: Chosen = None, settings: Settings = None) -> None:
    """Start no more jobs of a campaign; those that run go on to their end."""
    from crystens_flows.campaign.backends import find_backend

    campaign = campaign_of(file, backend, settings)
    n_paused = find_backend(campaign).pause()
    say(f"campaign {campaign.campaign}: {n_paused} jobs wait; `crystens resume` lets them go on")


def resume(file: CampaignPath, backend: Chosen = None, settings: Settings = None) -> None:
    """Let a campaign that was paused go on."""
    from crystens_flows.campaign.backends import find_backend

    campaign = campaign_of(file, backend, settings)
    with progress_bar("starting") as progress:
        n_resumed = find_backend(campaign, progress).resume()
    say(f"campaign {campaign.campaign}: {n_resumed} jobs go on")

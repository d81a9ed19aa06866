"""Beginning a campaign, and extending it."""

from __future__ import annotations

from crystens_flows.campaign.backends import Backend
from crystens_flows.campaign.options import DiscoveryOptions, Part
from crystens_flows.errors import InputError


def submit_campaign(backend: Backend) -> str:
    """
    Begin a campaign; a local one that was interrupted goes on.

    Parameters
    ----------
    backend
        What runs its jobs.

    Returns
    -------
    str
        What was done, in a line.

    Raises
    ------
    InputError
        If it was submitted before.
    """
    campaign = backend.campaign
    first = Part(0, campaign.n_samples)
    begun = backend.parts()
    if begun and campaign.backend != "local":
        raise InputError(
            f"campaign {campaign.campaign} was submitted before, with {begun[-1].stop} samples: "
            "`crystens extend` adds some; give another campaign another name"
        )
    return backend.submit(begun[0] if begun else first)


def extend_campaign(backend: Backend, n_samples: int) -> str:
    """
    Add samples to a campaign; their indices follow those that there are.

    They are screened, selected and relaxed as those before, in a selection of their own.

    Parameters
    ----------
    backend
        What runs its jobs.
    n_samples
        How many.

    Returns
    -------
    str
        What was done, in a line.

    Raises
    ------
    InputError
        If there is no such campaign yet.
    """
    begun = backend.parts()
    if not begun:
        raise InputError(
            f"there is no campaign {backend.campaign.campaign} to extend: `crystens submit` begins "
            "one"
        )
    return backend.submit(Part(max(part.stop for part in begun), n_samples))


def with_checkpoint(options: DiscoveryOptions) -> DiscoveryOptions:
    """
    Say which generator a campaign samples from, by its weights.

    Parameters
    ----------
    options
        The options.

    Returns
    -------
    DiscoveryOptions
        With the SHA-256 of the checkpoint, if it is not one to be trained.
    """
    from crystens_flows.generators import generator_sha256, resolve_generator

    if options.train is not None:
        return options
    generator = resolve_generator(options.generator)
    return options.model_copy(
        update={"generator": generator, "checkpoint_sha256": generator_sha256(generator)}
    )

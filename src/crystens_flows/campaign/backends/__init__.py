"""What runs the jobs of campaigns."""

from __future__ import annotations

from importlib import import_module

from crystens_flows.campaign.backends.base import (
    Backend,
    JobRecord,
    JobStatus,
    Progress,
    Retried,
)
from crystens_flows.campaign.file import CampaignFile

__all__ = ["Backend", "JobRecord", "JobStatus", "Progress", "Retried", "find_backend"]

_CLASSES = {
    "local": "crystens_flows.campaign.backends.local:LocalBackend",
    "jf": "crystens_flows.campaign.backends.jf:JfBackend",
    "fireworks": "crystens_flows.campaign.backends.fireworks:FireworksBackend",
}


def find_backend(campaign: CampaignFile, progress: Progress | None = None) -> Backend:
    """
    Return what runs the jobs of a campaign.

    Parameters
    ----------
    campaign
        The campaign.
    progress
        As for :class:`Backend`.

    Returns
    -------
    Backend
        That of the name in the campaign.
    """
    module, name = _CLASSES[campaign.backend].split(":")
    return getattr(import_module(module), name)(campaign, progress)

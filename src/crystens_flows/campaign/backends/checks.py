"""What must be the same in all parts of a campaign, wherever they run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from jobflow import JobStore
from maggma.core import Store

from crystens_flows.campaign.options import DiscoveryOptions, Part, find_trained, kept_options
from crystens_flows.errors import InputError
from crystens_flows.masking import without_password
from crystens_flows.schemas import TrainDocument

_LOCAL = ("localhost", "127.0.0.1", "::1")


def check_same_options(options: DiscoveryOptions, submitted: Iterable[Mapping[str, Any]]) -> None:
    """
    Check that a campaign does what its earlier parts do.

    Parameters
    ----------
    options
        What is to be submitted.
    submitted
        The options of the parts that were, as :func:`kept_options` gives them.

    Raises
    ------
    InputError
        If anything differs.
    """
    now = kept_options(options)
    for before in submitted:
        differing = [name for name in now if now[name] != before.get(name)]
        if differing:
            raise InputError(
                f"campaign {options.campaign} was submitted with another {', '.join(differing)}: "
                "give it the same, or another name"
            )


def check_same_store(named: str | None, job_store: JobStore) -> None:
    """
    Check that the store of a campaign file is the one that jobs write to.

    Parameters
    ----------
    named
        The store of the campaign file; None where it names none.
    job_store
        Where jobs write to.

    Raises
    ------
    InputError
        If they differ.
    """
    if named is None:
        return
    from crystens_flows.stores import open_stores

    with closing(open_stores(named)) as stores:
        ours, theirs = _place(stores.job_store.docs_store), _place(job_store.docs_store)
    if ours != theirs:
        raise InputError(
            f"the jobs write to {theirs}, not to {ours} of the store {without_password(named)}: "
            "give the campaign the store of the jobs, or none"
        )


def same_trained(
    options: DiscoveryOptions, part: Part, job_store: JobStore
) -> TrainDocument | None:
    """
    Return what the beginning of a campaign has trained, for a part that extends it.

    Parameters
    ----------
    options
        What the campaign does.
    part
        The part.
    job_store
        Where the jobs write to.

    Returns
    -------
    TrainDocument or None
        None where nothing is trained, or this part does it.
    """
    if options.train is None or part.start == 0:
        return None
    return find_trained(job_store, options)


def _place(store: Store) -> str:
    """Name a store without user, password and other spellings of this machine."""
    host = getattr(store, "host", None)
    if host is None:
        return without_password(str(store.name)).rpartition("@")[2]
    host = "localhost" if host in _LOCAL else host
    return f"{host}:{store.port}/{store.database}/{store.collection_name}"  # type: ignore[attr-defined]

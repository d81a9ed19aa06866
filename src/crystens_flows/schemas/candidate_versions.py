"""Documents of candidates that earlier versions of the package stored, as of this version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crystens_flows.errors import StoreError
from crystens_flows.schemas.candidate import SCHEMA_VERSION

Document = dict[str, Any]


def upgraded(doc: Document) -> Document:
    """
    Return a stored candidate as this version of the package would have stored it.

    What an earlier version did not know is empty; nothing is lost.

    Parameters
    ----------
    doc
        The candidate as stored; left as it is.

    Returns
    -------
    dict
        The candidate, of :data:`~crystens_flows.schemas.candidate.SCHEMA_VERSION`.

    Raises
    ------
    StoreError
        If its version is no version, or later than this package knows.
    """
    version = doc.get("schema_version", 1)
    if type(version) is not int or version < 1:
        raise StoreError(
            f"candidate {doc.get('candidate_id')!r} has schema_version {version!r}, which is no "
            "version: remove it, and `crystens build` makes it again from the outputs of the jobs"
        )
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"candidate {doc.get('candidate_id')!r} is of schema version {version}, and this "
            f"version of crystens-flows knows {SCHEMA_VERSION} at most: install a later one"
        )
    for step in _STEPS[version - 1 :]:
        doc = step(doc)
    return {**doc, "schema_version": SCHEMA_VERSION}


def _from_1(doc: Document) -> Document:
    new = {"energy_above_hull": None, "uncertainty": None, "known_as": None}
    screens = {name: {**new, "values": {}, **record} for name, record in doc["screens"].items()}
    empty = dict.fromkeys(
        ("reason", "n_ranked", "value", "rank_in_system", "energy_above_hull_with_candidates")
    )
    return {
        "energy_above_hull": None,
        "known_as": None,
        "tuning": None,
        **doc,
        "screens": screens,
        "selection": doc["selection"] and {**empty, **doc["selection"]},
    }


def _from_2(doc: Document) -> Document:
    empty: Document = {
        "energies_zero_sigma": [],
        "steps": [],
        "initial_volume": None,
        "initial_space_group": None,
        "method": {},
        "stand_in": False,
        "formation_energy_per_atom": None,
        "energy_above_hull": None,
        "hull": None,
    }
    relaxation = doc["relaxation"] and {**empty, **doc["relaxation"]}
    return {"energy_above_hull_dft": None, **doc, "relaxation": relaxation}


def _from_3(doc: Document) -> Document:
    # when the jobs ended was not kept: the builder reads those still in the JobStore once more
    return {"completed_at": {}, **doc}


_STEPS: tuple[Callable[[Document], Document], ...] = (_from_1, _from_2, _from_3)

"""Where a candidate comes from."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel, Field

RECORDED_PACKAGES = (
    "crystens-flows",
    "jobflow",
    "atomate2",
    "pymatgen",
    "numpy",
    "torch",
    "chgnet",
)


class Provenance(BaseModel):
    """What, together with an index, determines a sample; and the campaign it belongs to."""

    campaign: str = Field("default", description="Name of the campaign.")
    generator: str = Field(description="Kind of the generator, e.g. 'wyckoff'; 'files' for CIFs.")
    checkpoint_sha256: str = Field(description="SHA-256 of the generator's weights, or the files.")
    seed: int | None = Field(None, description="Seed of the sampling.")
    conditions: dict[str, Any] | None = Field(
        None, description="What the crystals were asked to meet, by name; None for nothing."
    )


def candidate_id(provenance: Provenance, index: int) -> str:
    """
    Return the identifier of sample `index`, the same wherever and whenever it is made.

    Parameters
    ----------
    provenance
        Campaign, generator, checkpoint, seed and conditions.
    index
        Index of the sample, from 0.

    Returns
    -------
    str
        ``"c-"`` and 20 hexadecimal digits.
    """
    key = [provenance.campaign, provenance.checkpoint_sha256, str(provenance.seed), str(index)]
    if provenance.conditions:
        key.append(json.dumps(provenance.conditions, sort_keys=True))
    return "c-" + hashlib.sha256("\x1f".join(key).encode()).hexdigest()[:20]


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that decide a result."""
    found = {}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

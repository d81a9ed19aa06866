"""Small campaigns."""

from __future__ import annotations

import pytest
import yaml

SMALL = {
    "campaign": "small",
    "n_samples": 6,
    "seed": 3,
    "chunk_size": 4,
    "screening": {
        "models": ["cgcnn"],
        "known": None,
        "selection": {"n_pool": 3, "n_select": 1, "max_per_chemical_system": None},
    },
    "tune": False,
    "relaxer": {"engine": "chgnet", "steps": 2},
}


@pytest.fixture
def campaign_file(tmp_path):
    """Write a campaign file, the small one with what is given changed."""

    def write(**changes):
        path = tmp_path / "campaign.yaml"
        path.write_text(yaml.safe_dump({**SMALL, **changes}))
        return path

    return write

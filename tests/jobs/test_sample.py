from __future__ import annotations

import pytest

from crystens_flows.errors import CheckpointError
from crystens_flows.generators import generator_sha256
from crystens_flows.jobs import SampleMaker


def test_a_checkpoint_that_is_another_one_is_refused():
    """As where it was replaced between two jobs of a campaign."""
    sha256 = generator_sha256("default")
    document = SampleMaker.make.original(SampleMaker(checkpoint_sha256=sha256), 1)
    assert document.provenance.checkpoint_sha256 == sha256
    with pytest.raises(CheckpointError, match=f"has SHA-256 {sha256}, not the {'0' * 64}"):
        SampleMaker.make.original(SampleMaker(checkpoint_sha256="0" * 64), 1)

"""Jobs that say what they should not."""

from __future__ import annotations

import os

from jobflow import job


@job
def fails_at(*variables):
    """Fail, and say what some variables of the environment hold."""
    raise RuntimeError(f"nothing answers at {' '.join(os.environ[each] for each in variables)}")

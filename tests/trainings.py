"""Trainings that take minutes: `make test-trainings` runs them, `make test` does not."""

import os

import pytest

only_with_trainings = pytest.mark.skipif(
    os.environ.get("CRYSTENS_FLOWS_TRAINING_TESTS") != "1",
    reason="minutes of training: make test-trainings",
)

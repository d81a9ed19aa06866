"""Fixtures and settings for all tests."""

import gc
import os

# `make test` runs two processes, and tests start others: one thread in each of NumPy, PyTorch and,
# by generators/adversarial/library.py, TensorFlow. They read it as they are imported; tests about
# threads set their own number.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings
from pymatgen.symmetry.groups import SpaceGroup

from command_line import crystens
from managers_used import pytest_collection_modifyitems, pytest_sessionfinish
from mongo_fixture import mongo_server, mongo_uri

# How long an example takes says more about the machine than about the code.
settings.register_profile("crystens", deadline=None)
settings.load_profile("crystens")

# pymatgen forgets a space group that nobody holds, and takes a second to make a large one again.
SPACE_GROUPS = [SpaceGroup(symbol) for symbol in ("Fm-3m", "Fd-3m")]


def pytest_collection_finish():
    """Leave what all tests have imported out of the garbage collections of each."""
    gc.collect()
    gc.freeze()


__all__ = [
    "crystens",
    "mongo_server",
    "mongo_uri",
    "pytest_collection_modifyitems",
    "pytest_sessionfinish",
]

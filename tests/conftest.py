"""Fixtures and settings for all tests."""

from hypothesis import settings

from mongo_fixture import mongo_server, mongo_uri

# How long an example takes says more about the machine than about the code.
settings.register_profile("crystens", deadline=None)
settings.load_profile("crystens")

__all__ = ["mongo_server", "mongo_uri"]

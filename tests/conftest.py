"""Fixtures for all tests."""

from mongo_fixture import mongo_server, mongo_uri

__all__ = ["mongo_server", "mongo_uri"]

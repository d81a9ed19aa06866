"""Pages on the candidates of a store, served on this machine."""

from crystens_flows.explore.app import create_app

__all__ = ["create_app"]

"""Makers of flows: several jobs, fanned out in chunks and brought together again."""

from crystens_flows.flows.discovery import DiscoveryFlowMaker

__all__ = ["DiscoveryFlowMaker"]

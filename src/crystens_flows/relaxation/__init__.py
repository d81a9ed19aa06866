"""Energies and pressures of successive relaxations, whatever engine relaxed."""

from crystens_flows.relaxation.results import N_STEPS, summarise_relaxation
from crystens_flows.relaxation.steps import RelaxStep, read_step

__all__ = ["N_STEPS", "RelaxStep", "read_step", "summarise_relaxation"]

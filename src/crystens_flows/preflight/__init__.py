"""What is there and what is missing before anything is run, and how to set it."""

from crystens_flows.preflight.check import Check, CheckStatus, check_package, require
from crystens_flows.preflight.engines import (
    check_calculator,
    check_engine,
    check_gpaw,
    check_packages,
    check_potential,
)
from crystens_flows.preflight.surroundings import (
    check_fireworks,
    check_folder,
    check_jobflow_remote,
    check_managers,
    check_store,
    everything_around,
)
from crystens_flows.preflight.vasp import check_potcars, check_vasp, check_vasp_command

__all__ = [
    "Check",
    "CheckStatus",
    "check_calculator",
    "check_engine",
    "check_fireworks",
    "check_folder",
    "check_gpaw",
    "check_jobflow_remote",
    "check_managers",
    "check_package",
    "check_packages",
    "check_potcars",
    "check_potential",
    "check_store",
    "check_vasp",
    "check_vasp_command",
    "everything_around",
    "require",
]

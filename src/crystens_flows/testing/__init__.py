"""What tests and rehearsals need in place of programs that are not there: a stand-in for VASP."""

from crystens_flows.testing.environment import stand_in_command, stand_in_environment
from crystens_flows.testing.potcars import write_potcars
from crystens_flows.testing.version import ENTROPY, STAND_IN_VERSION

__all__ = [
    "ENTROPY",
    "STAND_IN_VERSION",
    "stand_in_command",
    "stand_in_environment",
    "write_potcars",
]

"""Formation energies from universal interatomic potentials and fitted element references."""

from crystens_flows.screening.potentials.prediction import PotentialPrediction, card, predict
from crystens_flows.screening.potentials.registry import POTENTIALS, available_potentials
from crystens_flows.screening.potentials.relaxation import RelaxedPrediction, relax

__all__ = [
    "POTENTIALS",
    "PotentialPrediction",
    "RelaxedPrediction",
    "available_potentials",
    "card",
    "predict",
    "relax",
]

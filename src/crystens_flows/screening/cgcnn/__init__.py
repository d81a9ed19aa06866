"""Properties of crystals from the original CGCNN weights, for many structures in one pass."""

from crystens_flows.screening.cgcnn.prediction import (
    CGCNNPrediction,
    model_card,
    predict_formation_energies,
    predict_properties,
)
from crystens_flows.screening.cgcnn.weights import PROPERTIES

__all__ = [
    "PROPERTIES",
    "CGCNNPrediction",
    "model_card",
    "predict_formation_energies",
    "predict_properties",
]

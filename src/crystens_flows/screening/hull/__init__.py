"""Convex hulls over a reference set of formation energies."""

from crystens_flows.screening.hull.evaluation import HullResult
from crystens_flows.screening.hull.ranking import HullRank
from crystens_flows.screening.hull.reference import HullReference
from crystens_flows.screening.hull.service import HullService, load_hull
from crystens_flows.screening.hull.shift import HullShift, ShiftedEnergy, fit_shift

__all__ = [
    "HullRank",
    "HullReference",
    "HullResult",
    "HullService",
    "HullShift",
    "ShiftedEnergy",
    "fit_shift",
    "load_hull",
]

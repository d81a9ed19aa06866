"""Makers of one job, or of the few that belong together, one for each stage."""

from crystens_flows.jobs.decode import DecodeMaker
from crystens_flows.jobs.prefilter import (
    CGCNNPrefilterMaker,
    candidates_from_structures,
    provenance_of_structures,
)
from crystens_flows.jobs.relax import QuadrupleRelaxMaker
from crystens_flows.jobs.sample import SampleMaker
from crystens_flows.jobs.select import SelectMaker
from crystens_flows.jobs.train import TrainMaker

__all__ = [
    "CGCNNPrefilterMaker",
    "DecodeMaker",
    "QuadrupleRelaxMaker",
    "SampleMaker",
    "SelectMaker",
    "TrainMaker",
    "candidates_from_structures",
    "provenance_of_structures",
]

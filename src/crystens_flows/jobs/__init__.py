"""Makers of one job, or of the few that belong together, one for each stage."""

from crystens_flows.jobs.decode import DecodeMaker
from crystens_flows.jobs.evaluate import EvaluateMaker
from crystens_flows.jobs.follow import FollowMaker
from crystens_flows.jobs.prefilter import (
    CGCNNPrefilterMaker,
    CHGNetPrefilterMaker,
    HullPrefilterMaker,
    M3GNetPrefilterMaker,
    NoveltyPrefilterMaker,
    PrefilterMaker,
    SevenNetPrefilterMaker,
    ValidityPrefilterMaker,
    prefilter_makers,
)
from crystens_flows.jobs.read import candidates_from_structures, provenance_of_structures
from crystens_flows.jobs.relax import QuadrupleRelaxMaker
from crystens_flows.jobs.relax_batch import BatchRelaxMaker
from crystens_flows.jobs.sample import SampleMaker
from crystens_flows.jobs.select import SelectMaker
from crystens_flows.jobs.train import TrainMaker
from crystens_flows.jobs.tune import TuneMaker

__all__ = [
    "BatchRelaxMaker",
    "CGCNNPrefilterMaker",
    "CHGNetPrefilterMaker",
    "DecodeMaker",
    "EvaluateMaker",
    "FollowMaker",
    "HullPrefilterMaker",
    "M3GNetPrefilterMaker",
    "NoveltyPrefilterMaker",
    "PrefilterMaker",
    "QuadrupleRelaxMaker",
    "SampleMaker",
    "SelectMaker",
    "SevenNetPrefilterMaker",
    "TrainMaker",
    "TuneMaker",
    "ValidityPrefilterMaker",
    "candidates_from_structures",
    "prefilter_makers",
    "provenance_of_structures",
]

"""Documents that pass between jobs and are stored."""

from crystens_flows.candidate_status import CandidateStatus
from crystens_flows.schemas.arrays import ArrayBlob
from crystens_flows.schemas.candidate import CandidateDocument
from crystens_flows.schemas.provenance import Provenance, candidate_id, package_versions
from crystens_flows.schemas.relaxation import (
    BatchRelaxDocument,
    RelaxDocument,
    RelaxStepRecord,
)
from crystens_flows.schemas.stages import (
    DecodedCandidate,
    DecodeDocument,
    DiscoveryDocument,
    FollowDocument,
    SampleDocument,
    ScreenDocument,
    ScreenRecord,
    SelectDocument,
    SelectedCandidate,
    SelectRecord,
    TrainDocument,
    TuneDocument,
    TuneRecord,
)

__all__ = [
    "ArrayBlob",
    "BatchRelaxDocument",
    "CandidateDocument",
    "CandidateStatus",
    "DecodeDocument",
    "DecodedCandidate",
    "DiscoveryDocument",
    "FollowDocument",
    "Provenance",
    "RelaxDocument",
    "RelaxStepRecord",
    "SampleDocument",
    "ScreenDocument",
    "ScreenRecord",
    "SelectDocument",
    "SelectRecord",
    "SelectedCandidate",
    "TrainDocument",
    "TuneDocument",
    "TuneRecord",
    "candidate_id",
    "package_versions",
]

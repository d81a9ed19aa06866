"""How far a candidate has come."""

from enum import StrEnum


class CandidateStatus(StrEnum):
    """How far a candidate has come."""

    DECODED = "decoded"
    SCREENED = "screened"
    SELECTED = "selected"
    RELAXED = "relaxed"
    REJECTED = "rejected"

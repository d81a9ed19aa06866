"""maggma Builders: from the outputs of jobs to candidates."""

from crystens_flows.builders.candidates import BuildSummary, CandidateBuilder

__all__ = ["BuildSummary", "CandidateBuilder"]

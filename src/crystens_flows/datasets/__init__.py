"""Data sets of crystal structures: readers, checks, splits and the crystals that ship."""

from crystens_flows.datasets.dataset import Dataset
from crystens_flows.datasets.records import MAX_SITES, Record, Rejection
from crystens_flows.datasets.shipped import shipped

__all__ = ["MAX_SITES", "Dataset", "Record", "Rejection", "shipped"]

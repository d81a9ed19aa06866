"""Data sets of crystal structures: readers, checks, splits and the crystals that ship."""

from crystens_flows.datasets.build import build_dataset, read_structures
from crystens_flows.datasets.dataset import Dataset
from crystens_flows.datasets.materials_project import MaterialsProject
from crystens_flows.datasets.records import MAX_SITES, Record, Rejection
from crystens_flows.datasets.rows import StructureRow, count_rows, read_rows
from crystens_flows.datasets.shipped import shipped
from crystens_flows.datasets.splits import standard_split

__all__ = [
    "MAX_SITES",
    "Dataset",
    "MaterialsProject",
    "Record",
    "Rejection",
    "StructureRow",
    "build_dataset",
    "count_rows",
    "read_rows",
    "read_structures",
    "shipped",
    "standard_split",
]

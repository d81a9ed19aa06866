"""The formats that candidates are written in."""

from enum import StrEnum


class ExportFormat(StrEnum):
    """Formats of exported candidates: structures, by the names that pymatgen knows, and tables."""

    CIF = "cif"
    POSCAR = "poscar"
    JSON = "json"
    EXTXYZ = "extxyz"
    CSV = "csv"

    @property
    def suffix(self) -> str:
        """Ending of the files."""
        return ".vasp" if self is ExportFormat.POSCAR else f".{self}"

    @property
    def is_one_file(self) -> bool:
        """Whether all candidates are in one file."""
        return self in (ExportFormat.EXTXYZ, ExportFormat.CSV)

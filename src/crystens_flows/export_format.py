"""The formats that structures of candidates are written in."""

from enum import StrEnum


class ExportFormat(StrEnum):
    """Formats of exported structures, by the names that pymatgen knows."""

    CIF = "cif"
    POSCAR = "poscar"
    JSON = "json"

    @property
    def suffix(self) -> str:
        """Ending of the files."""
        return ".vasp" if self is ExportFormat.POSCAR else f".{self}"

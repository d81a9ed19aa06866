"""Folders that commands write."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from crystens_flows.errors import OutputFolderError

if TYPE_CHECKING:
    import numpy as np

TENSORS_FILE = "crystens.npy"
_INSIDE = ".tmp"


class FolderWriter:
    """
    An output folder that appears when all is written, and not at all otherwise.

    A context manager. Files are written into a temporary folder, ``.NAME.tmp`` beside the folder,
    or ``.tmp`` in it if it exists and is empty; what a run that was killed left there is replaced.

    Parameters
    ----------
    folder
        The folder, new or empty, so that nothing is overwritten.

    Raises
    ------
    OutputFolderError
        If it is a file or holds something, or cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        try:
            exists = folder.exists()
            used = exists and (
                not folder.is_dir() or any(file.name != _INSIDE for file in folder.iterdir())
            )
        except OSError as exc:
            raise self._unwritable(folder, exc) from exc
        if used:
            raise OutputFolderError(
                f"{folder} is in use: give another folder with -o, or remove it"
            )
        self.folder = folder
        self.temporary = folder / _INSIDE if exists else folder.with_name(f".{folder.name}.tmp")
        self._parents: list[Path] = []

    def __enter__(self) -> Self:
        self._parents = [path for path in self.folder.parents if not path.exists()]
        try:
            if self.temporary.exists():
                shutil.rmtree(self.temporary)
            self.temporary.mkdir(parents=True)
        except OSError as exc:
            raise self._unwritable(self.folder, exc) from exc
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self._finish()
            return
        shutil.rmtree(self.temporary, ignore_errors=True)
        with suppress(OSError):
            for path in self._parents:
                path.rmdir()
        if isinstance(exc, OSError) and str(exc.filename or self.temporary).startswith(
            str(self.temporary)
        ):
            raise self._unwritable(self.folder, exc) from exc

    def _finish(self) -> None:
        if self.temporary.parent != self.folder:
            self.temporary.rename(self.folder)
            return
        for file in sorted(self.temporary.iterdir()):
            file.rename(self.folder / file.name)
        self.temporary.rmdir()

    @staticmethod
    def _unwritable(folder: Path, exc: OSError) -> OutputFolderError:
        return OutputFolderError(
            f"cannot write to {folder}: {exc.strerror or exc}: give another folder with -o"
        )

    def path(self, name: str) -> Path:
        """Return the path to write a file of the folder to."""
        return self.temporary / name

    def save_tensors(self, n: int, batches: Iterable[np.ndarray], n_descriptors: int = 0) -> None:
        """Write n tensors, given in batches of shape (m, 4 + d, 64, 64), as one numpy file."""
        import numpy as np

        from crystens_flows.representation.layout import N_LAYERS, SIZE

        shape = (n, N_LAYERS + n_descriptors, SIZE, SIZE)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        with self.path(TENSORS_FILE).open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for batch in batches:
                file.write(np.ascontiguousarray(batch, dtype="<f4").data)

    def save_rows(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write records as a CSV file."""
        with self.path(name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["index"])
            writer.writeheader()
            writer.writerows(rows)

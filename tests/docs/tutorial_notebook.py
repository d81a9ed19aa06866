"""Runs docs/tutorial.ipynb; ``python tests/docs/tutorial_notebook.py`` stores its outputs anew."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


def executed(folder: Path) -> nbformat.NotebookNode:
    """Return the notebook with the outputs of a run in a folder."""
    book = nbformat.read(NOTEBOOK, as_version=4)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("CRYSTENS_FLOWS_STORE", "MPLBACKEND"):
        environment.pop(name, None)
    # without the times of the run in the metadata of the cells
    client = NotebookClient(book, timeout=300, kernel_name="python3", record_timing=False)
    client.resources["metadata"] = {"path": str(folder)}
    client.execute(env=environment)
    return book


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        nbformat.write(executed(Path(place)), NOTEBOOK)

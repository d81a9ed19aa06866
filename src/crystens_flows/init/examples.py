"""The files of a cluster that is none, kept in ``stores/``: ``python -m`` this, FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from crystens_flows.init.connection import Connection
from crystens_flows.init.files import Backend, config_files
from crystens_flows.init.surroundings import Partition, Surroundings

CLUSTER = Surroundings(
    activate="source /path/to/venv/bin/activate",
    work_folder=Path("/path/to/scratch/crystens"),
    cores=16,
    host="cluster",
    slurm=True,
    partitions=(
        Partition("cpu", default=True, seconds=24 * 3600, cores=64, nodes=100),
        Partition("gpu", seconds=12 * 3600, cores=32, gpus=True, nodes=4),
    ),
    exports={"ATOMATE2_VASP_CMD": "srun vasp_std"},
)
FOLDERS = {Backend.JF: "jobflow-remote", Backend.FIREWORKS: "fireworks"}


def example_files() -> dict[str, str]:
    """
    Make the files.

    Returns
    -------
    dict
        Their texts by name, below ``stores/``.
    """
    return {
        f"{folder}/{file.name}": file.text
        for backend, folder in FOLDERS.items()
        for file in config_files(backend, Path("/path/to") / folder, CLUSTER, Connection())
    }


if __name__ == "__main__":
    for name, text in example_files().items():
        path = Path(sys.argv[1]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

"""Commands between structures and CrysTens: encode, decode."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystens_flows.cli.options import Config, Format, OutputFormat
from crystens_flows.cli.output import print_records, progress_bar, reasons, say
from crystens_flows.errors import InputError, OutputFolderError

if TYPE_CHECKING:
    import numpy as np

TENSORS_FILE = "crystens.npy"
BATCH = 256
COLUMNS = ["index", "formula", "n_sites", "space_group", "file", "reason"]


class FolderWriter:
    """
    An output folder that is new or empty, so that nothing is overwritten.

    Parameters
    ----------
    folder
        The folder; made if absent.

    Raises
    ------
    OutputFolderError
        If it is a file or holds something.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputFolderError(
                f"{folder} is in use: give another folder with -o, or remove it"
            )
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return the path of a file in the folder, which is made when it is first needed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def save_tensors(self, tensors: np.ndarray) -> None:
        """Write tensors of shape (n, 4, 64, 64) as one numpy file."""
        import numpy as np

        temporary = self.path(f".{TENSORS_FILE}.tmp")
        with temporary.open("wb") as file:
            np.save(file, tensors, allow_pickle=False)
        temporary.replace(self.path(TENSORS_FILE))

    def save_rows(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write records as a CSV file."""
        with self.path(name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["index"])
            writer.writeheader()
            writer.writerows(rows)


def encode(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder of CIFs, CSV file with a cif column, JSON or JSONL file of pymatgen "
            "structures, ASE database, or data set file."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the tensors.")] = Path(
        "crystens-encoded"
    ),
    config: Config = None,
) -> None:
    """Encode structures as CrysTens; what cannot be encoded is listed with its reason."""
    import numpy as np

    from crystens_flows.cli.sources import read_dataset
    from crystens_flows.representation.layout import SHAPE

    writer = FolderWriter(output)
    dataset, rejected = read_dataset(source)
    temporary = writer.path(f".{TENSORS_FILE}.tmp")
    tensors = np.lib.format.open_memmap(
        temporary, mode="w+", dtype=np.float32, shape=(len(dataset), *SHAPE)
    )
    done = 0
    with progress_bar("encoding") as progress:
        for batch in dataset.crystens_batches(batch_size=BATCH):
            tensors[done : done + len(batch)] = batch
            done += len(batch)
            progress(done, len(dataset))
    tensors.flush()
    del tensors
    temporary.replace(writer.path(TENSORS_FILE))
    writer.save_rows(
        "index.csv",
        [
            {"index": i, "material_id": name, "n_sites": int(n), "space_group": int(group)}
            for i, (name, n, group) in enumerate(
                zip(dataset.material_ids, dataset.n_sites, dataset.space_groups, strict=True)
            )
        ],
    )
    writer.save_rows("rejected.csv", [{"entry": r.entry, "reason": r.reason} for r in rejected])
    say(f"encoded {done}, rejected {len(rejected)}: {output / TENSORS_FILE}")
    for line in reasons(Counter(r.kind for r in rejected)):
        say(line)


def decode(
    tensors: Annotated[
        Path, typer.Argument(help="Numpy file (.npy) of normalised CrysTens, (n, 4, 64, 64).")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the CIFs.")] = Path(
        "crystens-decoded"
    ),
    output_format: Format = OutputFormat.TABLE,
    config: Config = None,
) -> None:
    """Decode CrysTens to crystal structures, a CIF each."""
    writer = FolderWriter(output)
    decode_to(writer, load_tensors(tensors), output_format)


def load_tensors(path: Path) -> np.ndarray:
    """
    Open a numpy file of CrysTens without reading it all.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    numpy.ndarray
        Memory-mapped, shape (n, 4, 64, 64).

    Raises
    ------
    InputError
        If there is no such file or it holds something else.
    """
    import numpy as np

    from crystens_flows.representation.layout import SHAPE

    if not path.is_file():
        raise InputError(f"there is no file {path}: give a .npy file of CrysTens")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as exc:
        raise InputError(
            f"{path} is no numpy file, or damaged: give a .npy file of CrysTens as "
            "'crystens sample' and 'crystens encode' write it"
        ) from exc
    if not isinstance(array, np.ndarray) or array.shape[1:] != SHAPE or array.ndim != 4:
        shape = getattr(array, "shape", "several arrays")
        raise InputError(
            f"{path} holds {shape}: CrysTens have the shape (n, {', '.join(map(str, SHAPE))})"
        )
    if len(array) == 0:
        raise InputError(f"{path} holds no tensor: give at least one")
    return array


def decode_to(
    writer: FolderWriter, tensors: np.ndarray, output_format: OutputFormat, start: int = 0
) -> None:
    """
    Decode tensors, write a CIF each and an index, and print the records.

    Parameters
    ----------
    writer
        Where files go.
    tensors
        Normalised, shape (n, 4, 64, 64).
    output_format
        How the records are printed.
    start
        Index of the first.

    Raises
    ------
    InputError
        If no tensor could be decoded.
    """
    rows = []
    with progress_bar("decoding") as progress:
        for row in _decoded_rows(writer, tensors, start):
            rows.append(row)
            progress(len(rows), len(tensors))
    writer.save_rows("index.csv", rows)
    print_records(rows, COLUMNS, output_format)
    failed = Counter(row["reason"] for row in rows if row["reason"])
    made = len(rows) - failed.total()
    say(f"decoded {made} of {len(rows)}, rejected {failed.total()}: {writer.folder}")
    for line in reasons(failed):
        say(line)
    if made == 0:
        raise InputError(
            f"no tensor could be decoded (first reason: {rows[0]['reason']}): "
            "are they normalised CrysTens?"
        )


def _decoded_rows(
    writer: FolderWriter, tensors: np.ndarray, start: int
) -> Iterator[dict[str, Any]]:
    import numpy as np

    from crystens_flows.representation import decode as decode_tensors

    width = len(str(start + len(tensors) - 1))
    for first in range(0, len(tensors), BATCH):
        batch = np.asarray(tensors[first : first + BATCH])
        for offset, decoded in enumerate(decode_tensors(batch)):
            index = start + first + offset
            row: dict[str, Any] = dict.fromkeys(COLUMNS)
            row.update(index=index, reason=decoded.reason, space_group=decoded.space_group)
            if decoded.structure is not None:
                formula = decoded.structure.composition.reduced_formula
                name = f"{index:0{width}d}-{formula}.cif"
                decoded.structure.to(str(writer.path(name)), fmt="cif")
                row.update(formula=formula, n_sites=len(decoded.structure), file=name)
            yield row

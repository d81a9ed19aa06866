"""Commands between structures and CrysTens: encode, decode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystens_flows.cli.folders import TENSORS_FILE, FolderWriter
from crystens_flows.cli.options import Config, Format, OutputFormat
from crystens_flows.cli.output import print_records, progress_bar, reasons, say
from crystens_flows.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from crystens_flows.datasets import Dataset

BATCH = 256
COLUMNS = ["index", "formula", "n_sites", "space_group", "file", "reason"]


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
    descriptors: Annotated[
        str,
        typer.Option(
            help="Chemical descriptors to add a layer of each, e.g. group,electronegativity; an "
            "unknown name is answered with those there are.",
            show_default=False,
        ),
    ] = "",
    config: Config = None,
) -> None:
    """Encode structures as CrysTens; what cannot be encoded is listed with its reason."""
    from crystens_flows.cli.sources import read_dataset
    from crystens_flows.representation.descriptors import check_descriptors

    names = check_descriptors([name.strip() for name in descriptors.split(",") if name.strip()])
    with FolderWriter(output) as writer:
        dataset, rejected = read_dataset(source)
        with progress_bar("encoding") as progress:
            writer.save_tensors(len(dataset), _encoded(dataset, names, progress), len(names))
        groups = zip(dataset.material_ids, dataset.n_sites, dataset.space_groups, strict=True)
        writer.save_rows(
            "index.csv",
            [
                {"index": i, "material_id": name, "n_sites": int(n), "space_group": int(group)}
                for i, (name, n, group) in enumerate(groups)
            ],
        )
        writer.save_rows("rejected.csv", [{"entry": r.entry, "reason": r.reason} for r in rejected])
    say(f"encoded {len(dataset)}, rejected {len(rejected)}: {output / TENSORS_FILE}")
    if names:
        say(f"layers after the fourth: {', '.join(names)}")
    for line in reasons(Counter(r.kind for r in rejected)):
        say(line)


def _encoded(
    dataset: Dataset, names: tuple[str, ...], progress: Callable[[int, int], None]
) -> Iterator[np.ndarray]:
    done = 0
    for batch in dataset.crystens_batches(batch_size=BATCH, descriptors=names):
        yield batch
        done += len(batch)
        progress(done, len(dataset))


def decode(
    tensors: Annotated[
        Path,
        typer.Argument(
            help="Numpy file (.npy) of normalised CrysTens, (n, 4, 64, 64) or with further layers."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the CIFs.")] = Path(
        "crystens-decoded"
    ),
    output_format: Format = OutputFormat.TABLE,
    config: Config = None,
) -> None:
    """Decode CrysTens to crystal structures, a CIF each."""
    with FolderWriter(output) as writer:
        rows = decode_to(writer, load_tensors(tensors), str(tensors))
    print_decoded(rows, output, output_format)


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
        Memory-mapped, shape (n, 4, 64, 64), or with further layers.

    Raises
    ------
    InputError
        If there is no such file or it holds something else.
    """
    import numpy as np

    from crystens_flows.representation.layout import SHAPE, holds_crystens

    if not path.is_file():
        raise InputError(f"there is no file {path}: give a .npy file of CrysTens")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as exc:
        raise InputError(
            f"{path} is no numpy file, or damaged: give a .npy file of CrysTens as "
            "'crystens sample' and 'crystens encode' write it"
        ) from exc
    if not isinstance(array, np.ndarray):
        raise InputError(
            f"{path} is an archive of arrays (.npz): give a .npy file of CrysTens; structures of a "
            "data set file become one with 'crystens encode'"
        )
    if not holds_crystens(array.shape):
        raise InputError(
            f"{path} holds {array.shape}: CrysTens have the shape (n, {', '.join(map(str, SHAPE))})"
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{path} holds {array.dtype}: CrysTens are of a float type")
    if len(array) == 0:
        raise InputError(f"{path} holds no tensor: give at least one")
    return array


def decode_to(
    writer: FolderWriter, tensors: np.ndarray, source: str, start: int = 0
) -> list[dict[str, Any]]:
    """
    Decode tensors and write a CIF each and an index.

    Parameters
    ----------
    writer
        Where files go.
    tensors
        Normalised, shape (n, 4, 64, 64), or with further layers.
    source
        Where they are from, for the error.
    start
        Index of the first.

    Returns
    -------
    list of dict
        A record each.

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
    if all(row["reason"] for row in rows):
        raise InputError(
            f"{source}: no tensor could be decoded (first reason: {rows[0]['reason']}): "
            "are they normalised CrysTens?"
        )
    writer.save_rows("index.csv", rows)
    return rows


def print_decoded(rows: list[dict[str, Any]], folder: Path, output_format: OutputFormat) -> None:
    """
    Print the records of :func:`decode_to` and a summary.

    Parameters
    ----------
    rows
        The records.
    folder
        Where the files are.
    output_format
        How the records are printed.
    """
    print_records(rows, COLUMNS, output_format)
    failed = Counter(row["reason"] for row in rows if row["reason"])
    made = len(rows) - failed.total()
    say(f"decoded {made} of {len(rows)}, rejected {failed.total()}: {folder}")
    for line in reasons(failed):
        say(line)


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

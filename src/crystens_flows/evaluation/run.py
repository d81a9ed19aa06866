"""An evaluation in one folder: what is named is opened, measured, and written down."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from crystens_flows.datasets import Dataset, build_dataset, shipped
from crystens_flows.errors import InputError
from crystens_flows.evaluation.collected import Progress
from crystens_flows.evaluation.evaluation import Evaluation, EvaluationOptions, evaluate
from crystens_flows.evaluation.figures import write_figures
from crystens_flows.evaluation.page import render_page, table_rows
from crystens_flows.evaluation.reference import reference_of
from crystens_flows.evaluation.samples import SampleSource, from_files, from_generator
from crystens_flows.generators import load_generator

SHIPPED = "shipped"
"""Name of the crystals that ship, as reference."""

BASELINE = "substitution"
"""The shipped generator that every other is held against: it needs no network."""

EVALUATION_FILE, TABLE_FILE, PAGE_FILE = "evaluation.json", "table.csv", "evaluation.html"
FIGURES_FOLDER = "figures"


def evaluate_into(
    folder: Path,
    generators: Sequence[str],
    structures: Mapping[str, str],
    reference: str,
    options: EvaluationOptions,
    *,
    processes: int = 1,
    progress: Progress | None = None,
) -> Evaluation:
    """
    Evaluate generators and structures of others, and write table, figures and page.

    Parameters
    ----------
    folder
        An existing folder.
    generators
        Names of shipped generators and folders of checkpoints; the baseline is added to them,
        unless the options say not to.
    structures
        Sources of structures, as :func:`crystens_flows.datasets.read_rows` reads them, by the
        name that their column gets.
    reference
        ``"shipped"``, a data set file (``.npz``) or structures to build one from.
    options
        What to measure.
    processes
        How many processes compute fingerprints.
    progress
        Called with what is being done.

    Returns
    -------
    Evaluation
        What was measured.

    Raises
    ------
    InputError
        If nothing is to be evaluated, or two have the same name.
    CheckpointError
        If a generator cannot be loaded.
    DatasetError
        If the reference or structures cannot be read.
    """
    if not generators and not structures:
        raise InputError("nothing to evaluate: give a generator, or structures")
    if generators and options.baseline and BASELINE not in generators:
        generators = [*generators, BASELINE]
    sources: list[SampleSource] = [
        from_generator(load_generator(each), Path(each).name, options.n_samples, options.seed)
        for each in generators
    ]
    sources += [from_files(path, name, options.n_samples) for name, path in structures.items()]
    real = reference_of(_dataset(reference), reference, options.n_samples, options.seed, processes)
    evaluation = evaluate(sources, real, options, progress)
    _write(evaluation, folder)
    return evaluation


def _dataset(reference: str) -> Dataset:
    if reference == SHIPPED:
        return shipped()
    return Dataset.load(reference) if reference.endswith(".npz") else build_dataset(reference)[0]


def _write(evaluation: Evaluation, folder: Path) -> None:
    rows = table_rows(evaluation)
    with (folder / TABLE_FILE).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / FIGURES_FOLDER).mkdir()
    figures = write_figures(evaluation, folder / FIGURES_FOLDER)
    (folder / PAGE_FILE).write_text(render_page(evaluation, figures))
    (folder / EVALUATION_FILE).write_text(evaluation.model_dump_json(indent=1) + "\n")

"""The real crystals that ship with the package."""

from __future__ import annotations

from importlib.resources import as_file, files

from crystens_flows.datasets.dataset import Dataset


def shipped() -> Dataset:
    """
    Load the crystals of the Materials Project that ship with the package.

    They come from MP-20 (binary and ternary compounds) and MPTS-52, without repeated material
    ids, under CC BY 4.0; ``datasets/data/ATTRIBUTION.txt`` names the sources.

    Returns
    -------
    Dataset
        With the splits ``"train"``, ``"validation"``, ``"holdout_a"`` (10 %, by formula) and
        ``"holdout_b"`` (5 % of the rest, by material id).

    Examples
    --------
    >>> from crystens_flows.datasets import shipped
    >>> dataset = shipped()
    >>> dataset.structure(0).composition.reduced_formula
    'TmMgHg2'
    """
    with as_file(files("crystens_flows.datasets") / "data" / "mp.npz") as path:
        return Dataset.load(path)

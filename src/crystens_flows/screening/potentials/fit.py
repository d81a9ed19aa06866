"""
Fit the element references of a potential to the shipped crystals.

Run as ``python -m crystens_flows.screening.potentials.fit chgnet``; it replaces the file that is in
the package.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystens_flows.datasets import Dataset, shipped
from crystens_flows.errors import DatasetError
from crystens_flows.screening.element_references import (
    fit_median_references,
    has_oxygen_or_fluorine,
)
from crystens_flows.screening.potentials.energies import total_energies
from crystens_flows.screening.potentials.references import FOLDER, PotentialReferences
from crystens_flows.screening.potentials.registry import POTENTIALS, Potential, load_potential

MIN_CRYSTALS = 5
"""An element that fewer crystals hold gets no reference: it would fit these and say nothing."""

WANTED_CRYSTALS = 20
"""Of each element so many crystals are taken where there are so many."""

N_HELD_OUT = 500

TARGET = (
    "formation energies of the shipped data set: of the Materials Project releases that MP-20 and "
    "MPTS-52 were made from"
)


def fit_potential(
    dataset: Dataset, potential: str = "chgnet", n: int = 2000, seed: int = 0
) -> PotentialReferences:
    """
    Fit the element references of a potential, and judge them on other crystals.

    Parameters
    ----------
    dataset
        With the splits ``"train"``, which is fitted to, and ``"validation"``, 500 rows of which
        are held out to judge.
    potential
        The name of the potential.
    n
        How many crystals to fit to.
    seed
        Of the choice of the crystals.

    Returns
    -------
    PotentialReferences
        To the least absolute deviations. Elements in fewer than five crystals are left out.

    Raises
    ------
    DatasetError
        If a split is missing.
    InputError
        If there is no such potential.
    """
    for split in ("train", "validation"):
        if split not in dataset.split:
            raise DatasetError(f"the data set has no split '{split}': make it with one")
    model = load_potential(potential)
    rows = choose_rows(dataset, n, seed, model.shifted)
    energies = _energies(dataset, rows, model)
    rows, energies = rows[np.isfinite(energies)], energies[np.isfinite(energies)]
    rare = [z for z, count in _crystals(dataset, rows).items() if count < MIN_CRYSTALS]
    common = ~np.isin(dataset.numbers[rows], rare).any(axis=1)
    rows, energies = rows[common], energies[common]
    known = dataset.formation_energy_per_atom.astype(float)
    references = fit_median_references(
        dataset.numbers[rows], energies - known[rows], shifted=model.shifted
    )

    others = dataset.split["validation"]
    held_out = np.sort(np.random.default_rng(seed).permutation(others)[:N_HELD_OUT])
    errors = np.abs(
        _energies(dataset, held_out, model)
        - references.per_atom(dataset.numbers[held_out])
        - known[held_out]
    )
    errors = errors[np.isfinite(errors)]
    return PotentialReferences(
        references,
        {
            "potential": potential,
            **model.card(),
            "target": TARGET,
            "split": "train",
            "n": len(rows),
            "seed": seed,
            "held_out": {
                "split": "validation",
                "n": len(errors),
                "mean_absolute_error": round(float(errors.mean()), 4),
                "median_absolute_error": round(float(np.median(errors)), 4),
            },
            "left_out": [_symbol(z) for z in sorted(rare)],
            "crystals": {
                _symbol(z): count for z, count in sorted(_crystals(dataset, rows).items())
            },
        },
    )


def choose_rows(
    dataset: Dataset, n: int, seed: int, shifted: tuple[int, ...] = ()
) -> NDArray[np.int64]:
    """
    Draw rows of the training split among which all elements occur as far as possible.

    The rarest element first, rows that hold it are drawn until there are 20 of them or all there
    are; an element to be shifted counts a second time, beside oxygen or fluorine. The rest is drawn
    at random from what is left.

    Parameters
    ----------
    dataset
        With the split ``"train"``.
    n
        How many rows; elements take precedence, so that it is exceeded where `n` is small.
    seed
        Of the draw.
    shifted
        Atomic numbers of the elements to be shifted.

    Returns
    -------
    numpy.ndarray
        The rows, sorted.
    """
    train = dataset.split["train"]
    train = train[np.isfinite(dataset.formation_energy_per_atom[train])]
    order = np.random.default_rng(seed).permutation(train)
    numbers = dataset.numbers[order]
    beside = has_oxygen_or_fluorine(numbers)
    kinds = [(numbers == z).any(axis=1) for z in np.unique(numbers) if z]
    kinds += [(numbers == z).any(axis=1) & beside for z in shifted]
    taken = np.zeros(len(order), dtype=bool)
    for kind in sorted(kinds, key=lambda kind: int(kind.sum())):
        missing = max(0, WANTED_CRYSTALS - int((kind & taken).sum()))
        taken[np.flatnonzero(kind & ~taken)[:missing]] = True
    rest = max(0, n - int(taken.sum()))
    taken[np.flatnonzero(~taken)[:rest]] = True
    return np.sort(order[taken])


def _energies(dataset: Dataset, rows: NDArray[np.int64], model: Potential) -> NDArray[np.float64]:
    """Return total energies in eV/atom, NaN where there is none."""
    found = total_energies(list(dataset.structures(rows)), model)
    return np.array([np.nan if energy is None else energy for energy, _ in found])


def _crystals(dataset: Dataset, rows: NDArray[np.int64]) -> dict[int, int]:
    """Count the crystals that hold each element."""
    numbers = dataset.numbers[rows]
    return {int(z): int((numbers == z).any(axis=1).sum()) for z in np.unique(numbers) if z}


def _symbol(z: int) -> str:
    from pymatgen.core import Element

    return str(Element.from_Z(z).symbol)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("potential", choices=POTENTIALS)
    parser.add_argument("-n", type=int, default=2000, help="crystals to fit to")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of crystals")
    parser.add_argument("-o", "--output", type=Path, help="the file to write")
    options = parser.parse_args(arguments)
    found = fit_potential(shipped(), options.potential, options.n, options.seed)
    path = found.save(options.output or Path(str(FOLDER)) / f"{options.potential}.json")
    held_out: dict[str, Any] = found.origin["held_out"]
    print(f"{path}: {found.origin['n']} crystals, held out {held_out}")  # noqa: T201


if __name__ == "__main__":
    main()

"""
The hull of a potential's own energies, for energies above the hull by one method on both sides.

Run as ``python -m crystens_flows.evaluation.hull -o FILE`` to make the one that ships.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from crystens_flows.datasets import shipped
from crystens_flows.screening.hull import HullReference
from crystens_flows.screening.potentials import predict

FILE = "chgnet-hull.csv.gz"
"""Crystals that lie on the hull; those above it change nothing."""

ON_HULL = 1e-6
"""Up to this far above, in eV/atom, a crystal lies on the hull."""

CHUNK = 500


@lru_cache(maxsize=1)
def chgnet_hull() -> HullReference:
    """
    Return the hull of CHGNet's formation energies of the crystals that ship.

    Returns
    -------
    HullReference
        The elements are at zero where no crystal of theirs lies lower.
    """
    with as_file(files("crystens_flows.evaluation").joinpath("data", FILE)) as path:
        return HullReference.from_csv(path)


def make_chgnet_hull() -> list[tuple[str, float, str]]:
    """
    Predict the energies of all crystals that ship, as they are, and find those on the hull.

    Returns
    -------
    list of tuple
        Formula, formation energy in eV/atom and material id, in the order of the data set.
    """
    dataset = shipped()
    rows: list[tuple[str, float, str]] = []
    for start in range(0, len(dataset), CHUNK):
        places = range(start, min(start + CHUNK, len(dataset)))
        predictions = predict(list(dataset.structures(places)), "chgnet")
        for place, prediction in zip(places, predictions, strict=True):
            if (energy := prediction.formation_energy_per_atom) is not None:
                formula = dataset.reduced_formulas[place]
                rows.append((formula, round(energy, 6), dataset.material_ids[place]))
    return on_hull(rows)


def on_hull(rows: list[tuple[str, float, str]]) -> list[tuple[str, float, str]]:
    """
    Leave out what lies above the hull.

    Parameters
    ----------
    rows
        Formula, formation energy in eV/atom and id.

    Returns
    -------
    list of tuple
        Those that make up the hull.
    """
    hull = HullReference.from_rows(
        "crystals", ((name, name, formula, energy) for formula, energy, name in rows)
    )
    found = hull.evaluate([row[0] for row in rows], np.array([row[1] for row in rows]))
    return [
        row
        for row, result in zip(rows, found, strict=True)
        if result.energy_above_hull is not None and result.energy_above_hull <= ON_HULL
    ]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("-o", "--output", required=True, type=Path, help="the file to write")
    output: Path = parser.parse_args().output
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["formula", "formation_energy_per_atom", "material_id"])
    writer.writerows(make_chgnet_hull())
    output.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


if __name__ == "__main__":
    main()

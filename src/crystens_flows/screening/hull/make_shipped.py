"""
Fit the shift that ships with the package.

Run as ``python -m crystens_flows.screening.hull.make_shipped -o shift.json``. The reference that
ships is the table of formation energies as published, compressed with ``gzip -9n``.
"""

from __future__ import annotations

import argparse

import numpy as np

from crystens_flows.datasets import shipped
from crystens_flows.screening.hull.reference import HullReference
from crystens_flows.screening.hull.shift import HullShift, fit_shift


def make_shift() -> HullShift:
    """Fit to the crystals that ship, without those held out."""
    dataset = shipped()
    rows = np.concatenate([dataset.split["train"], dataset.split["validation"]])
    return fit_shift(dataset.subset(rows), HullReference.shipped())


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("-o", "--output", required=True, help="the file to write")
    shift = make_shift()
    print(f"{shift.save(parser.parse_args().output)}: {shift.verdict}")  # noqa: T201


if __name__ == "__main__":
    main()

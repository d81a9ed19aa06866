"""What a data set holds, in numbers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from crystens_flows.datasets.records import PROPERTIES

if TYPE_CHECKING:
    from crystens_flows.datasets.dataset import Dataset


def summarize(dataset: Dataset) -> dict[str, Any]:
    """Count what a data set holds; see :meth:`Dataset.summary`."""
    from pymatgen.core import Element

    by_element: Counter[int] = Counter()
    by_n_elements: Counter[int] = Counter()
    for row, n in zip(dataset.numbers, dataset.n_sites, strict=True):
        present = set(row[:n].tolist())
        by_element.update(present)
        by_n_elements[len(present)] += 1
    return {
        "n_structures": len(dataset),
        "n_materials": len(set(dataset.material_ids)),
        "n_formulas": len(set(dataset.reduced_formulas)),
        "n_elements": len(by_element),
        "n_space_groups": len(np.unique(dataset.space_groups)),
        "n_sites": {
            "min": int(dataset.n_sites.min()),
            "median": float(np.median(dataset.n_sites)),
            "max": int(dataset.n_sites.max()),
        },
        "known": {name: int(np.isfinite(getattr(dataset, name)).sum()) for name in PROPERTIES},
        "splits": {name: len(rows) for name, rows in dataset.split.items()},
        "by_number_of_elements": dict(sorted(by_n_elements.items())),
        "by_element": {str(Element.from_Z(z)): by_element[z] for z in sorted(by_element)},
    }

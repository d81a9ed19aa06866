"""Splits that never put the same material, or the same formula, on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from crystens_flows.errors import InputError

if TYPE_CHECKING:
    from crystens_flows.datasets.dataset import Dataset


def assign(
    groups: Sequence[str], fractions: Mapping[str, float], seed: int = 0
) -> dict[str, NDArray[np.int64]]:
    """
    Hand out rows to splits, whole groups at a time.

    The groups are ordered by the SHA-256 of ``"{seed}/{group}"``, so the order depends on
    nothing but the seed and the groups' names. The first split takes groups until it holds its
    share of the rows, then the next; the last takes what is left.

    Parameters
    ----------
    groups
        The name of each row's group.
    fractions
        The share of each split by its name, summing to one.
    seed
        Another seed gives another order.

    Returns
    -------
    dict
        The rows of each split, sorted, by its name.

    Raises
    ------
    InputError
        If a fraction is negative or they do not sum to one.
    """
    if not fractions or min(fractions.values()) < 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise InputError(f"the fractions of the splits must sum to one, got {dict(fractions)}")
    rows_of: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows_of.setdefault(group, []).append(row)
    order = sorted(rows_of, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    names = list(fractions)
    chosen: dict[str, list[int]] = {name: [] for name in names}
    ends = np.rint(np.cumsum([fractions[name] for name in names]) * len(groups))
    done, current = 0, 0
    for group in order:
        while current < len(names) - 1 and done >= ends[current]:
            current += 1
        chosen[names[current]] += rows_of[group]
        done += len(rows_of[group])
    return {name: np.array(sorted(rows), dtype=np.int64) for name, rows in chosen.items()}


def group_rows(
    dataset: Dataset, by: Literal["material", "material_id", "formula"] = "material"
) -> list[str]:
    """
    Name the group of each row: rows of one group must stay in one split.

    Parameters
    ----------
    dataset
        The data set.
    by
        ``"material"``: rows of the same id, or of the same reduced formula and space group;
        ``"material_id"``: rows of the same id; ``"formula"``: rows of the same reduced formula
        or the same id.

    Returns
    -------
    list[str]
        The smallest material id or key that the group holds.

    Raises
    ------
    InputError
        If ``by`` is unknown.
    """
    if by == "material_id":
        return list(dataset.material_ids)
    if by == "formula":
        keys = dataset.reduced_formulas
    elif by == "material":
        keys = [
            f"{formula}/{number}"
            for formula, number in zip(
                dataset.reduced_formulas, dataset.space_groups.tolist(), strict=True
            )
        ]
    else:
        raise InputError(f"by={by!r}: choose 'material', 'material_id' or 'formula'")
    return _join(keys, dataset.material_ids)


def _join(keys: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Name each row by the smallest key it is connected to through equal keys and equal ids."""
    parent: dict[str, str] = {key: key for key in keys}

    def root(key: str) -> str:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    first_key: dict[str, str] = {}
    for key, material_id in zip(keys, ids, strict=True):
        one, other = sorted((root(key), root(first_key.setdefault(material_id, key))))
        parent[other] = one
    return [root(key) for key in keys]


def standard_split(dataset: Dataset, seed: int = 0) -> dict[str, NDArray[np.int64]]:
    """
    Make the fixed list of splits that every model of this package uses.

    Parameters
    ----------
    dataset
        A data set without repeated materials.
    seed
        The shipped list has seed 0.

    Returns
    -------
    dict
        ``"holdout_a"``: 10 % of all rows, by reduced formula, none of which stands elsewhere;
        ``"holdout_b"``: 5 % of the rest, by material id; ``"validation"``: 5 % of the remainder,
        by material id; ``"train"``: what is left.
    """
    ids = dataset.material_ids
    everything = assign(group_rows(dataset, "formula"), {"holdout_a": 0.1, "rest": 0.9}, seed)
    rest = everything["rest"]
    holdout_b = assign([ids[i] for i in rest], {"holdout_b": 0.05, "rest": 0.95}, seed)
    remainder = rest[holdout_b["rest"]]
    last = assign([ids[i] for i in remainder], {"validation": 0.05, "train": 0.95}, seed)
    return {
        "train": remainder[last["train"]],
        "validation": remainder[last["validation"]],
        "holdout_a": everything["holdout_a"],
        "holdout_b": rest[holdout_b["holdout_b"]],
    }

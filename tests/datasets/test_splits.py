from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystens_flows.datasets import Dataset, Record, standard_split
from crystens_flows.datasets.splits import assign, group_rows
from crystens_flows.errors import InputError

GROUPS = st.lists(st.text("abcdefgh", min_size=1, max_size=2), min_size=1, max_size=60)


def make(rows: list[tuple[str, list[int], int]]) -> Dataset:
    """Make a data set of (material id, atomic numbers, space group)."""
    return Dataset.from_records(
        [
            Record(
                material_id,
                np.array(numbers, dtype=np.uint8),
                np.zeros((len(numbers), 3), dtype=np.float32),
                np.array([4, 4, 4, 90, 90, 90], dtype=np.float32),
                space_group,
            )
            for material_id, numbers, space_group in rows
        ]
    )


@given(GROUPS, st.integers(0, 3), st.floats(0, 1))
@settings(deadline=None)
def test_every_row_once_and_no_group_twice(groups, seed, share):
    split = assign(groups, {"a": share, "b": 1 - share}, seed)
    rows = np.concatenate([split["a"], split["b"]])
    assert sorted(rows) == list(range(len(groups)))
    assert not {groups[i] for i in split["a"]} & {groups[i] for i in split["b"]}
    largest = max(groups.count(group) for group in groups)
    assert share * len(groups) - 1 <= len(split["a"]) <= share * len(groups) + largest


@given(GROUPS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_the_rows_does_not_matter(groups, random):
    order = list(range(len(groups)))
    random.shuffle(order)
    fractions = {"a": 0.3, "b": 0.3, "c": 0.4}
    split = assign(groups, fractions)
    shuffled = assign([groups[i] for i in order], fractions)
    for name, rows in split.items():
        assert sorted(order[i] for i in shuffled[name]) == rows.tolist()


def test_another_seed_is_another_choice():
    groups = [str(i) for i in range(200)]
    fractions = {"a": 0.5, "b": 0.5}
    assert assign(groups, fractions)["a"].tolist() == assign(groups, fractions, 0)["a"].tolist()
    assert assign(groups, fractions)["a"].tolist() != assign(groups, fractions, 1)["a"].tolist()


@pytest.mark.parametrize("fractions", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}])
def test_fractions_that_make_no_split(fractions):
    with pytest.raises(InputError, match="sum to one"):
        assign(["x"], fractions)


def test_what_stays_together():
    dataset = make(
        [
            ("m1", [11, 17], 225),
            ("m2", [11, 17], 225),  # the same crystal under another id
            ("m3", [11, 11, 17, 17], 221),  # the same formula
            ("m3", [26], 229),  # the same id
            ("m4", [26], 225),
            ("m5", [29], 225),
        ]
    )

    def partition(by):
        names = group_rows(dataset, by)
        return {tuple(i for i, n in enumerate(names) if n == name) for name in names}

    assert partition("material_id") == {(0,), (1,), (2, 3), (4,), (5,)}
    assert partition("material") == {(0, 1), (2, 3), (4,), (5,)}
    assert partition("formula") == {(0, 1, 2, 3, 4), (5,)}
    with pytest.raises(InputError, match="by='colour'"):
        group_rows(dataset, "colour")


@given(
    st.lists(
        st.tuples(st.sampled_from(list("uvwxyz")), st.sampled_from([11, 26, 29]), st.just(1)),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=50, deadline=None)
def test_groups_are_connected_components(rows):
    names = group_rows(make([(i, [z], group) for i, z, group in rows]), "formula")
    n = len(rows)
    linked = np.array([[a[0] == b[0] or a[1] == b[1] for b in rows] for a in rows])
    reach = np.linalg.matrix_power(linked.astype(float), n) > 0
    for i in range(n):
        for j in range(n):
            assert (names[i] == names[j]) == reach[i, j]


def test_with_split_shares_the_arrays():
    dataset = make([(f"m{i}", [z], 1) for i, z in enumerate(range(1, 101))])
    split = dataset.with_split({"train": 0.9, "test": 0.1}, by="formula", seed=3)
    assert {name: len(rows) for name, rows in split.split.items()} == {"train": 90, "test": 10}
    assert split.numbers is dataset.numbers
    assert dataset.split == {}


def test_standard_split_of_any_data_set():
    dataset = make([(f"m{i}", [1 + i % 90, 1 + i // 90], 1) for i in range(1800)])
    split = standard_split(dataset)
    assert list(split) == ["train", "validation", "holdout_a", "holdout_b"]
    assert sorted(np.concatenate(list(split.values()))) == list(range(1800))
    formulas = np.array(dataset.reduced_formulas)
    others = np.concatenate([split[name] for name in ("train", "validation", "holdout_b")])
    assert not set(formulas[split["holdout_a"]]) & set(formulas[others])

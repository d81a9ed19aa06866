from __future__ import annotations

import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import Dataset, Record, shipped
from crystens_flows.datasets.records import PROPERTIES
from crystens_flows.errors import DatasetError
from crystens_flows.representation import Normalization, encode

ARRAYS = (
    "numbers",
    "frac_coords",
    "lattice",
    "n_sites",
    "space_groups",
    *PROPERTIES,
)


@st.composite
def datasets(draw):
    """Arrays of any content: what is stored need not be a crystal."""
    n_rows = draw(st.integers(1, 4))
    records = []
    for _ in range(n_rows):
        n = draw(st.integers(1, 52))
        records.append(
            Record(
                material_id=draw(st.text("abc-1 é", max_size=6)),
                numbers=draw(hnp.arrays(np.uint8, n, elements=st.integers(1, 118))),
                frac_coords=draw(
                    hnp.arrays(np.float32, (n, 3), elements=st.floats(0, 1, width=32))
                ),
                lattice=draw(hnp.arrays(np.float32, 6, elements=st.floats(1, 179, width=32))),
                space_group=draw(st.integers(1, 230)),
                band_gap=draw(st.floats(0, 10) | st.just(float("nan"))),
            )
        )
    dataset = Dataset.from_records(records)
    if draw(st.booleans()):
        dataset = dataset.with_split({"a": 0.5, "b b": 0.5}, by="material_id")
    return dataset


def assert_equal(one: Dataset, other: Dataset) -> None:
    assert one.material_ids == other.material_ids
    for name in ARRAYS:
        assert getattr(one, name).dtype == getattr(other, name).dtype
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert list(one.split) == list(other.split)
    for name in one.split:
        np.testing.assert_array_equal(one.split[name], other.split[name])


@given(datasets())
@settings(max_examples=40, deadline=None)
def test_save_and_load(tmp_path_factory, dataset):
    path = dataset.save(tmp_path_factory.mktemp("saved") / "a.npz")
    assert_equal(Dataset.load(path), dataset)


def test_same_data_set_same_bytes_and_no_leftovers(tmp_path):
    dataset = shipped().subset(range(5))
    one = dataset.save(tmp_path / "below" / "one.npz")
    other = dataset.save(str(tmp_path / "below" / "two.npz"))
    other = Dataset.load(one).save(other)
    assert one.read_bytes() == other.read_bytes()
    assert sorted(path.name for path in one.parent.iterdir()) == ["one.npz", "two.npz"]


def test_failed_save_leaves_the_old_file(tmp_path):
    dataset = shipped().subset(range(5))
    path = dataset.save(tmp_path / "a.npz")
    before = path.read_bytes()
    dataset.material_ids[0] = "two\nlines"
    with pytest.raises(DatasetError, match="line break"):
        dataset.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return shipped().subset(range(20)).save(tmp_path_factory.mktemp("saved") / "a.npz")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path, saved, share):
    whole = saved.read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DatasetError, match=r"a\.npz.*crystens train.*; or structures: a folder"):
        Dataset.load(tmp_path / "a.npz")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_file_is_an_error_or_harmless(tmp_path_factory, saved, data):
    raw = bytearray(saved.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.npz"
    path.write_bytes(raw)
    try:
        dataset = Dataset.load(path)
    except DatasetError:
        return
    # a byte that nothing reads, such as the date of an entry
    assert_equal(dataset, Dataset.load(saved))


def test_files_of_another_kind(tmp_path):
    (tmp_path / "a.npz").write_text("material_id,cif\n")
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    np.savez(tmp_path / "c.npz", format=np.array([{"a": 1}], dtype=object))
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    np.save(tmp_path / "e.npy", np.zeros(3))
    for name in ("a.npz", "b.npz", "c.npz", "d.npz", "e.npy", "missing.npz"):
        with pytest.raises(DatasetError, match=name):
            Dataset.load(tmp_path / name)


def test_no_records():
    with pytest.raises(DatasetError, match="empty"):
        Dataset.from_records([])
    with pytest.raises(DatasetError, match="empty"):
        shipped().subset([])


def test_structure_of_a_row():
    lattice = Lattice.from_parameters(3, 4, 5, 80, 95, 101)
    record = Record(
        "x",
        np.array([8, 26, 8], dtype=np.uint8),
        np.array([[0, 0, 0], [0.25, 0.5, 0.75], [0.1, 0.2, 0.3]], dtype=np.float32),
        np.array(lattice.parameters, dtype=np.float32),
        1,
    )
    structure = Dataset.from_records([record]).structure(0)
    assert structure.species == Structure(lattice, ["O", "Fe", "O"], [[0] * 3] * 3).species
    np.testing.assert_allclose(structure.lattice.parameters, lattice.parameters, rtol=1e-6)
    np.testing.assert_array_equal(structure.frac_coords, record.frac_coords)


def test_batches_are_what_encode_gives():
    dataset = shipped()
    rows = np.array([5, 18000, 3, 17000, 44])
    expected = encode(list(dataset.structures(rows)))
    batches = list(dataset.crystens_batches(rows, batch_size=2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    np.testing.assert_allclose(np.concatenate(batches), expected, atol=1e-6)


def test_batches_with_another_normalization():
    dataset = shipped().subset(range(12))
    normalization = Normalization.fit(list(dataset.structures()))
    expected = encode(list(dataset.structures()), normalization=normalization)
    found = np.concatenate(list(dataset.crystens_batches(normalization=normalization)))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not np.allclose(found, np.concatenate(list(dataset.crystens_batches())))


def test_summary_against_plain_counting():
    dataset = shipped().subset(range(0, 18711, 60)).with_split({"train": 0.8, "test": 0.2})
    structures = list(dataset.structures())
    summary = dataset.summary()
    assert summary["n_structures"] == len(structures)
    formulas = {structure.composition.reduced_formula for structure in structures}
    assert set(dataset.reduced_formulas) == formulas
    assert summary["n_formulas"] == len(formulas)
    elements = [str(element) for structure in structures for element in structure.composition]
    assert summary["by_element"] == {name: elements.count(name) for name in set(elements)}
    assert summary["n_elements"] == len(set(elements))
    sizes = [len(structure) for structure in structures]
    assert summary["n_sites"] == {
        "min": min(sizes),
        "median": float(np.median(sizes)),
        "max": max(sizes),
    }
    assert sum(summary["by_number_of_elements"].values()) == len(structures)
    assert sum(summary["splits"].values()) == len(structures)

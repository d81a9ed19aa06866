from __future__ import annotations

import io
import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
from cif_examples import BAD_CIFS, GOOD_CIFS, NACL

from crystens_flows.datasets import Dataset, build, build_dataset, read_structures, shipped
from crystens_flows.errors import DatasetError, InputError


@pytest.fixture
def long_csv(tmp_path):
    """100 rows, good and bad in turns, so that several chunks go to the workers."""
    good, bad = list(GOOD_CIFS.values()), [text for text, _ in BAD_CIFS.values()]
    cifs = [bad[i % len(bad)] if i % 3 == 0 else good[i % len(good)] for i in range(100)]
    path = tmp_path / "long.csv.gz"
    pd.DataFrame({"material_id": [f"m-{i}" for i in range(100)], "cif": cifs}).to_csv(path)
    return path


def test_workers_give_the_same_in_the_same_order(long_csv):
    alone = read_structures(long_csv, workers=1, progress=False)
    together = read_structures(long_csv, workers=2, progress=False)
    assert len(alone[0]) + len(alone[1]) == 100
    assert alone[1] == together[1]
    assert [r.material_id for r in alone[0]] == [f"m-{i}" for i in range(100) if i % 3]
    for one, other in zip(alone[0], together[0], strict=True):
        assert (one.material_id, one.space_group) == (other.material_id, other.space_group)
        np.testing.assert_array_equal(one.frac_coords, other.frac_coords)


def test_damage_found_while_workers_run(long_csv):
    long_csv.write_bytes(long_csv.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"long\.csv\.gz cannot be read"):
        read_structures(long_csv, workers=2, progress=False)


def test_worker_that_is_killed(long_csv, monkeypatch):
    monkeypatch.setattr(build, "parse_entry", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DatasetError, match=r"killed.*fewer workers"):
        read_structures(long_csv, workers=2, progress=False)


def test_progress_bar_on_a_terminal_alone(long_csv, capsys, monkeypatch):
    read_structures(long_csv, workers=1)
    assert capsys.readouterr() == ("", "")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    read_structures(long_csv, workers=1)
    assert "100/100" in terminal.getvalue()
    shown = len(terminal.getvalue())
    read_structures(long_csv, workers=1, progress=False)
    assert len(terminal.getvalue()) == shown
    assert capsys.readouterr().out == ""


def test_workers_must_be_positive(long_csv):
    with pytest.raises(InputError, match="workers=0"):
        read_structures(long_csv, workers=0)


def test_build_with_splits(cif_folder):
    dataset, rejected = build_dataset(
        cif_folder, {"train": 0.5, "test": 0.5}, by="formula", progress=False
    )
    assert (len(dataset), len(rejected)) == (len(GOOD_CIFS), len(BAD_CIFS))
    assert sorted(np.concatenate(list(dataset.split.values()))) == [0, 1, 2]


def test_nothing_accepted(tmp_path):
    pd.DataFrame({"cif": [BAD_CIFS["disordered"][0]] * 2 + ["?"]}).to_csv(tmp_path / "a.csv")
    counts = r"empty.*all 3 .*disordered \(2\), unreadable \(1\)"
    with pytest.raises(DatasetError, match=counts) as caught:
        build_dataset(tmp_path / "a.csv", progress=False)
    assert f"{tmp_path / 'a.csv'} row 1: disordered: a site is shared" in str(caught.value)
    assert "give ordered structures of 1 to 52 sites" in str(caught.value)


def test_no_entries(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(DatasetError, match="it holds no entry"):
        build_dataset(tmp_path / "a.json", progress=False)


def test_every_format_gives_the_same_data_set(tmp_path):
    chosen = shipped().subset(range(0, 18711, 900))
    structures = list(chosen.structures())
    (tmp_path / "cifs").mkdir()
    for i, structure in enumerate(structures):
        structure.to(filename=str(tmp_path / "cifs" / f"{i:02d}.cif"))
    cifs = [(tmp_path / "cifs" / f"{i:02d}.cif").read_text() for i in range(len(chosen))]
    pd.DataFrame({"cif": cifs}).to_csv(tmp_path / "a.csv")
    dicts = [structure.as_dict() for structure in structures]
    (tmp_path / "a.json").write_text(json.dumps(dicts))
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, dicts)))
    for name in ("cifs", "a.csv", "a.json", "a.jsonl"):
        dataset, rejected = build_dataset(tmp_path / name, progress=False, workers=1)
        assert rejected == []
        np.testing.assert_array_equal(dataset.space_groups, chosen.space_groups)
        np.testing.assert_array_equal(dataset.numbers, chosen.numbers)
        np.testing.assert_allclose(dataset.lattice, chosen.lattice, rtol=1e-6)
        difference = dataset.frac_coords - chosen.frac_coords
        assert np.abs(difference - np.round(difference)).max() < 2e-4


def test_one_row_makes_a_data_set(tmp_path):
    pd.DataFrame({"cif": [NACL]}).to_csv(tmp_path / "a.csv")
    dataset, _ = build_dataset(tmp_path / "a.csv", progress=False)
    assert isinstance(dataset, Dataset)
    assert dataset.reduced_formulas == ["NaCl"]

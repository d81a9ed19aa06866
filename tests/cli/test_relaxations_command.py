"""crystens candidates relaxations: the paper's figure 13 from a store."""

from __future__ import annotations

import csv
import json

import pytest

from crystens_flows.stores import open_stores
from stage_jobs import campaign_jobs, run_jobs


@pytest.fixture
def store(crystens, tmp_path):
    """Return a store with two campaigns."""
    stores = open_stores(tmp_path / "store")
    run_jobs(campaign_jobs(), stores.job_store)
    run_jobs(campaign_jobs("second"), stores.job_store)
    stores.close()
    assert crystens("build", "--store", "store").code == 0
    return "store"


def test_as_table_csv_and_json(crystens, store):
    command = ("candidates", "relaxations", "--store", store)
    table = crystens(*command)
    assert table.code == 0, table.err
    header, *lines = table.out.splitlines()
    assert header.split()[:7] == ["candidate_id", "formula", "n_sites", "E0", "E4", "P1", "P4"]
    assert len(lines) == 6
    assert "6 candidates have relaxations" in table.err
    assert "eV a cell" in table.err
    assert "stand-in" not in table.err
    records = json.loads(crystens(*command, "--campaign", "second", "--format", "json").out)
    assert [record["campaign"] for record in records] == ["second"] * 3
    assert [record["rank"] for record in records] == [1, 2, 3]
    rows = list(csv.DictReader(crystens(*command, "--format", "csv").out.splitlines()))
    assert [row["candidate_id"] for row in rows] == [line.split()[0] for line in lines]
    second = [row for row in rows if row["campaign"] == "second"]
    assert [float(row["E0"]) for row in second] == [record["E0"] for record in records]
    assert rows[2]["reason"].startswith("step 3: forces exploded")


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_the_plot(crystens, store, tmp_path, kind):
    result = crystens("candidates", "relaxations", "--store", store, "--plot", f"13.{kind}")
    assert result.code == 0, result.err
    assert f"figure: 13.{kind}\n" in result.err
    assert (tmp_path / f"13.{kind}").stat().st_size > 5000


def test_what_is_wrong_is_said_in_one_line(crystens, store, tmp_path):
    command = ("candidates", "relaxations", "--store", store)
    for arguments, code, words in (
        (("--plot", "13.gif"), 2, "--plot: 13.gif: a plot ends in .svg, .png, .pdf"),
        (("--plot", "absent/13.svg"), 1, "cannot write absent/13.svg"),
        (("--campaign", "third", "--plot", "13.svg"), 1, "there is nothing to plot"),
    ):
        result = crystens(*command, *arguments)
        assert result.code == code
        assert words in result.err
        assert result.err.count("\n") == 1
        assert not result.out
    assert not list(tmp_path.glob("*13*"))
    nothing = crystens(*command, "--campaign", "third")
    assert nothing.code == 0
    assert "0 candidates have relaxations" in nothing.err

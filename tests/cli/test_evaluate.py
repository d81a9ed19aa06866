"""crystens evaluate."""

import json

from crystens_flows.cli.grouped import print_grouped
from crystens_flows.datasets import shipped
from crystens_flows.evaluation.metrics import METRICS

QUICK = ("-n", "2", "--relax", "0", "--formulas", "0")


def test_structures_of_others(crystens, tmp_path):
    for i in range(3):
        shipped().structure(i).to(tmp_path / f"{i}.cif")
    result = crystens(
        "evaluate", "--structures", "theirs=.", *QUICK, "-o", "out", "--format", "json"
    )
    assert result.code == 0, result.err
    rows = json.loads(result.out)
    assert {row["metric"]: row["theirs"] for row in rows}["decoded"] == "100.0%"
    assert set(rows[0]) == {"group", "metric", "theirs", "real crystals"}
    assert (tmp_path / "out" / "evaluation.html").is_file()
    *stages, page = result.err.splitlines()
    assert "theirs: coverage" in stages
    assert "evaluation.html" in page


def test_what_cannot_be_evaluated_leaves_nothing(crystens, tmp_path):
    result = crystens("evaluate", "--structures", "nowhere", *QUICK, "-o", "out")
    assert result.code == 1
    assert "nowhere" in result.err
    result = crystens("evaluate", "--generator", "nobody", *QUICK, "-o", "out")
    assert result.code == 1
    assert "nobody" in result.err
    result = crystens("evaluate", "--structures", "a=x", "--structures", "a=y", "-o", "out")
    assert result.code == 2
    assert "two sources are called 'a'" in result.err
    assert not (tmp_path / "out").exists()


def test_the_table_of_five_is_readable_in_a_terminal(capsys, monkeypatch):
    names = ["default", "small-gan", "small-wgan", "small-imagen", "real crystals"]
    rows = [
        {"group": metric.group, "metric": metric.label, **dict.fromkeys(names, "-1.2e+06")}
        for metric in METRICS.values()
    ]
    for columns in ("40", "100"):
        monkeypatch.setenv("COLUMNS", columns)
        print_grouped(rows, names)
        heading, *lines = capsys.readouterr().out.splitlines()
        assert all(name in heading for name in names)
        assert max(map(len, lines)) <= 100
        for row in rows:
            assert any(
                line.startswith(row["metric"] + " ") and line.count("-1.2e+06") == 5
                for line in lines
            )
        assert {row["group"] for row in rows} <= {line.strip() for line in lines}


def test_long_names_go_over_several_lines(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    names = ["a-folder-of-checkpoints-with-a-long-name", "another-folder-with-a-long-name"]
    print_grouped([{"group": "g", "metric": "m" * 28, **dict.fromkeys(names, "99.9%")}], names)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("m" * 28) and line.count("99.9%") == 2 for line in lines)

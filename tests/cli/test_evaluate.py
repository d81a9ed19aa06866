"""crystens evaluate."""

import json

from crystens_flows.datasets import shipped

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
    assert "evaluation.html" in result.err


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

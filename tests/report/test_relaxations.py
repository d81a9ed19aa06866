"""Records of what relaxations found and changed, and their plot."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore
from PIL import Image
from relaxation_documents import halite, relaxation

from crystens_flows.builders import CandidateBuilder
from crystens_flows.candidates import CandidateStore
from crystens_flows.errors import InputError, OutputFolderError
from crystens_flows.report import render_report
from crystens_flows.report.figure13 import inline_svg, save_figure
from crystens_flows.report.relaxations import (
    STAND_IN,
    candidate_records,
    relaxation_record,
)
from stage_jobs import campaign_jobs, run_jobs, selected_of, tuned_of


def test_a_record_says_what_was_found_and_changed():
    before = halite(shift=0.01)
    document = relaxation(before=before)
    record = relaxation_record(document, before)
    energies = [record[f"E{k}"] for k in range(5)]
    assert energies == [-26.0, -26.8, -26.9, -26.92, -26.92]
    assert [record[f"P{k}"] for k in range(1, 5)] == pytest.approx([12.0, -3.0, 0.5, 0.1])
    changes = [record[f"dE{k}"] for k in range(1, 5)]
    assert changes == pytest.approx([(b - a) / 8 for a, b in pairwise(energies)])
    assert record["formula"] == "NaCl"
    assert record["volume_before"] == pytest.approx(5.6**3)
    assert record["volume_after"] == pytest.approx(5.68**3)
    assert record["volume_change"] == pytest.approx(100 * ((5.68 / 5.6) ** 3 - 1))
    # pymatgen finds the same groups
    assert record["space_group_before"] == before.get_space_group_info(symprec=0.01)[1]
    assert record["space_group_after"] == 225
    assert record["space_group"] == f"{record['space_group_before']} -> 225"
    assert record["converged"] == "3 of 4"
    assert (record["reason"], record["stand_in"], record["engine"]) == (None, False, "VASP 6.4.2")
    # one site of eight moved, and the drift of all together does not count
    moves = np.zeros((8, 3))
    moves[0, 0] = 0.01 * (5.6 + 5.68) / 2
    moves -= moves.mean(axis=0)
    assert record["rmsd"] == pytest.approx(np.sqrt((moves**2).sum(axis=1).mean()), rel=1e-3)
    json.dumps(record, allow_nan=False)


def test_what_is_not_known_is_none():
    document = relaxation(energies=(-26.0, -26.8), pressures=(12.0,))
    record = relaxation_record(document)
    assert (record["E1"], record["E2"], record["P4"]) == (-26.8, None, None)
    assert (record["dE1"], record["dE2"]) == (pytest.approx(-0.1), None)
    assert record["rmsd"] is None
    assert record["converged"] == "0 of 4"
    assert record["reason"] == "relaxation failed: step 2 of 4"
    before = halite(shift=0.01)
    nothing = relaxation_record(relaxation(before=before, pressures=()), before)
    assert nothing["formula"] == "NaCl"
    assert nothing["volume_change"] is None
    assert nothing["space_group"] == f"{before.get_space_group_info(symprec=0.01)[1]} -> ?"


def test_a_stand_in_is_marked():
    record = relaxation_record(relaxation(stand_in=True, engine="VASP 0.0.0-standin"))
    assert record["stand_in"] is True
    assert record["engine"] == "VASP 0.0.0-standin (stand-in, no DFT)"


@pytest.fixture(scope="module")
def store():
    """The candidates of two campaigns, as the builder makes them from jobs that ran."""
    job_store = JobStore(MemoryStore("jobs"), additional_stores={"data": MemoryStore("data")})
    candidates = CandidateStore(MemoryStore("candidates"))
    job_store.connect()
    candidates.connect()
    run_jobs(campaign_jobs(), job_store)
    run_jobs(campaign_jobs("second"), job_store)
    CandidateBuilder(job_store, candidates).run_incrementally()
    return candidates


def test_records_of_a_store_by_rank(store):
    records = candidate_records(store, campaign="default")
    assert [record["rank"] for record in records] == [1, 2, 3]
    assert {record["campaign"] for record in records} == {"default"}
    assert [record["completed_steps"] for record in records] == [4, 4, 2]
    assert records[2]["reason"] == "step 3: forces exploded"
    everything = candidate_records(store)
    assert len(everything) == 6
    assert [record["campaign"] for record in everything] == ["default"] * 3 + ["second"] * 3
    first = candidate_records(store, campaign="default", criteria={"selection.rank": {"$lte": 1}})
    assert first == records[:1]


def test_what_was_relaxed_is_the_tuned_structure(store):
    """The stand-in jobs relax what was tuned and move nothing: nothing moves from there."""
    records = candidate_records(store, campaign="default")
    for index, record in zip(selected_of(40), records, strict=True):
        assert record["formula"] == tuned_of(index).composition.reduced_formula
        assert record["rmsd"] == pytest.approx(0, abs=1e-9)


def records_of(n: int, *, stand_in: bool = False) -> list[dict]:
    documents = [
        relaxation(f"c-{k:020x}", energies=tuple(-26 - 0.3 * k - 0.1 * i for i in range(5)))
        for k in range(n)
    ]
    records = [relaxation_record(document, halite(shift=0.01)) for document in documents]
    return [{**record, "stand_in": stand_in} for record in records]


def texts(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.fromstring(svg).iter("text")]


@pytest.mark.parametrize("n", [1, 40])
def test_the_figure_has_a_row_for_each_candidate(n):
    shown = texts(inline_svg(records_of(n)))
    assert sum(text.startswith("NaCl") for text in shown) == n
    assert "E0, before" in shown
    assert "P4, after the fourth" in shown
    assert "free energy (eV/atom)" in shown
    assert "external pressure (kbar)" in shown
    # 0.4 eV in a cell of eight
    assert shown.count("\N{MINUS SIGN}50.0") == n
    assert not any("stand-in" in text for text in shown)


def test_the_figure_stands_alone_and_is_the_same_each_time():
    svg = inline_svg(records_of(3))
    assert svg.startswith("<svg")
    assert "http" not in svg
    assert "href" not in svg.replace('href="#', "")
    assert svg == inline_svg(records_of(3))


def test_a_stand_in_is_marked_in_the_figure():
    assert any(STAND_IN in text for text in texts(inline_svg(records_of(2, stand_in=True))))
    mixed = texts(inline_svg([*records_of(2), *records_of(1, stand_in=True)]))
    assert sum(text.endswith("(stand-in)") for text in mixed) == 1
    assert f"those marked (stand-in) were {STAND_IN}" in mixed


def test_what_failed_has_an_open_end():
    failed = relaxation_record(relaxation(energies=(-26.0, -26.8), pressures=(500.0,)))
    shown = texts(inline_svg([failed]))
    assert "\N{EN DASH}" in shown
    assert "100" in shown  # the pressures are on a logarithmic axis
    with pytest.raises(InputError, match="nothing to plot"):
        inline_svg([relaxation_record(relaxation(pressures=()))])
    with pytest.raises(InputError, match="nothing to plot"):
        inline_svg([])


def test_the_files(tmp_path):
    for kind, start in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
        path = tmp_path / f"figure.{kind}"
        save_figure(records_of(2), path)
        assert path.read_bytes().startswith(start)
    with Image.open(tmp_path / "figure.png") as image:
        width, height = image.size
        assert width > 1000
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    # both colours of Okabe and Ito are in it
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(pixels.astype(int) - colour).max(axis=1) < 8).sum() > 50
    save_figure(records_of(12), tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.size[1] > 1.5 * height
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"figure.{k}" for k in ("pdf", "png", "svg")
    ]
    with pytest.raises(InputError, match=r"figure\.gif: a plot ends in"):
        save_figure(records_of(1), tmp_path / "figure.gif")
    with pytest.raises(OutputFolderError, match="cannot write"):
        save_figure(records_of(1), tmp_path / "absent" / "figure.svg")


def test_the_page_shows_table_and_figure():
    records = records_of(2, stand_in=True)
    failed = relaxation_record(relaxation("c-failed", pressures=()), formula="<b>")
    page = render_report({}, {**SUMMARY, "relaxations": [*records, failed]})
    assert page.count("<svg") == 1
    assert STAND_IN in page
    assert "<td>c-failed</td>" in page
    assert "relaxation failed: step 1 of 4" in page
    assert "<b>" not in page
    assert not re.findall(r"\b(?:src|href)=\W?(?![#\"])\w+:", page)
    plain = render_report({}, {**SUMMARY, "relaxations": [failed]})
    assert "<svg" not in plain
    assert STAND_IN not in plain
    assert "<svg" not in render_report({}, SUMMARY)


SUMMARY = {
    "campaign": "default",
    "n_samples": 2,
    "funnel": {"relaxed": 2},
    "rejected": {},
    "failed_jobs": {},
    "best": [],
    "store": "store",
}

"""The page in a browser: nothing is loaded, structures are drawn and turned, text is enough."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Structure
from report_run import OPTIONS, candidates, summary

from browsing import SIZES, browser, drawn, fits, opened, pixels, serious_faults
from crystens_flows.report import render_report
from crystens_flows.report.samples import compare

__all__ = ["browser"]

NO_WEBGL = "HTMLCanvasElement.prototype.getContext = () => null"


@pytest.fixture(scope="module")
def documents():
    return candidates()


@pytest.fixture(scope="module")
def address(documents, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    decoded = [document.structure.as_dict() for document in documents]
    page = render_report(OPTIONS, summary(documents), documents, compare(decoded))
    path.write_text(page, encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_structures_are_drawn_and_nothing_is_loaded(browser, address, documents, size, scheme):
    page, said, asked = opened(browser, address, size, color_scheme=scheme)
    viewers = drawn(page)
    assert len(viewers) == len(documents)
    for viewer in viewers:
        canvas = viewer.query_selector("canvas")
        assert canvas.get_attribute("aria-label").endswith("drawn in three dimensions")
        assert len(np.unique(pixels(viewer.query_selector(".stage")), axis=0)) > 200
    assert fits(page, size)
    assert serious_faults(page) == []
    assert said == []
    assert asked == [address]
    page.close()


def test_a_structure_is_turned_by_keys_and_buttons(browser, address):
    page, said, _ = opened(browser, address)
    stage = drawn(page)[0].query_selector(".stage")
    pictures = [pixels(stage)]
    stage.focus()
    for press in ("ArrowRight", "ArrowUp", "+"):
        page.keyboard.press(press)
        page.wait_for_timeout(200)
        pictures.append(pixels(stage))
    page.click("#viewer-0 button[data-view=c]")
    page.wait_for_timeout(200)
    pictures.append(pixels(stage))
    for before, after in pairwise(pictures):
        assert (before != after).any(axis=1).mean() > 0.005
    assert said == []
    page.close()


def test_a_structure_is_saved_as_cif(browser, address, documents):
    page, _, _ = opened(browser, address)
    with page.expect_download() as download:
        page.click("a.download >> nth=0")
    assert download.value.suggested_filename.startswith("TiO2-c-")
    structure = Structure.from_str(Path(download.value.path()).read_text(), fmt="cif")
    assert structure.composition == documents[0].relaxed_structure.composition
    page.close()


@pytest.mark.parametrize(
    "without", [{"java_script_enabled": False}, {"script": NO_WEBGL}], ids=["JavaScript", "WebGL"]
)
def test_text_is_enough(browser, address, documents, without):
    page, said, asked = opened(browser, address, **without)
    assert not any(viewer.is_visible() for viewer in page.query_selector_all(".viewer"))
    text = page.inner_text("main")
    for document in documents:
        assert document.candidate_id in text
        assert f"{document.energy_above_hull:.3f}".replace("-", "\N{MINUS SIGN}") in text
    assert "where the browser has JavaScript and WebGL" in text
    assert said == []
    assert asked == [address]
    page.close()

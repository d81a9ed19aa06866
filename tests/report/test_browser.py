"""The page in a browser: nothing is loaded, structures are drawn and turned, text is enough."""

from __future__ import annotations

import io
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pymatgen.core import Structure
from report_run import OPTIONS, candidates, summary

from crystens_flows.report import render_report
from crystens_flows.report.samples import compare

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WEBGL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
NO_WEBGL = "HTMLCanvasElement.prototype.getContext = () => null"
SIZES = {"laptop": (1280, 900), "phone": (375, 812)}

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed: make test-browser installs it"
)


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


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=WEBGL)
        yield found
        found.close()


def opened(browser, address, size="laptop", script=None, **options):
    """Open the page; return it, what it said and what it asked for."""
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, **options)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda request: asked.append(request.url))
    if script is not None:
        page.add_init_script(script)
    page.goto(address)
    return page, said, asked


def drawn(page):
    """Scroll to each viewer in turn and return them when all are drawn."""
    for viewer in page.query_selector_all(".viewer"):
        viewer.scroll_into_view_if_needed()
        page.wait_for_selector(f"#{viewer.get_attribute('id')}[data-drawn]")
    page.wait_for_timeout(300)
    return page.query_selector_all(".viewer")


def pixels(element):
    with Image.open(io.BytesIO(element.screenshot())) as image:
        return np.asarray(image.convert("RGB")).reshape(-1, 3)


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
    # the page itself does not scroll sideways
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
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

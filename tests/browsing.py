"""Chromium for tests of pages, and what they look at in it."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WEBGL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SIZES = {"laptop": (1280, 900), "phone": (375, 812)}
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; drawing without a graphics card takes minutes, so not in `make test`."""
    if os.environ.get("CRYSTENS_FLOWS_BROWSER_TESTS") != "1" or CHROMIUM is None:
        pytest.skip("in Chromium: make test-browser")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=WEBGL)
        yield found
        found.close()


def opened(browser, address, size="laptop", script=None, **options):
    """Open a page; return it, what it said and what it asked for."""
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


def until(page, holds, seconds: float = 20) -> None:
    """Wait for what holds soon; a page that lets no script be made of text is not asked itself."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        page.wait_for_timeout(100)


def pixels(element):
    """Return the colours of what an element shows, shape (pixels, 3)."""
    with Image.open(io.BytesIO(element.screenshot())) as image:
        return np.asarray(image.convert("RGB")).reshape(-1, 3)


def serious_faults(page) -> list[str]:
    """Return what axe finds that keeps people out: its serious and critical violations."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    return [
        f"{each['id']}: {node['html']}"
        for each in axe.run(page).response["violations"]
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


def fits(page, size: str) -> bool:
    """Say whether a page does not scroll sideways."""
    return page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]

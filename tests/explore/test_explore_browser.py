"""The explorer in a browser: 5,000 candidates searched, sorted, compared and saved."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from explored import HOSTILE, filled
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from browsing import SIZES, browser, drawn, fits, opened, pixels, serious_faults, until
from crystens_flows.campaign.status import CampaignStatus, StageStatus
from crystens_flows.explore import create_app
from crystens_flows.explore.index import FIELDS, CandidateIndex

__all__ = ["browser"]

NUMBER = 5000
CRYSTAL = f"c-{2:020x}"
OTHER = f"c-{1:020x}"
ROWS = "#results tbody tr"


@pytest.fixture(scope="module")
def stores(browser, tmp_path_factory):
    return filled(tmp_path_factory.mktemp("explored"), NUMBER)


@pytest.fixture(scope="module")
def finished():
    """Jobs that a campaign has finished, to be changed."""
    return [1]


@pytest.fixture(scope="module")
def address(stores, finished):
    waitress = pytest.importorskip("waitress.server")
    index = CandidateIndex(stores.candidates)
    index.refresh()

    def status():
        return CampaignStatus(
            campaign="mine",
            backend="local",
            n_samples=8,
            n_parts=1,
            stages=[StageStatus(stage="sample", finished=finished[0])],
            failures=[],
        )

    app = create_app(stores, index, campaign=status, hosts=["127.0.0.1"])
    server = waitress.create_server(app, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()
    index.close()


def names(page):
    return [each.inner_text() for each in page.query_selector_all(f"{ROWS} th a")]


def column(page, number):
    cells = page.query_selector_all(f"{ROWS} td:nth-child({number})")
    return [float(each.inner_text().replace("\N{MINUS SIGN}", "-")) for each in cells]


def settled(page, words):
    until(page, lambda: words in page.inner_text("#count"))
    page.wait_for_selector("#results:not([aria-busy])")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_whole_and_open_to_all(browser, address, size, scheme):
    every = "&".join(f"column={name}" for name in FIELDS)
    for path, marked in (
        ("/", "table.candidates"),
        (f"/?{every}&max_energy_above_hull=low", "p.wrong"),
        (f"/candidates/{CRYSTAL}", ".viewer"),
        (f"/compare?id={CRYSTAL}&id={OTHER}", "tr.differs"),
        ("/hull", ".links a"),
        ("/hull?system=Li-O", "svg.hull"),
        ("/hull?system=Fe-Li-O", "svg.hull"),
        ("/progress", "#live table"),
    ):
        page, said, asked = opened(browser, address + path, size, color_scheme=scheme)
        page.wait_for_selector(marked, state="attached")
        for viewer in drawn(page):
            assert len(np.unique(pixels(viewer.query_selector(".stage")), axis=0)) > 200
        assert serious_faults(page) == [], path
        assert fits(page, size), path
        assert said == [], path
        assert all(each.startswith((f"{address}/", "data:")) for each in asked), path
        page.close()


def test_searches_slides_sorts_and_turns_pages(browser, address, stores):
    page, said, _ = opened(browser, address)
    settled(page, f"{NUMBER} candidates")
    page.fill("#f-elements", "Li, O")
    page.press("#f-elements", "Enter")
    wanted = {"elements": ["Li", "O"]}
    settled(page, f"{stores.candidates.count(**wanted)} candidates found")
    # the slider of the highest energy above hull, by its keys
    slider = page.get_by_label("above hull, predicted (eV/atom), highest")
    slider.focus()
    for _ in range(6):
        page.keyboard.press("PageDown")
    highest = float(page.input_value("#f-max_energy_above_hull"))
    wanted["energy_above_hull"] = (None, highest)
    settled(page, f"{stores.candidates.count(**wanted)} candidates found")
    for descending in (False, True):
        page.click("#results th a:has-text('above hull, predicted')")
        order = "descending" if descending else "ascending"
        page.wait_for_selector(f"th[aria-sort={order}]")
        expected = list(
            stores.candidates.query(
                sort="energy_above_hull", descending=descending, limit=50, **wanted
            )
        )
        assert column(page, 7) == [round(doc["energy_above_hull"], 3) for doc in expected]
    page.click("nav[aria-label='Pages of the table, above'] a[rel=next]")
    until(page, lambda: "page 2 of" in page.inner_text(".pages >> nth=0"))
    following = stores.candidates.query(
        sort="energy_above_hull", descending=True, skip=50, limit=50, **wanted
    )
    assert column(page, 7) == [round(doc["energy_above_hull"], 3) for doc in following]
    # the address says it all: it can be kept, and is the same page again
    again, _, _ = opened(browser, page.url)
    assert names(again) == names(page)
    assert again.input_value("#f-max_energy_above_hull") == f"{highest:.3f}"
    assert said == []


def test_a_wrong_filter_is_told_where_it_is(browser, address):
    page, said, _ = opened(browser, address)
    page.fill("#f-formula", "Xx")
    page.press("#f-formula", "Enter")
    page.wait_for_selector("#f-formula[aria-invalid]")
    assert "cannot be read" in page.inner_text("#wrong-formula")
    assert page.get_attribute("#f-formula", "aria-describedby") == "wrong-formula"
    page.fill("#f-formula", "TiSrO3")
    page.press("#f-formula", "Enter")
    page.wait_for_selector("#f-formula:not([aria-invalid])")
    assert page.query_selector("#wrong-formula") is None
    assert said == []


def test_a_crystal_is_opened_turned_and_saved(browser, address, stores):
    page, said, _ = opened(browser, f"{address}/?formula=SrTiO3")
    page.click(f"{ROWS} th a")
    page.wait_for_url(f"**/candidates/{CRYSTAL}")
    stage = drawn(page)[0].query_selector(".stage")
    before = pixels(stage)
    stage.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert (before != pixels(stage)).any(axis=1).mean() > 0.005
    with page.expect_download() as download:
        page.click(".links a:has-text('CIF')")
    structure = Structure.from_str(Path(download.value.path()).read_text(), fmt="cif")
    stored = stores.candidates.get(CRYSTAL).relaxed_structure
    assert StructureMatcher(scale=False).get_rms_dist(structure, stored) == pytest.approx(
        (0, 0), abs=1e-5
    )
    assert said == []


def test_candidates_chosen_on_two_pages_are_compared_and_saved(browser, address):
    page, said, _ = opened(browser, f"{address}/?formula=SrTiO3")
    page.check(f"{ROWS} input[value='{CRYSTAL}']")
    page.fill("#f-formula", "TiO2")
    page.press("#f-formula", "Enter")
    page.wait_for_selector(f"{ROWS} input[value='{OTHER}']")
    page.check(f"{ROWS} input[value='{OTHER}']")
    assert page.inner_text("#n-chosen") == "2 chosen:"
    with page.expect_download() as download:
        page.click("#chosen button:has-text('download')")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert sorted(archive.namelist()) == sorted(f"{each}.cif" for each in (CRYSTAL, OTHER))
    page.click("#chosen button:has-text('compare two')")
    page.wait_for_url("**/compare?*")
    assert "do not match" in page.inner_text("main")
    assert len(drawn(page)) == 2
    assert said == []


def test_a_candidate_in_a_hull_leads_to_its_page(browser, address):
    page, said, _ = opened(browser, f"{address}/hull?system=Li-O")
    link = page.query_selector("svg.hull a")
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/candidates/c-*")
    assert said == []


def test_progress_is_brought_up_to_date(browser, address, finished):
    page, said, _ = opened(browser, f"{address}/progress")
    assert page.inner_text("#live td >> nth=2") == "1"
    finished[0] = 7
    until(page, lambda: page.inner_text("#live td >> nth=2") == "7")
    assert said == []


def test_texts_that_mean_harm_are_shown_as_text(browser, address):
    every = "&".join(f"column={name}" for name in FIELDS)
    page, said, _ = opened(browser, f"{address}/?{every}&sort=index&descending=1")
    assert HOSTILE in page.inner_text(ROWS)
    before = page.title()
    page.click(f"{ROWS} >> nth=0 >> th a")
    page.wait_for_url("**/candidates/*")
    assert HOSTILE in page.inner_text("main")
    page.wait_for_timeout(300)
    assert page.title() not in ("1", before)
    assert page.query_selector_all("main img") == []
    assert said == []


def test_without_javascript_forms_and_links_are_enough(browser, address):
    page, said, _ = opened(browser, address, java_script_enabled=False)
    page.fill("#f-formula", "SrTiO3")
    page.click("#filters button[type=submit]")
    assert names(page)[0].replace("\n", "") == "SrTiO3"
    page.click(f"{ROWS} th a")
    assert CRYSTAL in page.inner_text("h1")
    assert said == []

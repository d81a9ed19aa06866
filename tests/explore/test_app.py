"""The pages of the explorer, asked without a browser."""

from __future__ import annotations

import csv
import io
import re
import threading
import time
import zipfile
from base64 import b64decode
from html.parser import HTMLParser

import pytest
from explored import HOSTILE, filled
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymongo.errors import ServerSelectionTimeoutError

from crystens_flows.campaign.status import CampaignStatus, StageStatus
from crystens_flows.errors import StoreError
from crystens_flows.explore import app as pages
from crystens_flows.explore import create_app
from crystens_flows.explore.asked import PAGE_SIZES, SHOWN
from crystens_flows.explore.index import FIELDS, CandidateIndex

NUMBER = 160


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("explored"), NUMBER)


@pytest.fixture(scope="module")
def index(stores):
    found = CandidateIndex(stores.candidates)
    found.refresh()
    yield found
    found.close()


@pytest.fixture
def client(stores, index):
    return create_app(stores, index, hosts=["localhost"]).test_client()


class Elements(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def get(client, address, code=200):
    answer = client.get(address)
    assert answer.status_code == code, answer.text
    return Elements(answer.text)


def shown(page):
    """Return the identifiers in the table, in order."""
    return [box["value"] for box in page.named("input") if box.get("name") == "id"]


def asked_of(stores, **query):
    return [doc["candidate_id"] for doc in stores.candidates.query(**query)]


@pytest.mark.parametrize(
    ("address", "query"),
    [
        ("/", {"limit": 50}),
        ("/?formula=O3TiSr", {"formula": "SrTiO3"}),
        ("/?chemsys=O-Li&sort=energy_above_hull", {"chemsys": "Li-O", "sort": "energy_above_hull"}),
        ("/?elements=Li,O&without_elements=Ti", {"elements": "Li-O", "without_elements": "Ti"}),
        ("/?status=relaxed&status=selected", {"status": ["relaxed", "selected"]}),
        (
            "/?max_energy_above_hull=0.1&min_n_sites=3&sort=n_sites&descending=1",
            {
                "energy_above_hull": (None, 0.1),
                "n_sites": (3, None),
                "sort": "n_sites",
                "descending": True,
                "limit": 50,
            },
        ),
        ("/?size=25&page=3&campaign=campaign-1", {"campaign": "campaign-1", "skip": 50}),
        ("/?space_group=221&engine=CHGNet", {"space_group": 221, "engine": "CHGNet"}),
    ],
)
def test_the_table_shows_what_the_store_finds(client, stores, address, query):
    assert shown(get(client, address)) == asked_of(stores, **query)


def test_links_of_the_table_lead_to_the_next_page_and_the_other_order(client, stores):
    page = get(client, "/?size=25&elements=Li&sort=energy_above_hull")
    (following,) = {a["href"] for a in page.named("a") if a.get("rel") == "next"}
    query = {"elements": ["Li"], "sort": "energy_above_hull", "limit": 25}
    assert shown(get(client, f"/{following}")) == asked_of(stores, skip=25, **query)
    links = [a["href"] for a in page.named("a") if "sort=energy_above_hull" in a["href"]]
    (other,) = {link for link in links if "descending=1" in link and "page=" not in link} - {
        link for link in links if link.startswith("/download")
    }
    assert shown(get(client, f"/{other}")) == asked_of(stores, descending=True, **query)
    (sorted_now,) = [th["aria-sort"] for th in page.named("th") if "aria-sort" in th]
    assert sorted_now == "ascending"


def test_columns_are_those_that_are_asked_for(client):
    heads = [th for th in get(client, "/").named("th") if th.get("scope") == "col"]
    assert len(heads) == len(SHOWN)
    page = get(client, "/?" + "&".join(f"column={name}" for name in FIELDS))
    assert len([th for th in page.named("th") if th.get("scope") == "col"]) == len(FIELDS)
    page = get(client, "/?column=n_sites&column=nonsense")
    assert len([th for th in page.named("th") if th.get("scope") == "col"]) == 2


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/?formula=Xx", "formula 'Xx' cannot be read"),
        ("/?elements=Li,Q", "'Q' is not the symbol of an element"),
        ("/?space_group=231", "space_group 231 is not a number from 1 to 230"),
        ("/?space_group=abc", "space_group 'abc' is not a number"),
        ("/?max_energy_above_hull=low", "'low' is no number"),
        ("/?min_n_sites=nan", "'nan' is no number"),
        ("/?status=done", "status 'done' is not one of"),
    ],
)
def test_a_wrong_filter_is_told_at_its_field_and_left_out(client, address, said):
    page = get(client, address)
    assert said in "".join(page.text)
    assert "1 of the filters is wrong and left out" in "".join(page.text)
    assert len(shown(page)) == PAGE_SIZES[1]


@pytest.mark.parametrize(
    "address", ["/?page=-3&size=7&sort=nothing", "/?page=99999999999&descending=2", "/?page=x"]
)
def test_addresses_that_make_no_sense_show_a_table(client, address):
    assert shown(get(client, address))


def test_texts_of_documents_are_text(client, stores):
    """Neither an element nor an attribute comes from what a document says."""
    identifier = stores.candidates.store.query_one({"campaign": HOSTILE})["candidate_id"]
    columns = "&".join(f"column={name}" for name in FIELDS)
    for address in (
        f"/?{columns}&sort=index&descending=1",
        f"/candidates/{identifier}",
        f"/compare?id={identifier}&id=c-{1:020x}",
        "/progress",
        "/hull",
        f"/?formula={HOSTILE}&campaign={HOSTILE}",
        f"/hull?system={HOSTILE}",
        f"/download?format={HOSTILE}",
        f"/candidates/{HOSTILE}",
    ):
        answer = client.get(address)
        page = Elements(answer.text)
        assert not [tag for tag, attrs in page.found if "onerror" in attrs], address
        assert not page.named("img"), address
        for script in page.named("script"):
            assert script.get("type") == "application/json" or script["src"].startswith("/assets/")
        assert "<script>alert" not in answer.text, address


def test_a_crystal_has_its_values_its_files_and_links(client, stores):
    identifier = f"c-{2:020x}"
    document = stores.candidates.get(identifier)
    page = get(client, f"/candidates/{identifier}")
    text = "".join(page.text)
    assert "SrTiO3" in text.replace("\n", "")
    assert f"{document.energy_above_hull:.3f}" in text
    links = {a["href"] for a in page.named("a")}
    assert {"/hull?system=O-Sr-Ti", "/?chemsys=O-Sr-Ti"} <= links
    for kind, parse in (("cif", "cif"), ("poscar", "poscar"), ("json", "json")):
        assert f"/candidates/{identifier}/{kind}" in links
        answer = client.get(f"/candidates/{identifier}/{kind}")
        assert answer.headers["Content-Disposition"].startswith(
            f'attachment; filename="{identifier}'
        )
        structure = Structure.from_str(answer.text, fmt=parse)
        assert StructureMatcher(scale=False).get_rms_dist(
            structure, document.relaxed_structure
        ) == pytest.approx((0, 0), abs=1e-5)


def test_the_structure_drawn_is_the_one_saved_and_compared(client, stores):
    store = stores.candidates.store
    doc = store.query_one({"candidate_id": f"c-{2:020x}"})
    other = store.query_one({"candidate_id": f"c-{1:020x}"})["relaxed_structure"]
    tuning = {"candidate_id": "c-tuned", "changed": True, "structure": other}
    tuned = {"candidate_id": "c-tuned", "relaxed_structure": None, "relaxation": None}
    store.update([{**doc, **tuned, "tuning": tuning}])
    page = get(client, "/candidates/c-tuned")
    assert "structure, tuned, not relaxed:" in "".join(page.text)
    (drawn,) = [a["href"] for a in page.named("a") if a.get("href", "").startswith("data:")]
    saved = client.get("/candidates/c-tuned/cif").text
    assert b64decode(drawn.split(",")[1]).decode() == saved
    assert Structure.from_str(saved, fmt="cif").matches(Structure.from_dict(other))
    text = "".join(get(client, f"/compare?id=c-tuned&id=c-{1:020x}").text)
    assert "They have the same structure" in text
    assert "The first is tuned, not relaxed, the second relaxed." in text
    store.remove_docs({"candidate_id": "c-tuned"})


def test_a_range_that_was_given_stays_where_no_candidate_has_a_value(stores):
    fresh = CandidateIndex(stores.candidates)
    page = get(create_app(stores, fresh).test_client(), "/?max_energy_above_hull=0.1")
    given = {box["name"]: box["value"] for box in page.named("input") if "value" in box}
    assert given["max_energy_above_hull"] == "0.1"
    assert "max_n_sites" not in given
    fresh.close()


def test_what_is_not_there_is_told(client):
    for address, said in (
        ("/candidates/c-nothing", "there is no candidate 'c-nothing'"),
        ("/candidates/c-nothing/cif", "there is no candidate 'c-nothing'"),
        ("/nothing", "Not Found"),
        ("/assets/report.css", "there is no such file"),
        ("/assets/..%2fapp.py", "Not Found"),
    ):
        assert said in "".join(get(client, address, 404).text)
    for address, said in (
        ("/compare", "two candidates are compared, and 0 were chosen"),
        ("/compare?id=a&id=b&id=c", "and 3 were chosen"),
        ("/hull?system=Li-Xx", "'Xx' is not the symbol of an element"),
        ("/hull?system=-", "give one to 6 elements"),
        ("/hull?system=Li-Na-K-Rb-Cs-Fr-H", "give one to 6 elements"),
        ("/download?format=exe", "format 'exe' is not one of"),
        ("/download?formula=Xx", "formula 'Xx' cannot be read"),
        ("/download?ticked=1&format=csv", "no candidate is ticked: tick some in the table"),
        ("/download?formula=XeF6", "none of these candidates has a structure"),
    ):
        assert said in "".join(get(client, address, 400).text)


def test_compares_two(client):
    ids = [f"c-{k:020x}" for k in (1, 2)]
    text = "".join(get(client, f"/compare?id={ids[0]}&id={ids[1]}").text)
    assert "Their structures do not match" in text
    assert "space group (differs)" in text
    assert "formation energy, predicted" in text
    # the same crystal, twice in the store
    text = "".join(get(client, f"/compare?id={ids[0]}&id=c-{1000:020x}").text)
    assert "They have the same structure" in text


def test_downloads_equal_the_store(client, stores):
    query = {"elements": ["Li"], "energy_above_hull": (None, 0.2), "sort": "energy_above_hull"}
    expected = asked_of(stores, **query)
    address = "/download?elements=Li&max_energy_above_hull=0.2&sort=energy_above_hull&format="
    table = list(csv.DictReader(io.StringIO(client.get(f"{address}csv").text)))
    assert [row["candidate_id"] for row in table] == expected
    with zipfile.ZipFile(io.BytesIO(client.get(f"{address}cif").data)) as archive:
        assert archive.namelist() == [f"{each}.cif" for each in expected]
        first = Structure.from_str(archive.read(f"{expected[0]}.cif").decode(), fmt="cif")
    document = stores.candidates.get(expected[0])
    assert StructureMatcher(scale=False).get_rms_dist(
        first, document.relaxed_structure or document.structure
    ) == pytest.approx((0, 0), abs=1e-5)
    chosen = f"/download?id={expected[1]}&id={expected[0]}&id=c-gone&format=extxyz"
    assert re.findall(r'candidate_id="(.*?)"', client.get(chosen).text) == expected[1::-1]


def test_too_many_are_not_downloaded(client, monkeypatch):
    monkeypatch.setattr(pages, "MAX_DOWNLOAD", 10)
    said = "".join(get(client, "/download?format=csv", 400).text)
    assert "more than 10 candidates: narrow the filter" in said


def test_shows_how_far_a_campaign_is(stores, index):
    asked = []

    def status():
        asked.append(1)
        return CampaignStatus(
            campaign="mine",
            backend="local",
            n_samples=8,
            n_parts=1,
            stages=[StageStatus(stage="sample", finished=3, failed=1)],
            failures=[],
        )

    client = create_app(stores, index, campaign=status).test_client()
    text = "".join(get(client, "/progress").text)
    assert "Jobs of mine" in text
    assert "8 samples in 1 part, with local" in text
    get(client, "/progress")
    assert asked == [1]  # it is not asked again at once

    def fails():
        asked.append(2)
        raise StoreError("the queue is gone")

    client = create_app(stores, index, campaign=fails).test_client()
    for _ in range(2):
        text = "".join(get(client, "/progress").text)
        assert "The campaign cannot be asked: the queue is gone" in text
        assert "campaign-0" in text
    assert asked == [1, 2]


def test_while_a_campaign_is_asked_what_it_said_before_is_shown(stores, index, monkeypatch):
    monkeypatch.setattr(pages, "STATUS_SECONDS", -1)
    asked, answer = [], threading.Event()

    def status():
        asked.append(1)
        if len(asked) > 1:
            assert answer.wait(60)
        return CampaignStatus(
            campaign=f"answer {len(asked)}",
            backend="local",
            n_samples=8,
            n_parts=1,
            stages=[],
            failures=[],
        )

    app = create_app(stores, index, campaign=status)
    get(app.test_client(), "/progress")
    waits = threading.Thread(target=get, args=(app.test_client(), "/progress"))
    waits.start()
    while len(asked) < 2:
        time.sleep(0.01)
    assert "Jobs of answer 1" in "".join(get(app.test_client(), "/progress").text)
    answer.set()
    waits.join()
    assert asked == [1, 1]


def test_only_this_machine_is_answered_and_only_reading(client):
    for host in ("evil.example", "localhost.evil.example"):
        answer = client.get("/", headers={"Host": host})
        assert answer.status_code == 400
        assert "candidate" not in answer.text
    for method in ("post", "put", "delete", "patch"):
        assert getattr(client, method)("/").status_code == 405
    headers = client.get("/").headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("host", ["[::1]:8765", "[::1]", "LOCALHOST:8765", "127.0.0.1:80"])
def test_this_machine_is_answered_by_all_its_names(stores, index, host):
    client = create_app(stores, index, hosts=["127.0.0.1", "localhost", "[::1]"]).test_client()
    assert client.get("/", headers={"Host": host}).status_code == 200
    for other in ("", f"{host}.evil.example", f"evil.example@{host}", "[::2]:8765", "["):
        assert client.get("/", headers={"Host": other}).status_code == 400, other


@pytest.mark.parametrize("address", [f"/candidates/c-{2:020x}", f"/download?id=c-{2:020x}"])
def test_a_server_that_does_not_answer_is_told(client, stores, monkeypatch, address):
    def fails(*_, **__):
        raise ServerSelectionTimeoutError("db:27017: connection refused, Timeout: 30s, and more")

    for name in ("query", "query_one"):
        monkeypatch.setattr(stores.candidates.store, name, fails)
    said = "".join(get(client, address, 503).text)
    assert "the store cannot be read: db:27017: connection refused\n" in said


def test_says_while_it_still_reads(stores):
    fresh = CandidateIndex(stores.candidates)
    client = create_app(stores, fresh).test_client()
    assert "Reading the store: 0 candidates so far" in "".join(get(client, "/").text)
    fresh.refresh()
    assert "Reading the store" not in "".join(get(client, "/").text)
    fresh.close()


def test_a_document_of_another_version_is_named(stores, client, index):
    store = stores.candidates.store
    doc = store.query_one({"candidate_id": f"c-{1:020x}"})
    store.update([{**doc, "candidate_id": "c-later", "not_known": 1}])
    text = "".join(get(client, "/candidates/c-later", 503).text)
    assert "candidate c-later is not as this version stores candidates" in text
    store.remove_docs({"candidate_id": "c-later"})

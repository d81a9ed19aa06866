"""The page of a run: all of it, from candidates with real crystals."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore
from pymatgen.core import Structure
from report_run import CRYSTALS, OPTIONS, candidate, candidates, summary

from crystens_flows.builders import CandidateBuilder
from crystens_flows.campaign.options import DiscoveryOptions
from crystens_flows.candidates import CandidateStore
from crystens_flows.discovery_summary import summarise, write_results
from crystens_flows.report import render_report
from crystens_flows.report.cards import MAX_CARDS
from stage_jobs import campaign_jobs, known_as_of, run_jobs

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'"
LOADED = ("src", "href", "srcset", "data", "poster", "action", "background")


class Elements(HTMLParser):
    """The elements of a page with their attributes, its text, and what its scripts hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):  # noqa: ARG002
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)
        elif self.inside != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def documents():
    return candidates()


@pytest.fixture(scope="module")
def page(documents):
    return render_report(OPTIONS, summary(documents), documents, files={"a b.csv": "the table"})


def test_the_cards_say_what_the_documents_say(documents, page):
    said = Elements(page).text
    cards = page.split("<article")[1:]
    assert len(cards) == len(documents)
    by_id = {document.candidate_id: document for document in documents}
    for card in cards:
        text = Elements(f"<article{card}").text
        document = by_id[re.search(r"c-\d{20}", text)[0]]
        assert document.formula in text  # subscripts are text
        assert f"{document.energy_above_hull:.3f}".replace("-", "\N{MINUS SIGN}") in text
        assert f"{document.formation_energy_per_atom:.3f}".replace("-", "\N{MINUS SIGN}") in text
        assert "60 % TiO2 + 40 % Ti3O5" in text
        for energy in document.relaxation.energies:
            assert energy is None or f"{energy:.3f}".replace("-", "\N{MINUS SIGN}") in text
        for pressure in document.relaxation.pressures:
            assert pressure is None or f"{pressure:.2f}".replace("-", "\N{MINUS SIGN}") in text
        assert document.relaxation.reason is None or document.relaxation.reason in text
    assert "P42/mnm (136)" in said
    assert "P21/c (14)" in said
    assert "Pm-3m (221)" in said


def test_every_structure_can_be_downloaded(documents, page):
    links = [each for each in Elements(page).of("a") if each.get("class") == "download"]
    assert len(links) == len(documents)
    by_id = {document.candidate_id: document for document in documents}
    for link in links:
        content = b64decode(link["href"].removeprefix("data:chemical/x-cif;base64,")).decode()
        structure = Structure.from_str(content, fmt="cif")
        document = by_id[link["download"].removesuffix(".cif").split("-", 1)[1]]
        expected = document.relaxed_structure or document.relaxation.structure
        assert structure.composition == expected.composition
        assert structure.volume == pytest.approx(expected.volume, rel=1e-4)


def test_what_was_not_tuned_or_not_relaxed_is_said(page):
    said = Elements(page).text
    assert "Unchanged: nothing better nearby" in said
    assert "after the last relaxation" in said
    assert "2 of 4 finished" in said


def test_a_candidate_without_a_relaxation_has_a_card():
    document = candidate(1, "rutile").model_copy(
        update={"relaxation": None, "relaxed_structure": None, "tuning": None, "screens": {}}
    )
    bare = document.model_copy(
        update={"formation_energy_per_atom": None, "energy_above_hull": None, "selection": None}
    )
    said = Elements(render_report({}, {**summary([]), "best": []}, [bare])).text
    assert "as decoded" in said
    assert "above hull, predicted not known" in said.replace("predictednot", "predicted not")
    gone = bare.model_copy(update={"structure": None})
    assert "<article" not in render_report({}, {**summary([]), "best": []}, [gone])


def test_hostile_text_is_text(documents):
    hostile = documents[0].model_copy(
        update={
            "candidate_id": HOSTILE,
            "known_as": HOSTILE,
            "tuning": documents[0].tuning.model_copy(
                update={"reason": HOSTILE, "values": {"space_group_after": HOSTILE}}
            ),
            "relaxation": documents[0].relaxation.model_copy(
                update={"engine": HOSTILE, "reason": HOSTILE}
            ),
        }
    )
    hostile.screens["hull"].values.update(
        decomposition={HOSTILE: 1.0}, energy_models=[HOSTILE, HOSTILE]
    )
    told = summary(documents)
    told["rejected"][HOSTILE] = {HOSTILE: 1}
    told["failed_jobs"] = {HOSTILE: HOSTILE}
    told["campaign"] = told["store"] = told["best"][0]["formula"] = HOSTILE
    told["relaxations"][0]["formula"] = told["relaxations"][0]["candidate_id"] = HOSTILE
    page = render_report({HOSTILE: HOSTILE}, told, [hostile], files={HOSTILE: HOSTILE})
    found = Elements(page)
    assert not found.of("img")
    assert not any("onerror" in attributes for _, attributes in found.elements)
    assert found.text.count(HOSTILE) >= 12
    assert page.count("</script>") == len(found.of("script")) == 3


def test_text_cannot_leave_the_data_of_scripts():
    from crystens_flows.report.html import data

    written = data("scenes", {HOSTILE: ["<!--", "\u2028"]})
    inside = written.split(">", 1)[1].removesuffix("</script>")
    assert not set(inside) & set("<>&\u2028")
    assert json.loads(inside) == {HOSTILE: ["<!--", "\u2028"]}


def test_the_vendored_script_can_stand_in_a_page():
    from crystens_flows.report.html import asset

    for name in ("vendor/3Dmol-min.js", "assets/viewer.js"):
        assert "</script" not in asset(name).lower()
        assert "<!--" not in asset(name)
    assert "</style" not in asset("assets/report.css").lower()
    assert "University of Pittsburgh" in asset("vendor/3Dmol-LICENSE.txt")


def test_nothing_is_loaded(page):
    found = Elements(page)
    for tag, attributes in found.elements:
        for name in LOADED:
            value = attributes.get(name)
            if value is not None and not value.startswith("#"):
                assert tag == "a", (tag, name)
                assert value.startswith(("data:chemical/x-cif", "a%20b.csv")), value
    assert not found.of("link")
    assert "url(" not in page.split("</style>")[0]
    assert "@import" not in page.split("</style>")[0]
    policy = next(each for each in found.of("meta") if "http-equiv" in each)
    assert policy["content"].startswith("default-src 'none'")


def test_headings_and_tables_can_be_found_by_a_screen_reader(page):
    found = Elements(page)
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("scope" in each for each in found.of("th"))
    assert all(each.get("role") == "img" and each.get("aria-label") for each in found.of("svg"))
    identifiers = [each["id"] for _, each in found.elements if "id" in each]
    assert len(set(identifiers)) == len(identifiers)
    assert found.of("html")[0]["lang"] == "en"


def test_a_thousand_candidates_stay_small():
    names = list(CRYSTALS)
    few = [candidate(number, names[number % len(names)]) for number in range(1, 13)]
    documents = [
        few[number % 12].model_copy(update={"candidate_id": f"c-{number:020d}"})
        for number in range(1000)
    ]
    page = render_report(OPTIONS, summary(documents), documents)
    assert page.count("<article") == MAX_CARDS
    assert len(page.encode()) < 10e6
    assert page.count("c-00000000000000000999") >= 1


def test_a_run_writes_the_page_beside_its_files(tmp_path):
    job_store = JobStore(MemoryStore("jobs"), additional_stores={"data": MemoryStore("data")})
    store = CandidateStore(MemoryStore("candidates"))
    job_store.connect()
    store.connect()
    run_jobs(campaign_jobs(), job_store)
    CandidateBuilder(job_store, store).run_incrementally()
    options = DiscoveryOptions(n_samples=40, checkpoint_sha256="ab" * 32)
    told = summarise(store, options, failed_jobs={}, folder=str(tmp_path), store="memory")
    unique = [d for d in store.query() if d["selection"] and d["status"] != "rejected"]
    unique += [d for d in store.query() if d["rejected_by"] == "relax"]
    assert told.n_novel == sum(known_as_of(d["index"]) is None for d in unique)
    write_results(store, options, told, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<article") == 3  # two relaxed, one of which the relaxation failed
    assert "Samples beside real crystals" in page
    for name in ("candidates.csv", "summary.json", "relaxed/"):
        assert f'href="{name}"' in page
        assert (tmp_path / name).exists()

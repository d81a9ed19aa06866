"""The pages in docs/: the site builds, their Python runs, their commands are commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from jobflow import Maker
from pymatgen.core import Lattice, Structure

from crystens_flows import flows, generators, jobs
from crystens_flows.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)

ELSEWHERE = {
    "pipelines": "tests/test_examples.py: its blocks stand in the scripts, which run",
    "relaxation": "tests/test_examples.py",
    "screening": "tests/test_examples.py",
}
"""Pages whose Python is run by other tests."""

FEWER = {
    "data": ('dataset.split["train"], batch_size=256', 'dataset.split["train"][:20], batch_size=8'),
    "generator": ("generator.sample(4,", "generator.sample(1,"),
    "substitution": ("generator.sample(10,", "generator.sample(2,"),
}
"""What pages ask for, and less of it."""


def with_python() -> list[str]:
    pages = [page.stem for page in PAGES if PYTHON.search(page.read_text())]
    assert set(ELSEWHERE) <= set(pages)
    assert set(FEWER) <= set(pages)
    return [page for page in pages if page not in ELSEWHERE]


def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("furo", reason="needs the extra docs")
    pytest.importorskip("myst_nb", reason="needs the extra docs")
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", tmp_path / "trees"]
    built = subprocess.run(
        [sys.executable, *command, DOCS, tmp_path / "html"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
    index = (tmp_path / "html" / "index.html").read_text()
    for page in PAGES:
        assert (tmp_path / "html" / f"{page.stem}.html").is_file()
        assert page.stem == "index" or f'href="{page.stem}.html"' in index, "in no toctree"


def copper(tmp_path: Path) -> None:
    """Fill the store of a run with a crystal that was relaxed, another that was not."""
    from crystens_flows.builders import CandidateBuilder
    from crystens_flows.local import run
    from crystens_flows.stores import open_stores
    from pipeline_examples import fcc, own_flow

    relaxer = jobs.BatchRelaxMaker(calculator="ase.calculators.emt.EMT", steps=3)
    flow = own_flow([fcc("Cu", 3.5), fcc("Na", 4.5)], relax_maker=relaxer)
    stores = open_stores(tmp_path / "crystens-out" / "store")
    run(flow, stores.job_store, tmp_path / "run")
    CandidateBuilder(stores.job_store, stores.candidates).run_incrementally()
    stores.close()


def own_cifs(tmp_path: Path) -> dict[str, Any]:
    """Write crystals of one's own, one of them broken."""
    salts = {"CsCl": 4.12, "CsBr": 4.29, "CsI": 4.57, "TlCl": 3.83, "TlBr": 3.98, "TlI": 4.2}
    (tmp_path / "my_cifs").mkdir()
    structures = []
    for formula, a in salts.items():
        elements = re.findall("[A-Z][a-z]?", formula)
        sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
        structures.append(Structure(Lattice.cubic(a), elements, sites))
        structures[-1].to(str(tmp_path / "my_cifs" / f"{formula}.cif"), fmt="cif")
    (tmp_path / "my_cifs" / "nothing.cif").write_text("nothing")
    return {"structures": structures}


def finished_run(_tmp_path: Path) -> dict[str, Any]:
    """Give what a run has at its end."""
    sys.path.insert(0, str(ROOT / "tests" / "report"))
    try:
        from report_run import OPTIONS, candidates, summary
    finally:
        sys.path.pop(0)
    from crystens_flows.campaign.options import DiscoveryOptions
    from crystens_flows.discovery_summary import DiscoverySummary

    documents = candidates()
    return {
        "options": DiscoveryOptions.model_validate(OPTIONS),
        "summary": DiscoverySummary(folder="oxides", **summary(documents)),
        "candidates": documents,
    }


PREPARED: dict[str, Callable[[Path], dict[str, Any] | None]] = {
    "data": own_cifs,
    "first-crystals": copper,
    "querying": copper,
    "report": finished_run,
}
"""What pages take for given: files in the working folder, and names."""


@pytest.fixture
def namespace(tmp_path, monkeypatch):
    """Give names of a module in an empty folder, of which nothing stays behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    registered = (generators.GENERATOR_CLASSES, generators.TRAINABLE_GENERATORS)
    kept = [dict(each) for each in registered]
    yield vars(module)
    for each, before in zip(registered, kept, strict=True):
        each.clear()
        each.update(before)
    for written in tmp_path.glob("*.py"):
        sys.modules.pop(written.stem, None)


@pytest.mark.parametrize("page", with_python())
def test_the_python_of_pages_runs(page, tmp_path, namespace):
    """The blocks of a page in order, in one namespace; one that names a file is written to it."""
    pytest.importorskip("atomate2", reason="makers of atomate2 are part of it")
    namespace |= PREPARED.get(page, lambda _: None)(tmp_path) or {}
    text = (DOCS / f"{page}.md").read_text()
    asked, fewer = FEWER.get(page, ("", ""))
    assert asked in text
    for number, block in enumerate(PYTHON.findall(text), 1):
        if named := re.match(r"# (\w+\.py)\n", block):
            Path(named[1]).write_text(block)
        block = block.replace(asked, fewer) if asked else block
        exec(compile(block, f"{page}.md, block {number}", "exec"), namespace)


def code_blocks(page: Path) -> Iterator[str]:
    """Yield what is typed into a shell: fenced blocks of a console, and indented ones."""
    from markdown_it import MarkdownIt

    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "code_block" or (
            token.type == "fence" and token.info.strip() in ("bash", "console", "sh")
        ):
            yield token.content


def command_lines(page: Path) -> Iterator[list[str]]:
    """Yield the words of each line that runs crystens, after its name."""
    for block in code_blocks(page):
        text = re.sub(r"^\$ ", "", block, flags=re.MULTILINE).replace("\\\n", " ")
        for line in re.findall(r"^\s*(?:\S+/)?crystens (.+)$", text, re.MULTILINE):
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
            lexer.whitespace_split = True
            words = list(lexer)
            ends = [i for i, word in enumerate(words) if re.fullmatch(r"[|&;>]+", word)]
            yield words[: ends[0]] if ends else words


def test_commands_on_pages_are_commands():
    """Each is taken apart by the command that it names, which is not run."""
    pages = [*PAGES, ROOT / "README.md", ROOT / "stores" / "README.md"]
    lines = [(page, words) for page in pages for words in command_lines(page)]
    assert len(lines) > 50
    whole = typer.main.get_command(app)
    for page, words in lines:
        where = f"{page.name}: crystens {shlex.join(words)}"
        command, rest = whole, list(words)
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, where
            command = command.commands[rest.pop(0)]
        if rest and rest[0] == "...":
            continue
        context = command.context_class(command)
        try:
            found, left, _ = command.make_parser(context).parse_args(args=rest)
        except Exception as exc:
            raise AssertionError(f"{where}: {exc}") from exc
        assert not left, f"{where}: nobody takes {left}"
        for parameter in command.params:
            assert not parameter.required or found.get(parameter.name), f"{where}: {parameter.name}"


def makers_of(*modules: Any) -> set[str]:
    return {
        name
        for module in modules
        for name in module.__all__
        if isinstance(getattr(module, name), type) and issubclass(getattr(module, name), Maker)
    }


def test_all_makers_have_an_example():
    text = (DOCS / "makers.md").read_text()
    blocks = "\n".join(PYTHON.findall(text))
    named = makers_of(jobs, flows)
    assert len(named) > 15
    for name in named - {"PrefilterMaker"}:  # of which the others are subclasses
        assert re.search(rf"\b{name}[.(]", blocks), f"{name} has no example on docs/makers.md"
    for name in ("PrefilterMaker", "PaperRelaxMaker", "MPRelaxMaker", "GpawRelaxMaker"):
        assert name in text


def test_pictures_are_there_and_small():
    pages = "\n".join(page.read_text() for page in PAGES)
    shown = re.findall(r"!\[([^\]]*)\]\(figures/([\w.-]+)\)", pages)
    assert len(shown) > 4
    for words, name in shown:
        assert len(words) > 20, f"{name} is not described"
        assert (DOCS / "figures" / name).stat().st_size < 150_000
    assert {file.name for file in (DOCS / "figures").iterdir()} == {name for _, name in shown}

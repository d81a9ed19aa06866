"""docs/messages.md has each error that a user can cause, in the words of the source."""

import ast
import re
import sys
from collections import Counter

import pytest
from messages_page import PAGE, messages, tables
from source_messages import GAP, modules, normal, source_messages

from crystens_flows.cli import main
from crystens_flows.datasets import Dataset, build_dataset
from crystens_flows.errors import CrystensError, import_extra
from crystens_flows.generators import load_generator
from crystens_flows.generators.conditions import Conditions
from crystens_flows.jobs.engines import find_engine
from crystens_flows.relaxation.vasp_failures import check_command
from crystens_flows.representation import decode, encode
from crystens_flows.settings import get_settings
from crystens_flows.stores import open_stores

INSIDE = "told within the message of the file that it is about"
SETTINGS = "told within \"settings of '<kind>'\""
MAKES_SHIPPED = "of the scripts that make the weights which ship"
CAUGHT = "caught where it is raised for; the crystal is left out"

INTERNAL = {
    "paused": "ends a run that is paused; the campaign says so in a sentence of its own",
    "no amounts": "told within 'formula <formula> cannot be read'",
    "no number of atoms in line <>": INSIDE,
    "it unpacks to more than <> bytes": INSIDE,
    "a comma before the end of the list": INSIDE,
    "expected ',' or ']' and found <>": INSIDE,
    "numbers of sites out of range": INSIDE,
    "a split names a row that is not there": INSIDE,
    "<> has <> rows, not <>": INSIDE,
    "samples are drawn in another way": INSIDE,
    "<> has shape <>, not <>": INSIDE,
    "kind, sha256 or config is of the wrong type": INSIDE,
    "it names crystals that do not ship with this version": INSIDE,
    "it names crystals of no data set": INSIDE,
    "its table of ions does not fit together": INSIDE,
    "its templates do not fit together": INSIDE,
    "its class is <>.<>": INSIDE,
    "coordinates are missing, or not finite": INSIDE,
    "the cell has no volume": INSIDE,
    "<> has <> values for the <> levels of dim_mults": SETTINGS,
    "<> x <> cannot be halved <> times": SETTINGS,
    "'<>' is no name of a generator: give one word, e.g. 'gan'": MAKES_SHIPPED,
    "the weights of <> take <> MB in half precision, and at most <> MB ship: train smaller "
    "networks": MAKES_SHIPPED,
    "'<>' has values up to <>, beyond the <> of half precision: it cannot ship so": MAKES_SHIPPED,
    "a site of space group <> lies on no Wyckoff position": CAUGHT,
    "no space group within <> A of <>": CAUGHT,
    "the project has no jobstore": "shown by 'crystens check' as what was found",
    "its jobstore has no additional store '<>', for arrays": "shown by 'crystens check'",
    "the hull was not found: <>": "a linear programme that has a solution by construction",
}
"""Errors that stand in no table, and why."""

SPELT_OUT = {
    "<>: <>": "what the system says of a file; what is wrong with a row of a hull",
    "the store can no longer be used: <>; start again when it is back": "cli/errors.py",
}
"""Lines of the tables that are not made where an error is raised."""


@pytest.fixture(scope="module")
def told():
    """Return the words of the tables of messages, and of those of reasons."""
    found = tables(PAGE.read_text())
    assert found.keys() == {"It says", "Reason"}
    return {
        head: [words for row in rows for words in messages(row[0])] for head, rows in found.items()
    }


@pytest.fixture(scope="module")
def raised():
    return source_messages()


def test_each_row_says_what_why_and_what_to_do():
    for rows in tables(PAGE.read_text()).values():
        for row in rows:
            assert len(row) == 3, row
            assert messages(row[0]), row
            assert all(row), row


def test_each_error_of_the_source_stands_in_a_table(told, raised):
    assert len(raised) > 400  # else the source was not read
    known = {*told["It says"], *told["Reason"], *INTERNAL}
    missing = [f"{each.where}: {each.words}" for each in raised if each.words not in known]
    assert not missing, "\n".join(missing)


def test_each_message_of_the_tables_is_in_the_source(told, raised):
    words = {each.words for each in raised} | SPELT_OUT.keys()
    assert [each for each in told["It says"] if each not in words] == []
    texts = _texts()
    assert [each for each in told["Reason"] if each not in words | texts] == []
    assert SPELT_OUT.keys() - {"<>: <>"} <= texts


def test_nothing_is_listed_as_internal_that_is_gone_or_told(told, raised):
    assert INTERNAL.keys() <= {each.words for each in raised}
    assert not INTERNAL.keys() & {*told["It says"], *told["Reason"]}


def test_each_message_is_told_once_in_a_section():
    for section in PAGE.read_text().split("\n## "):
        words = [w for rows in tables(section).values() for row in rows for w in messages(row[0])]
        assert [each for each, n in Counter(words).items() if n > 1] == [], section[:40]


def _texts():
    """Return all texts of the source, with ``<>`` for values."""
    found = set()
    for module in modules().values():
        for node in module.nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(normal(node.value))
            elif isinstance(node, ast.JoinedStr):
                values = [v.value if isinstance(v, ast.Constant) else GAP for v in node.values]
                found.add(normal("".join(map(str, values))))
    return found


def _is_told(line, words, told):
    """Check that a message that was seen is one of a table, and that one."""
    assert words in told
    assert re.fullmatch(re.escape(words).replace(re.escape(GAP), ".+"), line), line


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda _: load_generator("nowhere"), "no generator '<>': give a shipped name (<>) or"),
        (lambda d: load_generator(d), "<> is no checkpoint: it has no <>; give a folder that"),
        (lambda _: Conditions(formula="Xx"), "'<>' is no formula with whole numbers"),
        (lambda _: Conditions(n_sites=53), "a cell has 1 to <> sites, not <>"),
        (lambda _: Conditions(formula="NaF", n_sites=3), "<> sites are no multiple of the <>"),
        (lambda _: Conditions(n_sites=6, space_group=62), "space group <> cannot hold <> sites"),
        (lambda _: Conditions(band_gap=float("nan")), "<> is <>: give a finite number of eV"),
        (
            lambda _: load_generator("substitution").sample(
                1, 0, conditions=Conditions(band_gap=1)
            ),
            "generators of kind '<>' cannot be asked for <>: they take <>",
        ),
        (lambda d: build_dataset(d / "no.cif"), "<> does not exist: give <>; or <>"),
        (lambda d: build_dataset(d), "<> holds no *.cif or *.cif.gz: give <>"),
        (lambda d: Dataset.load(d / "no.npz"), "<> is no file: <>"),
        (lambda _: encode([3]), "structure <> is of type <>, not a pymatgen Structure"),
        (lambda _: decode([[1.0]]), "tensors have shape <> and type <>: expected (n, 4, 64, 64)"),
        (lambda d: open_stores(d, create=False), "there is no store in <>: run `crystens discover"),
        (lambda _: open_stores("http://a.b"), "store <>: not a kind of store known here"),
        (lambda _: open_stores("mongodb://h"), "store <> names no database: give mongodb://"),
        (lambda d: open_stores(d / "no.yaml"), "there is no store file <>: give one, a folder"),
        (lambda _: find_engine("nothing"), "there is no engine '<>': known are <>, and the path"),
        (lambda _: check_command("gone -x"), "the command for VASP, <>, cannot be started, <> is"),
        (lambda _: import_extra("gone", "mp", "x"), "<> is needed for <> and is not installed"),
    ],
)
def test_errors_that_are_caused_are_told(told, tmp_path, call, words):
    (whole,) = (each for each in told["It says"] if each.startswith(words))
    with pytest.raises(CrystensError) as caught:
        call(tmp_path)
    _is_told(str(caught.value), whole, told["It says"])


@pytest.mark.parametrize(
    ("command", "prefix", "words", "code"),
    [
        ("sample --config no.yaml", "--config: ", "there is no file <>: give a YAML file of", 2),
        ("sample --config a.txt", "--config: ", "<> names an unknown option '<>': known are <>", 2),
        ("sample --generator no", "--generator: ", "there is no generator '<>': give a ship", 2),
        ("screen a.txt --models no", "--models: ", "'<>' is no model: known are <>", 2),
        ("screen a.txt --known no", "--known: ", "there is no file or folder <>: give known", 2),
        ("screen a.txt --max-energy-above-hull nan", "", "--max-energy-above-hull <> is no", 2),
        ("discover --max-energy-above-hull inf", "", "--max-energy-above-hull <> is no", 2),
        ("relax", "", "give structures, or --resume and the folder of a run", 2),
        ("relax a.xyz", "", "<>: no structure to relax", 1),
        ("relax --resume -o b", "", "<> holds no run of '<>' to go on with: start one with", 1),
        ("encode a.txt", "", "<> is of unknown kind <>: give <>; or <>", 1),
        ("decode a.txt", "", "<> is no numpy file, or damaged: give a .npy file of CrysTens", 1),
        ("submit no.yaml", "", "there is no <> <>: docs/campaigns.md shows one", 1),
        ("submit a.txt --set n", "", "'<>' sets nothing: write NAME=VALUE, e.g. n_samples=20", 1),
        ("extend c.yaml -n 1", "", "there is no campaign <> to extend: `crystens submit` beg", 1),
        (
            "pause c.yaml",
            "",
            "there is no campaign in <> to pause: `crystens submit` begins one",
            1,
        ),
        ("candidates query --saved no", "--saved: ", "there is no saved query '<>': `crystens", 2),
        ("candidates query --formula Xx", "--formula: ", "formula <> cannot be read: <>; write", 2),
        ("candidates query --sort x", "--sort: ", "candidates have no field <>; known: <>", 2),
        ("init --backend jf", "", "backend <> needs MongoDB: give --store mongodb://USER@HOST", 1),
    ],
)
def test_commands_say_what_is_told(
    told, tmp_path, monkeypatch, capsys, command, prefix, words, code
):
    (whole,) = (each for each in told["It says"] if each.startswith(words))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CRYSTENS_FLOWS_STORE", raising=False)
    (tmp_path / "a.txt").write_text("wibble: 1\n")
    (tmp_path / "a.xyz").write_text("")
    (tmp_path / "c.yaml").write_text("campaign: c\nn_samples: 2\n")
    monkeypatch.setattr(sys, "argv", ["crystens", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    line = capsys.readouterr().err.removesuffix("\n")
    assert line.startswith(f"error: {prefix}")
    line = re.sub(r" \(see 'crystens [a-z]+ --help'\)$", "", line.removeprefix(f"error: {prefix}"))
    _is_told(line, whole, told["It says"])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("- 1", "<> must hold 'NAME: value' lines"),
        ("a: [1", "<> is not valid YAML<>"),
        ("\udcff", "<> is not valid YAML"),
        (None, "CRYSTENS_FLOWS_CONFIG_FILE names <>, which is no file"),
        ("wibble: 1", "WIBBLE: unknown"),
    ],
)
def test_wrong_settings_are_told(told, tmp_path, monkeypatch, text, what):
    file = tmp_path / "settings.yaml"
    if text is not None:
        file.write_bytes(text.encode(errors="surrogateescape"))
    monkeypatch.setenv("CRYSTENS_FLOWS_CONFIG_FILE", str(file))
    with pytest.raises(CrystensError) as caught:
        get_settings()
    whole = f"settings: {what} (known settings: <>)"
    _is_told(str(caught.value), "settings: <> (known settings: <>)", told["It says"])
    assert re.fullmatch(re.escape(whole).replace(re.escape(GAP), ".+"), str(caught.value))

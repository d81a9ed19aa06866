"""The examples in README.md and the scripts in workflows/ run as they stand."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.flows import DiscoveryFlowMaker

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that runs code or a script in an empty folder, as its own main module."""

    def run(code_or_script, *arguments, name="__main__"):
        script = code_or_script
        if isinstance(code_or_script, str):
            script = tmp_path / "example.py"
            script.write_text(code_or_script)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        monkeypatch.syspath_prepend(str(script.parent))
        capsys.readouterr()
        runpy.run_path(str(script), run_name=name)
        return capsys.readouterr().out

    return run


def test_an_example_runs_in_a_process_of_its_own(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", BLOCKS[0]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Full Formula") == 10


def test_there_are_three_examples():
    assert len(BLOCKS) == 3


def test_round_trip_example(run):
    assert run(BLOCKS[1]).strip() == "Na4 Cl4"


def test_flow_example(run):
    """The flow of the README, with fewer samples, of a seed whose first are small."""
    asked, fewer = "n_samples=40, seed=0", "n_samples=2, seed=9"
    assert asked in BLOCKS[2]
    printed = run(BLOCKS[2].replace(asked, fewer))
    assert "relaxed" in printed


def test_screening_examples(run):
    text = (ROOT / "docs" / "screening.md").read_text()
    alone, in_a_flow = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    printed = run(alone)
    assert [line.split()[0] for line in printed.splitlines()] == ["a", "b", "c", "d", "e"]
    finish = "from jobflow import run_locally\nprint(run_locally(flow, ensure_success=True))"
    assert "energy_above_hull=" in run(f"{in_a_flow}\n{finish}")


def test_relaxation_example(run):
    text = (ROOT / "docs" / "relaxation.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    printed = run(block)
    assert printed.count("crystens relax") == 5


@pytest.mark.parametrize(
    "script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem
)
def test_benchmarks_fit_the_package(script, run):
    """They import what there is; `make bench` runs them."""
    run(script, name="imported")


@pytest.mark.parametrize("script", ["discover_embedded.py", "discover_mongodb.py"])
def test_workflow_scripts(script, run, tmp_path, request):
    store = ["--store", request.getfixturevalue("mongo_uri")] if "mongodb" in script else []
    path = ROOT / "workflows" / script
    printed = run(path, "-n", "2", "--seed", "9", "-o", "out", *store)
    assert "relaxed" in printed
    assert (tmp_path / "out").is_dir()


def test_screening_script(run, tmp_path):
    salt = Structure.from_spacegroup(
        225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]]
    )
    salt.to(str(tmp_path / "salt.cif"), fmt="cif")
    (tmp_path / "nothing.cif").write_text("nothing")
    path = ROOT / "workflows" / "screen_structures.py"
    printed = run(path, "salt.cif", "nothing.cif", "-n", "1")
    assert "left out: nothing.cif" in printed
    assert re.search(r"NaCl\s+relaxed", printed)


def test_the_page_of_pipelines_shows_what_the_scripts_do():
    """Each of its blocks stands in a script, or is run here on a flow."""
    page = (ROOT / "docs" / "pipelines.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    scripts = {file.name: file.read_text() for file in (ROOT / "workflows").glob("*.py")}
    lines = {line.strip() for text in scripts.values() for line in text.splitlines()}
    *shown, run_config = blocks
    for block in shown:
        assert {line.strip() for line in block.splitlines()} <= lines
    for name in re.findall(r"workflows/(\w+\.py)", page):
        assert name in scripts
    remote = pytest.importorskip("jobflow_remote", reason="it says where jobs run")
    flow = DiscoveryFlowMaker().make(2)
    exec(run_config, {"set_run_config": remote.set_run_config, "flow": flow})
    for job in flow.jobs:
        relaxes = job.name.startswith("crystens relax")
        assert job.config.manager_config["worker"] == ("vasp" if relaxes else "local")

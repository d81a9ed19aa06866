"""The examples in README.md and the scripts in workflows/ run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.flows import DiscoveryFlowMaker

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def run(code_or_script, *arguments, folder):
    result = subprocess.run(
        [sys.executable, *code_or_script, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_there_are_three_examples():
    assert len(BLOCKS) == 3


def test_sampling_example(tmp_path):
    printed = run(["-c", BLOCKS[0]], folder=tmp_path)
    assert printed.count("Full Formula") == 10


def test_round_trip_example(tmp_path):
    assert run(["-c", BLOCKS[1]], folder=tmp_path).strip() == "Na4 Cl4"


def test_flow_example(tmp_path):
    """The flow of the README, with fewer samples, of a seed whose first are small."""
    asked, fewer = "n_samples=40, seed=0", "n_samples=2, seed=9"
    assert asked in BLOCKS[2]
    printed = run(["-c", BLOCKS[2].replace(asked, fewer)], folder=tmp_path)
    assert "relaxed" in printed


def test_screening_examples(tmp_path):
    text = (ROOT / "docs" / "screening.md").read_text()
    alone, in_a_flow = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    printed = run(["-c", alone], folder=tmp_path)
    assert [line.split()[0] for line in printed.splitlines()] == ["a", "b", "c", "d", "e"]
    finish = "from jobflow import run_locally\nprint(run_locally(flow, ensure_success=True))"
    assert "energy_above_hull=" in run(["-c", f"{in_a_flow}\n{finish}"], folder=tmp_path)


def test_relaxation_example(tmp_path):
    text = (ROOT / "docs" / "relaxation.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    printed = run(["-c", block], folder=tmp_path)
    assert printed.count("crystens relax") == 5


@pytest.mark.parametrize(
    "script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem
)
def test_benchmarks_fit_the_package(script, tmp_path):
    """They import what there is; `make bench` runs them."""
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(script.parent)!r}); "
        f"print(sorted(runpy.run_path({str(script)!r}, run_name='imported'))[0])"
    )
    assert run(["-c", code], folder=tmp_path)


@pytest.mark.parametrize("script", ["discover_embedded.py", "discover_mongodb.py"])
def test_workflow_scripts(script, tmp_path, request):
    store = ["--store", request.getfixturevalue("mongo_uri")] if "mongodb" in script else []
    path = str(ROOT / "workflows" / script)
    printed = run([path], "-n", "2", "--seed", "9", "-o", "out", *store, folder=tmp_path)
    assert "relaxed" in printed
    assert (tmp_path / "out").is_dir()


def test_screening_script(tmp_path):
    salt = Structure.from_spacegroup(
        225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]]
    )
    salt.to(str(tmp_path / "salt.cif"), fmt="cif")
    (tmp_path / "nothing.cif").write_text("nothing")
    path = str(ROOT / "workflows" / "screen_structures.py")
    printed = run([path, "salt.cif", "nothing.cif", "-n", "1"], folder=tmp_path)
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

"""docs/cluster.md, typed from its top to its end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from slurm_cluster import SCRIPT

from crystens_flows.stores import open_stores

pytest.importorskip("jobflow_remote", reason="the page is about jobflow-remote")
pytest.importorskip("fireworks", reason="the page is about FireWorks")

pytestmark = [pytest.mark.mongo, pytest.mark.jf, pytest.mark.fireworks, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cluster.md"
DATABASE = "mongodb://localhost:27017/crystens"
BEGIN = r"""
set -eo pipefail
trap 'kill $(jobs -p) 2>/dev/null' EXIT
run_out() {  # until no job of a campaign waits or runs
    for _ in $(seq 400); do
        sleep 3
        "$@" --format json | tee "$HOME/status.json" | python -c '
import json, sys
stages = json.load(sys.stdin)["stages"]
sys.exit(any(each[name] for each in stages for name in ("waiting", "running")))' && return
    done
    echo "$* does not come to an end"
    exit 1
}
"""
IN_A_TERMINAL = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"


def blocks(text: str) -> list[str]:
    """Return what the page lets one type, and what it lets one wait for."""
    found = re.findall(r"^```bash\n(.*?)^```$|^<!-- wait: (.*?) -->$", text, re.M | re.S)
    return [typed or f"run_out {waited}\n" for typed, waited in found]


@pytest.fixture
def home():
    """Make a home whose name is as short as homes are: there are sockets in it."""
    with tempfile.TemporaryDirectory(prefix="home-") as folder:
        yield Path(folder)


def test_the_page_ends_with_candidates_in_mongodb(mongo_uri, home, tmp_path):
    page = PAGE.read_text()
    script = BEGIN + "".join(blocks(page))
    assert script.count(DATABASE) == 1
    script = script.replace(DATABASE, mongo_uri)
    clone = tmp_path / "clone"
    clone.mkdir()
    for each in ("Makefile", "constraints.txt", "pyproject.toml", "scripts", "src", "tests"):
        (clone / each).symlink_to(ROOT / each)
    (clone / ".venv").symlink_to(sys.prefix)
    if Path(sys.prefix) != ROOT / ".venv":  # an environment that make did not set up
        script = script.replace("make setup\n", "")
    (tmp_path / "page.sh").write_text(script)
    ours = ("SLURM", "JFREMOTE", "JOBFLOW", "FW_", "CRYSTENS", "OMP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment = {**kept, "HOME": str(home), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}

    def run(*command):
        return subprocess.run(
            command,
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=2400,
        )

    try:
        # `jf project check` asks for all processes of root where there is no terminal
        typed = run(sys.executable, "-c", IN_A_TERMINAL, "bash", str(tmp_path / "page.sh"))
        shown = typed.stdout[-6000:]
        assert typed.returncode == 0, shown
    finally:
        projects = {"JFREMOTE_PROJECT": "crystens"}
        environment.update(projects)
        run(str(Path(sys.executable).with_name("jf")), "runner", "kill")
        run(str(SCRIPT), "stop", str(home / "slurm"))

    ended = (home / "slurm" / "jobs.txt").read_text()
    assert {"cpu", "gpu"} <= set(re.findall(r"Partition=(\S+)", ended))
    stores = open_stores(mongo_uri, create=False)
    try:
        found = list(stores.candidates.query(properties=["campaign", "index", "status"]))
    finally:
        stores.close()
    assert Counter(each["campaign"] for each in found) == {"first": 12, "second": 12}
    relaxed = Counter(each["campaign"] for each in found if each["status"] == "relaxed")
    assert relaxed == {"first": 2, "second": 2}, shown
    assert len(list((clone / "relaxed").glob("*.cif"))) == 2
    failed = json.loads((home / "status.json").read_text())["failures"]
    assert failed == []


def test_blocks_are_found():
    text = "a\n```bash\nx\ny\n```\nb\n<!-- wait: s t -->\n```yaml\nz\n```\n```bash\nw\n```\n"
    assert blocks(text) == ["x\ny\n", "run_out s t\n", "w\n"]
    assert len(blocks(PAGE.read_text())) > 10

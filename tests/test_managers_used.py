"""The line about jobflow-remote, FireWorks and MongoDB at the end of a run of the tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
import pytest
from managers_used import pytest_collection_modifyitems, pytest_sessionfinish

@pytest.fixture
def mongo_server():
    return "a server"

@pytest.fixture
def mongo_uri(mongo_server):
    return mongo_server

@pytest.fixture
def jf_project(mongo_uri):
    pass
"""
RUN = """
import pytest

def test_by_fixtures(jf_project):
    pass

@pytest.mark.mongo
class TestFireWorks:
    def test_by_names_and_marks(self):
        pass

    def test_fails_where_it_is_set_up(self, mongo_uri):
        pass

@pytest.mark.parametrize("jf", [1, 2])
def test_of_none(jf):
    pytest.skip("of no interest")
"""
SKIPPED = """
import pytest

@pytest.fixture
def absent():
    pytest.skip("not installed")

@pytest.mark.fireworks
def test_in_its_fixture(absent):
    pass

def test_itself(mongo_uri):
    pytest.skip("not there")

@pytest.mark.mongo
@pytest.mark.xfail(reason="as is known", strict=True)
def test_known_to_fail():
    assert False
"""
WHOLE_FILE = "import pytest\npytest.skip('not here', allow_module_level=True)\n"
MARKERS = "[pytest]\nmarkers =\n    jf\n    fireworks\n    mongo\n"


@pytest.fixture
def run(tmp_path):
    """Run some files of tests; return the exit status and the lines printed."""
    (tmp_path / "pytest.ini").write_text(MARKERS)
    (tmp_path / "conftest.py").write_text(CONFTEST)

    def run(files, *arguments, ci):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CI": ci}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.splitlines()

    return run


FILES = {"test_run.py": RUN, "test_some.py": SKIPPED, "test_jf_whole.py": WHOLE_FILE}
LAST = "jf: 1 run, 1 skipped; FireWorks: 2 run, 1 skipped; MongoDB: 4 run, 1 skipped"


def test_one_that_is_skipped_fails_a_run_of_continuous_integration(run):
    """In two processes, as `make test` runs them."""
    status, lines = run(FILES, "-p", "xdist", "-n", "2", ci="true")
    assert (status, lines[-1]) == (1, LAST)
    which = lines[-2].partition(": ")[2].split(", ")
    assert sorted(which) == [
        *("test_jf_whole.py", "test_some.py::test_in_its_fixture", "test_some.py::test_itself"),
    ]


def test_elsewhere_they_may_be_skipped(run):
    status, lines = run(FILES, ci="")
    assert (status, lines[-1]) == (0, LAST)


def test_others_may_be_skipped(run):
    status, lines = run({"test_run.py": RUN}, ci="true")
    assert (status, lines[-1]) == (
        0,
        "jf: 1 run, 0 skipped; FireWorks: 2 run, 0 skipped; MongoDB: 3 run, 0 skipped",
    )

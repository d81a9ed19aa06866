"""Output folders: all is there or nothing."""

import os
import signal
import subprocess
import sys

import pytest

from crystens_flows.cli.folders import FolderWriter
from crystens_flows.errors import OutputFolderError


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("exists", [False, True])
def test_the_folder_is_filled_at_the_end(tmp_path, exists):
    output = tmp_path / "output"
    if exists:
        output.mkdir()
    with FolderWriter(output) as writer:
        writer.path("a.cif").write_text("a")
        writer.save_rows("index.csv", [{"index": 0}])
        assert not (output / "a.cif").exists()
    assert names(tmp_path) == ["output", "output/a.cif", "output/index.csv"]


def test_the_working_folder_can_be_the_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with FolderWriter(type(tmp_path)()) as writer:
        writer.path("a.cif").write_text("a")
    assert names(tmp_path) == ["a.cif"]


@pytest.mark.parametrize("exists", [False, True])
def test_nothing_is_left_of_what_failed(tmp_path, exists):
    output = tmp_path / "of" / "mine" / "output"
    if exists:
        output.mkdir(parents=True)
    before = names(tmp_path)

    def write():
        with FolderWriter(output) as writer:
            writer.path("a.cif").write_text("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert names(tmp_path) == before


@pytest.mark.parametrize("exists", [False, True])
def test_what_was_killed_can_be_started_again(tmp_path, exists):
    output = tmp_path / "output"
    if exists:
        output.mkdir()
    code = (
        "import os, pathlib, signal, sys\n"
        "from crystens_flows.cli.folders import FolderWriter\n"
        "with FolderWriter(pathlib.Path(sys.argv[1])) as writer:\n"
        "    writer.path('old.cif').write_text('')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, output], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert any("old.cif" in name for name in names(tmp_path))
    with FolderWriter(output) as writer:
        writer.path("new.cif").write_text("")
    assert names(tmp_path) == ["output", "output/new.cif"]


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "file").write_text("")
    for used in (tmp_path, tmp_path / "file"):
        with pytest.raises(OutputFolderError, match="in use"):
            FolderWriter(used)
    assert names(tmp_path) == ["file"]


def test_an_error_of_writing_names_the_folder(tmp_path):
    with (
        pytest.raises(OutputFolderError, match=r"cannot write to .*/output: No such file"),
        FolderWriter(tmp_path / "output") as writer,
    ):
        writer.path("absent/a.cif").write_text("a")
    with pytest.raises(FileNotFoundError), FolderWriter(tmp_path / "output"):
        os.stat("input that is absent")  # noqa: PTH116
    assert names(tmp_path) == []

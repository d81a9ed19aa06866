from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystens_flows.init import Partition, Surroundings, look_around
from crystens_flows.init.resources import clock
from crystens_flows.init.surroundings import read_partitions

# as sinfo of SLURM 23.11 prints it: two kinds of nodes in "long", no limit in "debug"
SINFO = """\
short*|1:00:00|64|(null)|8
long|7-00:00:00|64|(null)|200
long|7-00:00:00|128+|(null)|40
a100|2-12:00:00|32|gpu:a100:4(S:0-1)|2
debug|infinite|16|(null)|1
"""
FOUND = (
    Partition("short", default=True, seconds=3600, cores=64, nodes=8),
    Partition("long", seconds=7 * 24 * 3600, cores=64, nodes=240),
    Partition("a100", seconds=60 * 3600, cores=32, gpus=True, nodes=2),
    Partition("debug", seconds=None, cores=16),
)


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def slurm(tmp_path):
    """An environment whose sbatch and sinfo say what they said on a cluster."""
    (tmp_path / "sinfo.txt").write_text(SINFO)
    program(tmp_path / "bin", "sinfo", f"cat '{tmp_path}/sinfo.txt'")
    program(tmp_path / "bin", "sbatch", "exit 1")
    return {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path)}


def test_partitions_are_read():
    assert read_partitions(SINFO) == FOUND
    assert read_partitions("") == ()
    assert read_partitions("slurm_load_partitions: Unable to contact slurm controller") == ()


@given(st.integers(0, 40), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_limits_of_any_form(days, hours, minutes, seconds):
    expected = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    text = f"{days}-{hours:02d}:{minutes:02d}:{seconds:02d}"
    (found,) = read_partitions(f"a|{text}|1|(null)|1")
    assert found.seconds == expected.total_seconds()
    if days == 0:
        (found,) = read_partitions(f"a|{clock(int(expected.total_seconds()))}|1|(null)|1")
        assert found.seconds == expected.total_seconds()


def test_slurm_is_found_out(slurm):
    found = look_around(slurm)
    assert found.slurm
    assert found.partitions == FOUND
    assert found.cpu_partition == FOUND[0]
    assert found.gpu_partition == FOUND[2]


def test_gpus_that_several_partitions_have():
    """As on a machine whose nodes are in all of them."""
    every, other, named = (Partition(name, gpus=True) for name in ("all", "other", "GPU2"))
    every = replace(every, default=True)
    machine = Surroundings("true", Path("/w"), partitions=(every, other, named))
    assert (machine.cpu_partition, machine.gpu_partition) == (every, named)
    machine = Surroundings("true", Path("/w"), partitions=(every, other))
    assert machine.gpu_partition == other
    assert Surroundings("true", Path("/w"), partitions=(every,)).gpu_partition == every


def test_slurm_whose_controller_is_down(slurm, tmp_path):
    program(tmp_path / "bin", "sinfo", "echo 'Unable to contact slurm controller' >&2; exit 1")
    found = look_around(slurm)
    assert found.slurm
    assert found.partitions == ()
    assert found.cpu_partition is None


def test_without_slurm(tmp_path):
    found = look_around({"PATH": str(tmp_path), "HOME": str(tmp_path)})
    assert not found.slurm
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.work_folder == tmp_path / "crystens-jobs"


def test_the_command_activates_this_python(tmp_path):
    activate = look_around().activate
    shown = subprocess.run(
        ["bash", "-c", f"{activate}\npython -c 'import sys; print(sys.prefix)'"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == sys.prefix


def test_the_scratch_folder_is_taken_where_it_can_be_written_to(tmp_path):
    environ = {"PATH": "", "HOME": str(tmp_path), "SCRATCH": str(tmp_path / "no")}
    assert look_around(environ).work_folder == tmp_path / "crystens-jobs"
    (tmp_path / "s").mkdir()
    assert look_around({**environ, "PSCRATCH": str(tmp_path / "s")}).work_folder == (
        tmp_path / "s" / "crystens"
    )


def test_variables_that_jobs_need_go_along_and_no_others():
    environ = {
        "PATH": "",
        "ATOMATE2_VASP_CMD": "srun 'vasp std'",
        "MP_API_KEY": "secret",
        "CRYSTENS_DB_PASSWORD": "secret",
    }
    found = look_around(environ)
    assert dict(found.exports) == {"ATOMATE2_VASP_CMD": "srun 'vasp std'"}
    shown = subprocess.run(
        ["bash", "-c", f'{found.commands}\necho "$ATOMATE2_VASP_CMD"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == "srun 'vasp std'"

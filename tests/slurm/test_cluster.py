"""The SLURM of the tests itself."""

from __future__ import annotations

import subprocess

import pytest
from slurm_cluster import SCRIPT, until

SCRIPT_OF_JOB = """\
#!/bin/bash
#SBATCH --partition=gpu
#SBATCH --gres=gpu:1
#SBATCH --ntasks=1
#SBATCH --time=3
echo "$SLURM_JOB_PARTITION $(srun echo step)"
"""


def test_a_job_runs_and_what_it_asked_for_is_noted(slurm, tmp_path):
    script = tmp_path / "job.sh"
    script.write_text(SCRIPT_OF_JOB)
    out = tmp_path / "out"
    job = slurm.ask("sbatch", "--parsable", f"--output={out}", str(script)).strip()
    until(lambda: any(each["JobId"] == job for each in slurm.ended()), seconds=60)
    assert out.read_text() == "gpu step\n"
    (ended,) = (each for each in slurm.ended() if each["JobId"] == job)
    assert (ended["JobState"], ended["Partition"], ended["TimeLimit"]) == ("COMPLETED", "gpu", "3")
    assert slurm.shown(job)["TresPerNode"] == "gres:gpu:1"


def test_what_keeps_it_from_starting_is_said(tmp_path, monkeypatch):
    """Nobody can write to the folder of the state, which is a file."""
    (tmp_path / "state").write_text("")
    run = subprocess.run(
        [str(SCRIPT), "start", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert "state" in run.stderr


def test_two_in_one_folder_are_refused(slurm):
    run = subprocess.run(
        [str(SCRIPT), "start", str(slurm.folder)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "runs in" in run.stderr
    assert slurm.ask("sinfo", "--noheader", "--format=%T").split()[0] in ("idle", "mixed")


@pytest.mark.parametrize("arguments", [(), ("start",), ("begin", "x")])
def test_usage(arguments, tmp_path):
    run = subprocess.run(
        [str(SCRIPT), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "start|stop FOLDER" in run.stderr

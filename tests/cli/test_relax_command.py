"""crystens relax: four relaxations of a person's own structures, and what would be run."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Incar, Kpoints, Poscar

from crystens_flows.stores import open_stores
from crystens_flows.testing import stand_in_command, write_potcars

EMT = ("--engine", "ase.calculators.emt.EMT")
IMPATIENT = """
from functools import partialmethod
from custodian import Custodian
from crystens_flows.cli import main

start = Custodian.__init__
Custodian.__init__ = partialmethod(start, polling_time_step=0.1, monitor_freq=300)
main()
"""
"""``crystens`` with a custodian that looks ten times a second whether VASP has ended."""


def fcc(element, a):
    sites = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    return Structure(Lattice.cubic(a), [element] * 4, sites)


def write_poscar(folder):
    """Write rock salt in its primitive cell, chlorine first."""
    lattice = Lattice([[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]])
    structure = Structure(lattice, ["Cl", "Na"], [[0.5, 0.5, 0.5], [0.01, 0, 0]])
    structure.to(str(folder / "POSCAR"), fmt="poscar")
    return "POSCAR"


@pytest.fixture
def metals(tmp_path):
    """Return a folder of copper, sodium (of which EMT knows nothing), and what is no CIF."""
    folder = tmp_path / "metals"
    folder.mkdir()
    fcc("Cu", 3.5).to(str(folder / "a-copper.cif"), fmt="cif")
    fcc("Na", 4.0).to(str(folder / "b-sodium.cif"), fmt="cif")
    (folder / "c-nothing.cif").write_text("no crystal at all")
    return folder


@pytest.fixture
def poscar(tmp_path):
    return write_poscar(tmp_path)


def command(*arguments):
    return [str(Path(sys.executable).with_name("crystens")), *map(str, arguments)]


def environment(folder, **others):
    left = {
        k: v for k, v in os.environ.items() if not k.startswith(("ATOMATE2", "PMG", "CRYSTENS"))
    }
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "COLUMNS": "200"}
    return {**left, **quiet, "HOME": str(folder), **others}


def test_structures_of_a_folder(crystens, metals, tmp_path):
    result = crystens("relax", metals, *EMT, "-o", "out", "--steps", "40", "--campaign", "mine")
    assert result.code == 0, result.err
    header, *rows = result.out.splitlines()
    assert header.split() == [
        *("index", "id", "formula", "E0", "E4", "P1", "P4", "volume_change", "space_group"),
        *("rmsd", "converged", "status"),
    ]
    assert [row.split()[-1] for row in rows] == ["relaxed", "failed", "unreadable"]
    assert "3 structures: relaxed 1, failed 1, unreadable 1" in result.err
    assert (
        f"failed: {metals}/b-sodium.cif: relaxation failed: step 1 of 4: NotImplementedError: "
        "No EMT-potential for Na (in out/run/jobs/crystens-relax-1_" in result.err
    )
    assert f"unreadable: {metals}/c-nothing.cif: " in result.err
    assert "crystens relax --resume -o out" in result.err
    folder = tmp_path / "out"
    assert [path.name for path in (folder / "relaxed").iterdir()] == ["0000-a-copper.cif"]
    assert (folder / "figure13.svg").read_text().startswith("<?xml")
    record = json.loads((folder / "relaxations.json").read_text())[0]
    assert record["E4"] < record["E0"]
    assert record["space_group"] == "225 -> 225"
    shown = crystens("candidates", "relaxations", "--store", "out/store", "--format", "json")
    candidates = json.loads(shown.out)
    assert [each["candidate_id"] for each in candidates] == [
        each["candidate_id"] for each in json.loads((folder / "relaxations.json").read_text())[:2]
    ]
    assert candidates[0]["E4"] == record["E4"]
    assert candidates[0]["rmsd"] == record["rmsd"]
    query = crystens("candidates", "query", "--store", "out/store", "--campaign", "mine")
    assert "2 candidates match" in query.err

    # again, and with --resume: nothing is done twice
    log = (folder / "run" / "progress.jsonl").read_text()
    again = crystens("relax", metals, *EMT, "-o", "out", "--steps", "40", "--campaign", "mine")
    resumed = crystens("relax", "--resume", "-o", "out", "--format", "csv")
    assert again.out == result.out
    assert [row["status"] for row in csv.DictReader(resumed.out.splitlines())] == [
        *("relaxed", "failed", "unreadable")
    ]
    lines = (folder / "run" / "progress.jsonl").read_text()[len(log) :].splitlines()
    assert {json.loads(line)["state"] for line in lines} == {"began", "failed"}


def test_with_a_potential_into_a_store_of_ones_own(crystens, metals, tmp_path):
    arguments = ("--engine", "chgnet", "--steps", "3", "--store", "mine", "-n", "2")
    result = crystens("relax", metals, "-o", "out", *arguments, "--format", "json")
    assert result.code == 0, result.err
    records = json.loads(result.out)
    assert [record["status"] for record in records] == ["relaxed", "relaxed"]
    assert all(record["engine"].startswith("CHGNet") for record in records)
    assert not (tmp_path / "out" / "store").exists()
    stores = open_stores(tmp_path / "mine", create=False)
    found = [each.candidate_id for each in stores.candidates.documents(status="relaxed")]
    stores.close()
    assert found == [record["candidate_id"] for record in records]
    plot = crystens("candidates", "relaxations", "--store", "mine", "--plot", "figure13.png")
    assert plot.code == 0, plot.err
    assert (tmp_path / "figure13.png").read_bytes().startswith(b"\x89PNG")


def test_none_relaxed_is_a_failure(crystens, metals, tmp_path):
    result = crystens("relax", metals / "b-sodium.cif", *EMT, "-o", "out")
    assert result.code == 1
    assert "relaxed 0, failed 1" in result.err
    assert (tmp_path / "out" / "relaxations.csv").is_file()
    assert not (tmp_path / "out" / "figure13.svg").exists()


def test_killed_it_goes_on(tmp_path):
    """After SIGKILL in a later step, --resume does what is left and no more."""
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "from ase.calculators.emt import EMT\n"
        "class Slow(EMT):\n"
        "    def calculate(self, *args, **kwargs):\n"
        "        time.sleep(0.02)\n"
        "        super().calculate(*args, **kwargs)\n"
    )
    for name, a in (("Cu", 3.5), ("Ni", 3.4)):
        fcc(name, a).to(str(tmp_path / f"{name}.cif"), fmt="cif")
    environ = environment(tmp_path, PYTHONPATH=str(tmp_path))
    log = tmp_path / "out" / "run" / "progress.jsonl"

    def finished():
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        done = [json.loads(line) for line in lines if line.endswith("\n")]
        return [each["job"] for each in done if each["state"] == "finished"]

    first = command("relax", "Cu.cif", "Ni.cif", "--engine", "slow.Slow", "-o", "out")
    with subprocess.Popen(
        first, cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        began = time.monotonic()
        while len(finished()) < 3:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() - began < 300
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    before = finished()
    assert len(before) < 11
    assert not (tmp_path / "out" / "summary.json").exists()
    for name in ("Cu", "Ni"):
        (tmp_path / f"{name}.cif").unlink()

    resumed = subprocess.run(
        command("relax", "--resume", "-o", "out"),
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "2 structures: relaxed 2, failed 0" in resumed.stderr
    after = finished()
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == 11  # read, and four steps and a summary for each


class TestVaspByAStandIn:
    """The whole way through atomate2, custodian and the store."""

    @pytest.fixture(scope="class")
    def ran(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("vasp")
        environ = environment(
            folder,
            ATOMATE2_VASP_CMD=stand_in_command("pair"),
            PMG_VASP_PSP_DIR=str(write_potcars(folder / "potcars", ["Na", "Cl"])),
        )
        fcc("Cu", 3.6).to(str(folder / "copper.cif"), fmt="cif")
        structures = (write_poscar(folder), "copper.cif")
        options = ("relax", *structures, "--engine", "vasp", "--steps", "3")
        results = [
            subprocess.run(
                [sys.executable, "-c", IMPATIENT, *options, *more],
                cwd=folder,
                env=environ,
                capture_output=True,
                text=True,
                check=False,
            )
            for more in (("--dry-run", "--format", "json"), ("-o", "out"))
        ]
        return folder, *results

    def test_it_is_marked_as_no_result_of_dft(self, ran):
        folder, _, result = ran
        assert result.returncode == 0, result.stderr
        assert "relaxed (stand-in)" in result.stdout
        assert "made by a stand-in for VASP: no results of DFT" in result.stderr
        assert "made by a stand-in" in (folder / "out" / "figure13.svg").read_text()
        record, _ = json.loads((folder / "out" / "relaxations.json").read_text())
        assert record["stand_in"] is True
        assert record["E4"] <= record["E0"]
        stores = open_stores(folder / "out" / "store", create=False)
        candidate = stores.candidates.get(record["candidate_id"])
        stores.close()
        assert (str(candidate.status), candidate.energy_per_atom) == ("rejected", None)
        assert "stand-in" in candidate.reason

    def test_an_element_without_a_potcar_does_not_stop_the_others(self, ran):
        folder, _, result = ran
        said, *_ = result.stderr.splitlines()
        assert said.startswith("POTCAR of Cu: no Cu of PBE_54: put it there as ")
        assert "2 structures: relaxed 1, failed 1, unreadable 0" in result.stderr
        _, copper = json.loads((folder / "out" / "relaxations.json").read_text())
        reason = "relaxation failed: step 1 of 4: no POTCAR of PBE_54 for Cu (label Cu)"
        assert copper["reason"].startswith(reason)
        assert Path(copper["failed_in"]).name.startswith("crystens-relax-1_")
        assert (folder / copper["failed_in"]).is_dir()

    def test_what_the_dry_run_printed_is_what_was_written(self, ran):
        """Read by pymatgen, it is the input that the stand-in found in the folder of step 1."""
        folder, shown, _ = ran
        assert shown.returncode == 0, shown.stderr
        record, _ = json.loads(shown.stdout)
        step = record["steps"][0]
        done = json.loads((folder / "out" / "relaxations.json").read_text())[0]["steps"][0]
        job = Path(done["dir_name"].split(":")[-1])
        assert Incar.from_str(step["incar"]) == Incar.from_file(job / "INCAR.gz")
        assert Incar.from_str(step["incar"])["NSW"] == 3
        assert Kpoints.from_str(step["kpoints"]) == Kpoints.from_file(job / "KPOINTS.gz")
        written = Poscar.from_file(job / "POSCAR.gz", check_for_potcar=False).structure
        assert Poscar.from_str(step["poscar"]).structure == written
        with gzip.open(job / "POTCAR.gz", "rt") as file:
            found = [line.split()[3] for line in file if "TITEL" in line]
        assert found == step["potcar"] == ["Na_pv", "Cl"]


class TestDryRun:
    EXPECTED = """\
# POSCAR: NaCl, 2 sites, engine vasp

## crystens relax 1, crystens relax 2, crystens relax 3, crystens relax 4
(each but the first takes from the step before: structure)

INCAR
EDIFF = 1e-05
EDIFFG = 1e-05
ENCUT = 400.0
GGA = Ps
IBRION = 2
ISIF = 3
ISMEAR = 0
NSW = 99
SIGMA = 0.1

KPOINTS
Automatic kpoint scheme
0
Gamma
3 3 3

POTCAR, of PBE_54
Na_pv Cl

POSCAR
Na1 Cl1
1.0
   0.0000000000000000    2.7999999999999998    2.7999999999999998
   2.7999999999999998    0.0000000000000000    2.7999999999999998
   2.7999999999999998    2.7999999999999998    0.0000000000000000
Na Cl
1 1
direct
   0.0100000000000000    0.0000000000000000    0.0000000000000000 Na
   0.5000000000000000    0.5000000000000000    0.5000000000000000 Cl
"""

    def test_vasp_needs_neither_vasp_nor_potcars(self, tmp_path, poscar):
        result = subprocess.run(
            command("relax", "--engine", "vasp", "--dry-run", poscar),
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout == self.EXPECTED
        assert result.stderr == ""
        assert [path.name for path in tmp_path.iterdir()] == ["POSCAR"]

    def test_each_structure_and_the_reason_of_those_left_out(self, crystens, metals, poscar):
        result = crystens("relax", metals, poscar, "--engine", "vasp", "--dry-run")
        assert result.code == 0
        titles = [line for line in result.out.splitlines() if line.startswith("# ")]
        assert titles == [
            f"# {metals}/a-copper.cif: Cu, 4 sites, engine vasp",
            f"# {metals}/b-sodium.cif: Na, 4 sites, engine vasp",
            "# POSCAR: NaCl, 2 sites, engine vasp",
        ]
        assert f"left out: {metals}/c-nothing.cif: " in result.err
        nothing = crystens("relax", metals / "c-nothing.cif", "--engine", "vasp", "--dry-run")
        assert (nothing.code, nothing.out) == (1, "")

    def test_comparable_with_the_materials_project(self, crystens, poscar):
        result = crystens("relax", poscar, "--engine", "vasp-mp", "--dry-run", "--format", "json")
        (record,) = json.loads(result.out)
        assert [step["step"] for step in record["steps"]] == [
            *(f"crystens relax {k}" for k in (1, 2, 3, 4)),
            "crystens relax static",
        ]
        static = Incar.from_str(record["steps"][-1]["incar"])
        assert (static["NSW"], static["ENCUT"]) == (0, 520)

    @pytest.mark.parametrize(
        ("engine", "words"),
        [
            ("chgnet", "calculator: chgnet\nsteps: 7\nfmax: 0.02\n"),
            ("gpaw", "  max_force: 0.01\n  max_stress: 0.5\n  max_ionic_steps: 7\n"),
            ("ase.calculators.emt.EMT", "  steps: 7\n  relax_kwargs:\n    fmax: 0.02\n"),
        ],
    )
    def test_parameters_of_others(self, crystens, poscar, engine, words):
        result = crystens("relax", poscar, "--engine", engine, "--steps", "7", "--dry-run")
        assert result.code == 0, result.err
        assert result.out.startswith(f"# POSCAR: NaCl, 2 sites, engine {engine}\n")
        assert words in result.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "give structures, or --resume and the folder of a run"),
        (("metals", "--engine", "magic"), 2, "--engine: there is no engine 'magic': known are"),
        (("metals", "--engine", "vasp-mp", "--steps", "3"), 1, "vasp-mp has no option --steps"),
        (("metals", *EMT, "--steps", "1"), 1, "give at least 2 with an ASE calculator"),
        (("metals", "--engine", "gone.Calculator"), 1, "cannot import the calculator"),
        (("metals", "--steps", "0"), 2, "--steps: 0 is not possible: give at least 1"),
        (("metals", "--fmax", "0"), 2, "--fmax: 0 is not possible"),
        (("nowhere",), 1, "nowhere does not exist"),
        (
            ("metals/c-nothing.cif",),
            1,
            "none of the 1 structures can be relaxed (metals/c-nothing.cif: unreadable",
        ),
        (("metals", "--store", "absent.yaml"), 1, "there is no store file absent.yaml"),
        (("metals", "--dry-run", "--format", "csv"), 2, "--dry-run prints text or JSON, no CSV"),
        (("--resume",), 1, "holds no run of 'crystens relax' to go on with"),
        (("metals", "--resume"), 2, "--resume takes no structures"),
        (("--resume", "--steps", "3"), 2, "--steps cannot be changed with --resume"),
        (("--resume", "--engine", "chgnet"), 2, "--engine cannot be changed with --resume"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(crystens, metals, tmp_path, arguments, code, words):
    result = crystens("relax", *arguments, "-o", "out")
    assert result.code == code
    assert result.err.startswith("error: ")
    assert words in result.err
    assert result.err.count("\n") == 1
    assert not result.out
    assert not (tmp_path / "out").exists()


def test_a_folder_below_a_file_is_named(crystens, metals, tmp_path):
    (tmp_path / "notes").write_text("mine")
    result = crystens("relax", metals, *EMT, "-o", "notes/out")
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "error: cannot write to notes/out: Not a directory: give another folder (-o, or 'folder' "
        "of a campaign)\n"
    )
    assert (tmp_path / "notes").read_text() == "mine"


def test_folders_in_use(crystens, metals, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    result = crystens("relax", metals, *EMT, "-o", "thesis")
    assert result.code == 1
    assert result.err == (
        "error: thesis is in use and holds no run of 'crystens relax': give another folder (-o, or "
        "'folder' of a campaign)\n"
    )
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]
    copper = metals / "a-copper.cif"
    assert crystens("relax", copper, *EMT, "-o", "out", "--steps", "2").code == 0
    before = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    for arguments, words in (
        ((copper, *EMT, "--steps", "3"), "out is in use by a run with steps 2, not 3"),
        ((metals, *EMT, "--steps", "2"), "out is in use by a run with structures_sha256"),
        ((copper, "--engine", "chgnet", "--steps", "2"), "with engine ase.calculators.emt.EMT"),
    ):
        result = crystens("relax", *arguments, "-o", "out")
        assert result.code == 1
        assert words in result.err
        assert result.err.count("\n") == 1
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == before


def test_what_vasp_lacks_is_said_before_anything_is_run(tmp_path, poscar):
    environ = environment(tmp_path, ATOMATE2_VASP_CMD="no-such-vasp")
    for arguments in (
        ("relax", poscar, "--engine", "vasp"),
        ("discover", "-n", "2", "--engine", "vasp"),
    ):
        result = subprocess.run(
            command(*arguments, "-o", "out"),
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 1
        assert result.stderr.startswith("error: engine vasp cannot run here: VASP command: ")
        assert "no-such-vasp is not found: set ATOMATE2_VASP_CMD" in result.stderr
        assert "'crystens check --engine vasp' lists all" in result.stderr
        assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["POSCAR"]


def test_options_from_a_file(crystens, metals, tmp_path):
    (tmp_path / "mine.yaml").write_text("engine: ase.calculators.emt.EMT\nsteps: 2\nnumber: 1\n")
    result = crystens("relax", metals, "--config", "mine.yaml", "-o", "out")
    assert result.code == 0, result.err
    assert "1 structures: relaxed 1" in result.err
    assert "steps: 2\n" in (tmp_path / "out" / "options.yaml").read_text()

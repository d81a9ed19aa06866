"""What is there and what is missing, before anything is run."""

from __future__ import annotations

import shutil
import sys

import pytest
import yaml

from crystens_flows.errors import CrystensError, InputError
from crystens_flows.preflight import (
    CheckStatus,
    check_engine,
    check_fireworks,
    check_folder,
    check_jobflow_remote,
    check_package,
    check_store,
    check_vasp_command,
    require,
    surroundings,
)
from crystens_flows.preflight.engines import elements_of
from crystens_flows.stores import open_stores
from crystens_flows.testing import stand_in_command, stand_in_environment

OK, MISSING, NOT_SET_UP = CheckStatus.OK, CheckStatus.MISSING, CheckStatus.NOT_SET_UP


@pytest.fixture
def _impatient(monkeypatch):
    """What does not answer, does not for long."""
    monkeypatch.setattr(surroundings, "TIMEOUT", 0.5)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return a function that puts a program of a name on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))

    def put(name):
        file = folder / name
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)

    return put


def by_name(checks):
    return {check.what: check for check in checks}


def test_packages():
    found = check_package("pymatgen", "all")
    assert (found.status, found.remedy, found.fails) == (OK, None, False)
    absent = check_package("no-such-package", "relax")
    assert (absent.status, absent.fails) == (MISSING, True)
    assert absent.remedy == "pip install 'crystens-flows[relax]'"
    assert check_package("no-such-package", "relax", needed=False).status == NOT_SET_UP


class TestVaspCommand:
    def test_as_it_is_without_settings(self, program, monkeypatch):
        monkeypatch.delenv("ATOMATE2_VASP_CMD", raising=False)
        found = check_vasp_command()
        assert found.status == MISSING
        assert found.found == "'vasp_std', set by default: vasp_std is not found"
        assert "ATOMATE2_VASP_CMD" in found.remedy
        program("vasp_std")
        assert check_vasp_command().found == "'vasp_std', set by default"

    @pytest.mark.parametrize(
        ("command", "there", "words"),
        [
            ("mpirun -n 4 vasp_std", ["mpirun"], "vasp_std is not found"),
            ("mpirun -n 4 vasp_std", ["vasp_std"], "mpirun is not found"),
            ("mpirun -n 4 vasp_std", ["mpirun", "vasp_std"], None),
            ("srun $MY_VASP", ["srun", "vasp_gam"], None),
            ("/usr/lib/vasp 'x", [], "cannot be read: No closing quotation"),
            ("", [], "it is empty"),
        ],
    )
    def test_launchers_and_variables(self, program, monkeypatch, command, there, words):
        monkeypatch.setenv("ATOMATE2_VASP_CMD", command)
        monkeypatch.setenv("MY_VASP", "vasp_gam")
        for name in there:
            program(name)
        found = check_vasp_command()
        assert found.fails == (words is not None)
        assert (words or "set as VASP_CMD") in found.found

    def test_from_the_file_of_settings(self, program, tmp_path, monkeypatch):
        monkeypatch.delenv("ATOMATE2_VASP_CMD", raising=False)
        (tmp_path / ".atomate2.yaml").write_text("VASP_CMD: my_vasp\n")
        assert "my_vasp is not found" in check_vasp_command().found
        program("my_vasp")
        assert check_vasp_command().found == "'my_vasp', set as VASP_CMD"

    def test_a_stand_in_is_named(self):
        found = check_vasp_command(stand_in_command())
        assert found.status == OK
        assert found.found.endswith("set by its maker: a stand-in, no VASP")
        assert sys.executable in found.found


class TestVasp:
    def test_labels_are_those_the_input_set_asks_for(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ATOMATE2_VASP_CMD", stand_in_command())
        with stand_in_environment(tmp_path) as folder:
            checks = by_name(check_engine("vasp", ["Na", "Cl", "Ti"]))
            assert not any(check.fails for check in checks.values())
            assert checks["POTCAR of Na"].found == "Na_pv of PBE_54, a stand-in"
            assert checks["POTCAR of Cl"].found == "Cl of PBE_54, a stand-in"
            # as atomate2 writes them
            from crystens_flows.jobs.engines import relax_maker

            labels = relax_maker("vasp").relax_maker_1.input_set_generator.config_dict["POTCAR"]
            assert checks["POTCAR of Ti"].found.startswith(f"{labels['Ti']} of ")
            (folder / "POT_GGA_PAW_PBE_54" / "POTCAR.Na_pv").unlink()
            (folder / "POT_GGA_PAW_PBE_54" / "POTCAR.Cl").write_text("nothing")
            checks = by_name(check_engine("vasp", ["Na", "Cl"]))
            assert checks["POTCAR of Na"].found == "no Na_pv of PBE_54"
            assert "POT_GGA_PAW_PBE_54/POTCAR.Na_pv" in checks["POTCAR of Na"].remedy
            assert "cannot be read" in checks["POTCAR of Cl"].found
            # of the elements of some structures only: others can run
            assert all(checks[f"POTCAR of {element}"].fails for element in ("Na", "Cl"))
            require(checks.values(), "vasp")
            # the Materials Project's are of another set
            checks = by_name(check_engine("vasp-mp", ["Na"]))
            assert checks["POTCAR of Na"].found == "Na_pv of PBE, a stand-in"

    def test_the_folder_of_potcars(self, tmp_path, monkeypatch):
        from pymatgen.core import SETTINGS

        monkeypatch.setenv("ATOMATE2_VASP_CMD", stand_in_command())
        for value, words in (
            (None, "PMG_VASP_PSP_DIR is not set"),
            (str(tmp_path / "absent"), "no folder"),
        ):
            monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", value)
            found = by_name(check_engine("vasp", ["Na"]))["POTCARs"]
            assert found.fails
            assert words in found.found
            assert "PMG_VASP_PSP_DIR" in found.remedy


def test_potentials_are_loaded_unless_it_is_to_be_quick():
    checks = by_name(check_engine("chgnet"))
    assert checks["weights of chgnet"].found.startswith("CHGNet 0.3.0, SHA-256 ")
    assert "weights of chgnet" not in by_name(check_engine("chgnet", quick=True))


def test_calculators():
    assert by_name(check_engine("ase.calculators.emt.EMT"))["calculator"].status == OK
    found = by_name(check_engine("ase.calculators.emt.Nothing"))["calculator"]
    assert found.fails
    assert "cannot import the calculator" in found.found
    with pytest.raises(InputError, match="no engine 'emt'"):
        check_engine("emt")


def test_all_engines_none_of_which_is_needed(monkeypatch):
    monkeypatch.setenv("ATOMATE2_VASP_CMD", "no-such-vasp")
    checks = check_engine(None, ["Na"])
    assert not any(check.fails for check in checks)
    names = [check.what for check in checks]
    assert {"chgnet", "sevenn", "gpaw", "VASP command"} <= set(names)
    assert len(names) == len(set(names))
    assert by_name(checks)["VASP command"].status == NOT_SET_UP


def test_what_is_missing_is_one_line():
    absent = [check_package(name, "vasp") for name in ("pymatgen", "absent-1", "absent-2")]
    words = (
        r"engine vasp cannot run here: absent-1: not installed: pip install 'crystens-flows\[vasp\]"
        r"'; and 1 more, 'crystens check --engine vasp' lists all"
    )
    with pytest.raises(CrystensError, match=words):
        require(absent, "vasp")
    require(absent[:1], "vasp")


def test_folders(tmp_path, monkeypatch):
    writable, space = check_folder(tmp_path / "not" / "yet")
    assert (writable.status, writable.found) == (OK, str(tmp_path))
    assert space.found == f"{shutil.disk_usage(tmp_path).free / 2**30:.1f} GiB free"
    refused, _ = check_folder("/proc/nothing")  # not even root writes there
    assert refused.fails
    monkeypatch.setattr(surroundings, "LOW_DISK", 2**62)  # no disk has as much
    _, space = check_folder(tmp_path)
    assert space.fails
    assert space.remedy == f"make room on the disk of {tmp_path}"


class TestStores:
    @pytest.fixture(autouse=True)
    def _no_settings(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("CRYSTENS_FLOWS_STORE", raising=False)

    def test_embedded(self, tmp_path, monkeypatch):
        assert check_store(None).found == "embedded, in the folder of each run"
        folder = tmp_path / "store"
        assert check_store(str(folder)).found == f"embedded, will be made in {folder}"
        assert not folder.exists()
        open_stores(folder).close()
        assert check_store(str(folder)).found == f"{folder}, 0 candidates"
        monkeypatch.setenv("CRYSTENS_FLOWS_STORE", str(folder))
        assert check_store(None).found == f"{folder}, 0 candidates"

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            ("mongodb://127.0.0.1:9/campaign", "cannot be reached"),
            ("mongodb://127.0.0.1:9", "names no database"),
            ("absent.yaml", "no store file"),
        ],
    )
    @pytest.mark.usefixtures("_impatient")
    def test_out_of_reach(self, spec, words):
        found = check_store(spec)
        assert found.fails
        assert words in found.found

    @pytest.mark.mongo
    def test_on_a_server(self, mongo_uri):
        found = check_store(mongo_uri)
        assert (found.status, found.found) == (OK, f"{mongo_uri}, 0 candidates")


class TestManagers:
    @pytest.fixture
    def projects(self, tmp_path, monkeypatch):
        remote = pytest.importorskip("jobflow_remote", reason="the extra remote brings it")
        folder = tmp_path / "projects"
        folder.mkdir()
        monkeypatch.setattr(remote.SETTINGS, "projects_folder", str(folder))
        monkeypatch.setattr(remote.SETTINGS, "project", None)
        return folder

    def project(self, folder, uri, **others):
        store = {"type": "MongoURIStore", "uri": uri, "database": "x", "collection_name": "jobs"}
        content = {
            "name": "crystals",
            "jobstore": {"docs_store": store, "additional_stores": {"data": store}},
            "queue": {"store": store},
            "workers": {
                "here": {"type": "local", "scheduler_type": "shell", "work_dir": str(folder)},
            },
            **others,
        }
        (folder / "crystals.yaml").write_text(yaml.safe_dump(content))

    @pytest.mark.usefixtures("projects")
    def test_no_project_is_no_failure(self):
        (found,) = check_jobflow_remote()
        assert (found.status, found.fails) == (NOT_SET_UP, False)
        assert "jf project generate" in found.remedy

    @pytest.mark.mongo
    @pytest.mark.jf
    def test_a_project_that_works(self, projects, mongo_uri):
        self.project(projects, mongo_uri)
        checks = by_name(check_jobflow_remote())
        assert {check.status for check in checks.values()} == {OK}
        assert checks["jobflow-remote project"].found == "crystals"
        assert checks["worker here"].found == f"local, shell, {projects}"

    @pytest.mark.usefixtures("_impatient")
    def test_what_a_project_lacks(self, projects):
        uri = "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200"
        worker = {"type": "local", "scheduler_type": "shell", "work_dir": "/proc/nothing"}
        store = {"type": "MemoryStore"}
        self.project(projects, uri, workers={"here": worker}, jobstore={"docs_store": store})
        checks = by_name(check_jobflow_remote())
        assert "Connection refused" in checks["jobflow-remote queue"].found
        assert "no additional store 'data'" in checks["jobflow-remote outputs"].found
        assert checks["worker here"].status == MISSING
        assert not any(check.fails for check in checks.values())
        self.project(projects, uri, workers={})
        assert by_name(check_jobflow_remote())["jobflow-remote workers"].found == "none"

    @pytest.mark.mongo
    def test_fireworks(self, tmp_path, monkeypatch, mongo_uri):
        config = pytest.importorskip("fireworks.fw_config", reason="the extra brings it")
        monkeypatch.setattr(config, "LAUNCHPAD_LOC", None)
        (found,) = check_fireworks()
        assert (found.status, found.found) == (NOT_SET_UP, "no my_launchpad.yaml")
        file = tmp_path / "my_launchpad.yaml"
        monkeypatch.setattr(config, "LAUNCHPAD_LOC", str(file))
        file.write_text(yaml.safe_dump({"host": mongo_uri, "name": "fw", "uri_mode": True}))
        (found,) = check_fireworks()
        assert (found.status, found.found) == (OK, str(file))
        file.write_text(yaml.safe_dump({"host": "127.0.0.1", "port": 9, "name": "fw"}))
        (found,) = check_fireworks()
        assert (found.status, found.fails) == (MISSING, False)
        assert "refused" in found.found


def test_symbols():
    assert elements_of("Na, Cl,Na") == ["Cl", "Na"]
    assert elements_of("") == []
    with pytest.raises(InputError, match="'Xx' is not the symbol"):
        elements_of("Na,Xx")

"""Files written by ``crystens init``, read by the programs they are for."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jobflow import JobStore, job

from authenticating_proxy import asking_for_password
from crystens_flows.candidates import CandidateStore
from crystens_flows.init import Backend, Partition, Surroundings, config_files
from crystens_flows.init.connection import Connection
from crystens_flows.init.examples import CLUSTER, example_files
from crystens_flows.stores import ensure_indexes, open_stores

STORES = Path(__file__).parents[2] / "stores"
SECRET = "pass word:1/2@3"


@pytest.fixture
def guarded_uri(mongo_uri, monkeypatch):
    """URI of the test's database behind a password, which is in the environment."""
    host, port, database = re.fullmatch(r"mongodb://(.*):(\d+)/(\w+)", mongo_uri).groups()
    monkeypatch.setenv("CRYSTENS_DB_PASSWORD", SECRET)
    with asking_for_password(host, int(port), "anna", SECRET) as guarded:
        yield f"mongodb://anna@127.0.0.1:{guarded}/{database}"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run(*command, **environ):
    result = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        env={**os.environ, "COLUMNS": "200", "PYTHONWARNINGS": "ignore", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    return result.returncode, result.stdout + result.stderr


@job
def add(a, b):
    return a + b


@pytest.mark.mongo
class TestJobflowRemote:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("jobflow_remote", reason="the extra 'remote' brings it")

    @pytest.mark.slow
    def test_the_project_is_found_and_its_stores_answer(self, crystens, guarded_uri, tmp_path):
        result = crystens("init", "--backend", "jf", "--store", guarded_uri, "-o", "projects")
        assert result.code == 0, result.err
        file = tmp_path / "projects" / "crystens.yaml"
        assert mode(file) == 0o600
        assert mode(file.parent) == 0o700
        assert "holds the password: mode 600" in result.err
        assert SECRET not in result.out + result.err
        # in a terminal of its own, as for a person: else qtoolkit lists all processes of root
        terminal = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
        jf = str(Path(sys.executable).with_name("jf"))
        for part in (["--queue"], ["--jobstore"], ["--worker", "local"]):  # SLURM need not run
            code, text = run(
                *("python", "-c", terminal, jf, "project", "check", "--errors", *part),
                JFREMOTE_PROJECTS_FOLDER=str(file.parent),
            )
            assert code == 0, text
            assert "The project configuration is correct" in text, text
            assert SECRET not in text
        stores = open_stores(file)
        assert stores.job_store.count() == 0
        assert SECRET not in repr(stores)
        stores.close()

    @pytest.mark.slow
    def test_jobs_run_on_its_workers(self, crystens, guarded_uri, tmp_path, monkeypatch):
        from jobflow_remote import submit_flow
        from jobflow_remote.config.base import LogLevel
        from jobflow_remote.jobs.runner import Runner
        from jobflow_remote.utils.examples import add

        assert crystens("init", "--backend", "jf", "--store", guarded_uri, "-o", "p").code == 0
        file = tmp_path / "p" / "crystens.yaml"
        monkeypatch.setattr("jobflow_remote.SETTINGS.projects_folder", str(file.parent))
        submit_flow(add(1, 2), worker="local")  # its own: a worker must be able to import it
        runner = Runner(project_name="crystens", log_level=LogLevel.WARN)
        runner.runner_options.delay_checkout = runner.runner_options.delay_check_run_status = 1
        runner.runner_options.delay_advance_status = 1
        runner.run_all_jobs(max_seconds=300)
        stores = open_stores(file)
        found = sorted(doc["output"] for doc in stores.job_store.query())
        stores.close()
        assert found == [3]
        written = [path for path in (tmp_path / "crystens-jobs").rglob("*") if path.is_file()]
        assert written
        assert not [path for path in written if SECRET.encode() in path.read_bytes()]


@pytest.mark.mongo
class TestFireWorks:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("fireworks", reason="the extra 'fireworks' brings it")

    def test_its_programs_read_the_files(self, crystens, guarded_uri, tmp_path):
        from fireworks import FWorker

        result = crystens("init", "--backend", "fireworks", "--store", guarded_uri, "-o", "fw")
        assert result.code == 0, result.err
        assert SECRET not in result.out + result.err
        folder = tmp_path / "fw"
        secret = {path.name for path in folder.iterdir() if mode(path) == 0o600}
        assert secret == {"my_launchpad.yaml", "store.yaml"}
        for path in folder.iterdir():
            assert (SECRET in path.read_text()) == (path.name in secret)
        code, text = run("lpad", "-l", str(folder / "my_launchpad.yaml"), "get_fws")
        assert (code, text.strip()) == (0, "[]")
        code, text = run("lpad", "get_fws", FW_CONFIG_FILE=str(folder / "FW_config.yaml"))
        assert (code, text.strip()) == (0, "[]")
        gpu = FWorker.from_file(str(folder / "fworker_gpu.yaml"))
        assert gpu.query["spec._category"] == "gpu"

    def test_each_worker_takes_its_jobs_and_no_document_has_the_password(
        self, crystens, guarded_uri, mongo_uri, tmp_path, monkeypatch
    ):
        import contextlib
        import io

        from fireworks import FWorker, LaunchPad
        from fireworks.core.rocket_launcher import rapidfire
        from jobflow.managers.fireworks import flow_to_workflow
        from jobflow.settings import JobflowSettings
        from pymongo import MongoClient

        assert (
            crystens("init", "--backend", "fireworks", "--store", guarded_uri, "-o", "fw").code == 0
        )
        folder = tmp_path / "fw"
        monkeypatch.setenv("JOBFLOW_CONFIG_FILE", str(folder / "jobflow.yaml"))
        monkeypatch.setattr("jobflow.SETTINGS", JobflowSettings())
        launchpad = LaunchPad.from_file(str(folder / "my_launchpad.yaml"))
        for category in ("gpu", "cpu", None):
            one = add(1, 2)
            one.name = f"add {category}"
            if category:
                one.update_config({"manager_config": {"_category": category}})
            launchpad.add_wf(flow_to_workflow(one))
        done = {}
        for name in ("gpu", "cpu"):
            worker = FWorker.from_file(str(folder / f"fworker_{name}.yaml"))
            with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
                rapidfire(launchpad, fworker=worker, strm_lvl="CRITICAL")
            ids = launchpad.get_fw_ids({"state": "COMPLETED"})
            done[name] = {launchpad.get_fw_by_id(each).name for each in ids}
        assert done["gpu"] == {"add gpu"}
        assert done["cpu"] == {"add gpu", "add cpu", "add None"}
        stores = open_stores(folder / "store.yaml")
        assert stores.job_store.count() == 3
        stores.close()
        with MongoClient(mongo_uri) as client:
            database = client.get_default_database()
            for name in database.list_collection_names():
                assert SECRET not in str(list(database[name].find())), name


@pytest.mark.mongo
def test_local_files_name_the_variable_of_the_password(crystens, guarded_uri, tmp_path):
    result = crystens("init", "--backend", "local", "--store", guarded_uri, "-o", "here")
    assert result.code == 0, result.err
    file = tmp_path / "here" / "store.yaml"
    assert SECRET not in file.read_text() + result.out + result.err
    assert "${CRYSTENS_DB_PASSWORD}" in file.read_text()
    assert JobStore.from_file(file).docs_store.collection_name == "outputs"
    stores = open_stores(file)
    assert stores.candidates.count() == 0
    stores.close()


@pytest.mark.mongo
def test_the_indexes_that_queries_use(crystens, mongo_uri, tmp_path):
    assert crystens("init", "--backend", "local", "--store", mongo_uri, "-o", "x").code == 0
    stores = open_stores(tmp_path / "x" / "store.yaml", create=False)
    ensure_indexes(stores)
    docs = stores.job_store.docs_store._collection
    data = stores.job_store.additional_stores["data"]._files_collection
    candidates = stores.candidates.store._collection
    asked = [
        (docs, {"uuid": {"$in": ["a"]}}),
        (docs, {"output.stage": {"$in": ["decode"]}}),
        (data, {"metadata.blob_uuid": "a"}),
        (data, {"metadata.job_uuid": "a"}),
        (candidates, {"candidate_id": {"$in": ["c"]}}),
        (candidates, {"formula": "NaCl"}),
        (candidates, {"status": "relaxed"}),
    ]
    for collection, criteria in asked:
        (field,) = criteria
        indexes = [index["key"][0][0] for index in collection.index_information().values()]
        assert field in indexes, (collection.name, field)
        plan = explained(collection, criteria)
        assert plan is None or "IXSCAN" in plan, (collection.name, field, plan)
    stores.close()


def explained(collection, criteria):
    """Return the plan of the server, None where it tells of none."""
    from pymongo.errors import OperationFailure

    try:
        return str(collection.find(criteria).explain()["queryPlanner"]["winningPlan"])
    except OperationFailure as exc:
        if "no such command" not in str(exc):
            raise
        return None


def test_embedded_stores(crystens, tmp_path):
    result = crystens("init", "--backend", "local", "--store", "found")
    assert result.code == 0, result.err
    job_store = JobStore.from_file(tmp_path / "store.yaml")
    job_store.connect()
    assert job_store.count() == 0
    stores = open_stores(tmp_path / "store.yaml", create=False)
    assert isinstance(stores.candidates, CandidateStore)
    assert (tmp_path / "found" / "db" / "candidates.collection").is_file()


def test_files_that_exist_are_named_and_kept(crystens, tmp_path):
    (tmp_path / "store.yaml").write_text("mine")
    result = crystens("init", "--backend", "local")
    assert result.code == 1
    assert f"{tmp_path}/store.yaml exists: give another folder with -o, or --force" in result.err
    assert (tmp_path / "store.yaml").read_text() == "mine"
    assert not (tmp_path / "crystens-out").exists()
    result = crystens("init", "--backend", "local", "--force")
    assert result.code == 0
    assert "store.yaml, replaced" in result.err
    assert "docs_store" in (tmp_path / "store.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--backend", "jf"), "backend jf needs MongoDB: give --store mongodb://USER@HOST"),
        (("--backend", "fireworks", "--store", "folder"), "backend fireworks needs MongoDB"),
        (("--backend", "jf", "--store", "mongodb://a:hunter2@h"), "names no database"),
        (
            ("--backend", "jf", "--store", "mongodb://a:hun/ter2@h/x"),
            "not a URI of the form mongodb://USER@HOST:27017/DATABASE: put",
        ),
        (("--backend", "jf", "--store", "mongodb://a:hunter2@127.0.0.1:9/x"), "cannot be reached"),
        (("--backend", "local", "--store", "a.yaml"), "is a store file already"),
    ],
)
def test_wrong_stores_write_nothing(crystens, tmp_path, monkeypatch, arguments, named):
    monkeypatch.delenv("CRYSTENS_DB_PASSWORD", raising=False)
    result = crystens("init", *arguments, "-o", "out")
    assert result.code == 1
    assert named in result.err
    assert "ter2" not in result.out + result.err
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_leaves_no_store(crystens, tmp_path):
    (tmp_path / "notes").write_text("mine")
    result = crystens("init", "--backend", "local", "--store", "found", "-o", "notes")
    assert result.code == 1
    assert result.err == (
        f"error: cannot write to {tmp_path}/notes: {tmp_path}/notes is no folder that can be "
        "written to: give another folder with -o\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_the_files_kept_as_examples_are_what_init_writes():
    kept = {
        str(path.relative_to(STORES)): path.read_text()
        for path in STORES.glob("*/*")
        if path.is_file()
    }
    assert kept == example_files()


def test_slurm_scripts_of_the_workers():
    pytest.importorskip("jobflow_remote", reason="the extra 'remote' brings it")
    from jobflow_remote.config.base import Project

    (file,) = config_files(Backend.JF, Path("/p"), CLUSTER, Connection())
    project = Project.model_validate(yaml.safe_load(file.text))
    scripts = {}
    for name, worker in project.workers.items():
        scheduler = worker.get_scheduler_io()
        scripts[name] = scheduler.get_submission_script("run", options=worker.resources)
    assert "#SBATCH" not in scripts["local"]
    assert "#SBATCH --ntasks=64\n" in scripts["cpu"]
    assert "#SBATCH --gres=gpu:1\n" in scripts["gpu"]
    assert "#SBATCH --partition=gpu\n" in scripts["gpu"]
    assert "#SBATCH --time=24:00:00\n" in scripts["batch"]
    assert project.workers["batch"].is_batch
    assert project.workers["batch"].batch.max_time < 24 * 3600
    assert project.workers["batch"].batch.max_wait == 300


def test_slurm_scripts_of_fireworks(tmp_path):
    pytest.importorskip("fireworks", reason="the extra 'fireworks' brings it")
    from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

    for file in config_files(Backend.FIREWORKS, tmp_path, CLUSTER, Connection()):
        (tmp_path / file.name).write_text(file.text)
    gpu = CommonAdapter.from_file(str(tmp_path / "qadapter_gpu.yaml"))
    script = gpu.get_script_str(str(tmp_path))
    lines = script.splitlines()
    for line in (
        "#SBATCH --gres=gpu:1",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --time=12:00:00",
        "#SBATCH --partition=gpu",
        "source /path/to/venv/bin/activate",
        f"export JOBFLOW_CONFIG_FILE={tmp_path}/jobflow.yaml",
    ):
        assert line in lines, script
    assert f"-w {tmp_path}/fworker_gpu.yaml singleshot" in script  # qlaunch -r takes no other
    cpu = CommonAdapter.from_file(str(tmp_path / "my_qadapter.yaml"))
    assert "#SBATCH --ntasks=64" in cpu.get_script_str(str(tmp_path)).splitlines()


def test_a_cluster_without_gpus_has_a_gpu_worker_all_the_same():
    machine = Surroundings(
        "true", Path("/w"), slurm=True, partitions=(Partition("only", default=True, cores=2),)
    )
    (file,) = config_files(Backend.JF, Path("/p"), machine, Connection())
    assert "No partition has GPUs, so gpu is as cpu." in file.text
    workers = yaml.safe_load(file.text)["workers"]
    assert workers["gpu"]["resources"]["partition"] == "only"
    assert "gres" not in workers["gpu"]["resources"]
    # on the only node there is, a batch that waits keeps all others from running
    assert workers["batch"]["batch"]["max_wait"] == 20

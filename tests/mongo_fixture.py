"""A MongoDB-protocol server for the tests that are marked ``mongo``."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER = Path(__file__).parent / "mongo_server"


@contextlib.contextmanager
def serve(folder: Path, memory: str = "1g") -> Iterator[str | None]:
    """
    Give the URI of a server without a database, started in a folder unless one is named.

    None where it is not set up. `memory` is what Java may use.
    """
    if given := os.environ.get("CRYSTENS_FLOWS_TEST_MONGO_URI"):
        yield given.rstrip("/")
        return
    if shutil.which("mongod"):
        port = _free_port()
        command = ["mongod", "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1"]
    else:
        if shutil.which("java") is None or not list((SERVER / "lib").glob("*.jar")):
            yield None
            return
        port = 0
        command = ["java", f"-Xmx{memory}", "-cp", str(SERVER / "lib" / "*")]
        command += [str(SERVER / "TestMongoServer.java"), "0", str(folder / "mongo.mv")]
    log = folder / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        yield f"mongodb://127.0.0.1:{_wait(process, port, log)}"
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of a server, without a database."""
    with serve(tmp_path_factory.mktemp("mongo")) as uri:
        if uri is None:
            pytest.fail("the test database is not set up: `make test` does it", pytrace=False)
        yield uri


@pytest.fixture
def mongo_uri(mongo_server: str) -> Iterator[str]:
    """URI of a database of the test's own."""
    from pymongo import MongoClient
    from pymongo.errors import OperationFailure

    base, _, options = mongo_server.partition("?")
    name = f"crystens_test_{uuid.uuid4().hex[:12]}"
    yield f"{base.rstrip('/')}/{name}" + (f"?{options}" if options else "")
    # mongo-java-server cannot drop what jobflow-remote has made and dropped indexes of
    with MongoClient(mongo_server) as client, contextlib.suppress(OperationFailure):
        client.drop_database(name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen, port: int, log: Path) -> int:
    """Return the port once something listens on it."""
    for _ in range(600):
        if process.poll() is not None:
            break
        first = log.read_text().partition("\n")[0]
        known = port or (int(first) if first.isdigit() else 0)
        if known:
            try:
                socket.create_connection(("127.0.0.1", known), timeout=1).close()
            except OSError:
                pass
            else:
                return known
        time.sleep(0.1)
    pytest.fail(f"the test database did not start: {log.read_text()[-2000:]}", pytrace=False)

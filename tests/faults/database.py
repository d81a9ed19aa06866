"""A database server of a test's own, which it may kill and start again on what it had."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import uuid

import bson
import pytest

from authenticating_proxy import _answer, _read
from mongo_fixture import SERVER, _free_port, _wait


class Database:
    """A server on one file or folder and one port."""

    def __init__(self, folder):
        if os.environ.get("CRYSTENS_FLOWS_TEST_MONGO_URI"):
            pytest.skip("the server that CRYSTENS_FLOWS_TEST_MONGO_URI names is not to be killed")
        self.folder = folder
        folder.mkdir()
        self.port = _free_port()
        self.start()

    def start(self):
        port = str(self.port)
        if shutil.which("mongod"):
            command = ["mongod", "--dbpath", str(self.folder), "--port", port]
            command += ["--bind_ip", "127.0.0.1"]
        else:
            command = ["java", "-Xmx1g", "-cp", str(SERVER / "lib" / "*")]
            command += [str(SERVER / "TestMongoServer.java"), port, str(self.folder / "mongo.mv")]
        log = self.folder / "server.log"
        with log.open("wb") as stream:
            self.process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        _wait(self.process, self.port, log)

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def uri(self, port=None):
        return f"mongodb://127.0.0.1:{port or self.port}/crystens_{uuid.uuid4().hex[:8]}"


class Refusing:
    """A port before a server that refuses to write to a collection as long as it is told to."""

    def __init__(self, port, collection):
        self.behind, self.collection = port, collection
        self.refuses = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.behind))
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client, server):
        with contextlib.suppress(EOFError, OSError), client, server:
            while True:
                request = _read(client)
                command = {}
                if request[12:16] == b"\xdd\x07\x00\x00" and request[20] == 0:
                    size = int.from_bytes(request[21:25], "little")
                    command = bson.decode(request[21 : 21 + size])
                name = next(iter(command), "")
                writes = name in ("insert", "update", "delete", "findAndModify")
                if writes and command[name] == self.collection and self.refuses.is_set():
                    said = {"ok": 0.0, "errmsg": "not authorized to write", "code": 13}
                    client.sendall(_answer(request, said))
                else:
                    server.sendall(request)
                    client.sendall(_read(server))

"""A server that answers as the Materials Project does, for what the tests ask of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "0123456789abcdef0123456789abcdef"

Query = dict[str, str]


class MaterialsProjectServer(ThreadingHTTPServer):
    """
    Answers to who has the key.

    Parameters
    ----------
    search
        Finds the documents of a query; the server leaves the fields asked for, and makes pages.
    """

    def __init__(self, search: Callable[[Query], list[dict[str, Any]]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.search = search
        self.queries: list[tuple[str, Query]] = []

    def run(self, script: str, argument: Any) -> Any:
        """
        Run a script in a process of its own: the client takes its address when it is imported.

        Parameters
        ----------
        script
            Python code, which finds the argument as JSON in ``sys.argv[1]``.
        argument
            Anything that JSON holds.

        Returns
        -------
        Any
            What the script printed last, which has to be JSON.
        """
        host, port = self.server_address[:2]
        environment = {**os.environ, "MP_API_ENDPOINT": f"http://{host}:{port}/", "NO_PROXY": host}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script, json.dumps(argument)],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return json.loads(done.stdout.splitlines()[-1])


class _Handler(BaseHTTPRequestHandler):
    server: MaterialsProjectServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.server.queries.append((url.path, query))
        if url.path == "/heartbeat":
            self.answer(
                {"version": "0.87.3", "db_version": "2026.1.1", "access_controlled_batch_ids": []}
            )
        elif self.headers.get("x-api-key") != KEY:
            self.answer({"detail": "Invalid authentication credentials"}, status=401)
        else:
            fields = query["_fields"].split(",")
            docs = [{name: doc[name] for name in fields} for doc in self.server.search(query)]
            start = int(query.get("_skip", 0))
            page = docs[start : start + int(query.get("_limit", 100))]
            self.answer({"data": page, "meta": {"total_doc": len(docs)}})

    def answer(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Stay silent."""


@contextmanager
def materials_project(
    search: Callable[[Query], list[dict[str, Any]]],
) -> Iterator[MaterialsProjectServer]:
    """Run a server as long as a test wants it."""
    with MaterialsProjectServer(search) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

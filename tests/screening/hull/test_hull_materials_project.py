from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from crystens_flows.errors import DatasetError, InputError
from crystens_flows.screening.hull import HullReference

pytest.importorskip("mp_api.client", reason="needs the extra mp")

KEY = "0123456789abcdef0123456789abcdef"
FIELDS = ("material_id", "formula_pretty", "formation_energy_per_atom")
ENTRIES = [
    ("mp-22862", "NaCl", "Cl-Na", -2.1),
    ("mp-149", "Na", "Na", 0.0),
    ("mp-13", "Cl2", "Cl", 0.0),
    ("mp-2", "KCl", "Cl-K", -2.2),
]


class Server(BaseHTTPRequestHandler):
    """The part of the Materials Project's interface that asks for thermodynamics."""

    def do_GET(self):
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
            systems = query["chemsys"].split(",")
            fields = query["_fields"].split(",")
            docs = [
                {
                    "material_id": name,
                    "formula_pretty": formula,
                    "formation_energy_per_atom": energy,
                }
                for name, formula, system, energy in ENTRIES
                if system in systems
            ]
            data = [{name: doc[name] for name in fields} for doc in docs]
            start = int(query.get("_skip", 0))
            page = data[start : start + int(query.get("_limit", 100))]
            self.answer({"data": page, "meta": {"total_doc": len(data)}})

    def answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Stay silent."""


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.queries = []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


READ = """
import json, sys, warnings
warnings.simplefilter("ignore")
from crystens_flows.errors import DatasetError
from crystens_flows.screening.hull import HullReference
for systems, key in json.loads(sys.argv[1]):
    try:
        reference = HullReference.from_materials_project(systems, api_key=key)
        results = reference.evaluate(["NaCl", "NaK", "Na", "KCl"], [-2.0, 0.0, 0.1, -2.0])
        print(json.dumps([reference.ids, reference.name,
                          [r.energy_above_hull for r in results], [r.reason for r in results]]))
    except DatasetError as error:
        print(json.dumps(str(error)))
"""


def read_from(server, *queries):
    """Read in a process of its own: the client takes its address when it is imported."""
    host, port = server.server_address
    environment = {**os.environ, "MP_API_ENDPOINT": f"http://{host}:{port}/", "NO_PROXY": host}
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(queries)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()[-len(queries) :]]


def test_queries(server):
    found, nothing, refused = read_from(
        server, (["Na-Cl", "K-Cl", "Cl-Na"], KEY), (["Li"], KEY), (["Na-Cl"], KEY[::-1])
    )
    ids, name, above_hull, reasons = found
    assert ids == ["mp-13", "mp-149", "mp-2", "mp-22862"]
    assert "GGA_GGA+U" in name
    assert above_hull == [pytest.approx(0.1), None, pytest.approx(0.1), pytest.approx(0.2)]
    # nobody asked for this system, so that having no entry of it says nothing
    assert reasons == [None, "chemical system not in the reference: K-Na", None, None]
    asked = [query for path, query in server.queries if "thermo" in path]
    systems = {system for query in asked for system in query["chemsys"].split(",")}
    assert systems == {"Na", "Cl", "K", "Cl-Na", "Cl-K", "Li"}
    assert {query["thermo_types"] for query in asked} == {"GGA_GGA+U"}
    assert "no entries in Li" in nothing
    assert "gave no answer" in refused
    assert "check the API key" in refused
    assert "\n" not in refused


def test_without_a_key(monkeypatch):
    from pymatgen.core import SETTINGS

    monkeypatch.delenv("MP_API_KEY", raising=False)
    monkeypatch.delitem(SETTINGS, "PMG_MAPI_KEY", raising=False)
    with pytest.raises(DatasetError, match=r"API key: give api_key or set MP_API_KEY.*shipped"):
        HullReference.from_materials_project(["Na-Cl"])


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        (["Na-Xq"], "'Na-Xq' holds 'Xq', which is no element"),
        (["Na-*"], "which is no element"),
        ([], "no chemical systems"),
        (["-".join(["H", "Li", "Be", "B", "C", "N", "O", "F", "Na", "Mg", "Al"])], "at most 10"),
    ],
)
def test_no_chemical_system(systems, message):
    with pytest.raises(InputError, match=message.replace("*", r"\*")):
        HullReference.from_materials_project(systems, api_key=KEY)

"""The command that serves a store: it answers, follows the store, and ends when it is told to."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from crystens_flows.campaign import backends
from crystens_flows.campaign.backends import Backend
from crystens_flows.cli import app
from crystens_flows.cli.explore import _asking, _port
from crystens_flows.errors import InputError, StoreError
from crystens_flows.stores import open_stores

SERVE = (
    # a process that a shell put in the background takes no SIGINT, one below nohup no SIGHUP
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL);"
    "import sys; from crystens_flows.cli import main; sys.argv[0] = 'crystens'; main()"
)


def document(number):
    return {
        "candidate_id": f"c-{number:03}",
        "campaign": "mine",
        "index": number,
        "status": "decoded",
        "formula": "NaCl",
        "last_updated": datetime.now(tz=UTC),
    }


def page(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read().decode()


def serving(folder):
    arguments = ["explore", "--store", str(folder / "store"), "--port", "0", "--interval", "0.2"]
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "TMPDIR": str(folder)},
    )


def ends(process, number, folder):
    process.send_signal(number)
    _, rest = process.communicate(timeout=30)
    assert process.returncode in (0, 130)
    assert "Traceback" not in rest
    assert not list(folder.glob("crystens-explore-*"))


def test_serves_a_store_and_follows_it(tmp_path):
    stores = open_stores(tmp_path / "store")
    stores.candidates.store.update([document(0)])
    process = serving(tmp_path)
    try:
        said = process.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", said)[0]
        end = time.monotonic() + 30
        while "c-000" not in page(address) and time.monotonic() < end:
            time.sleep(0.2)
        assert "c-000" in page(address)
        stores.candidates.store.update([document(1)])
        while "c-001" not in page(address) and time.monotonic() < end:
            time.sleep(0.2)
        assert "c-001" in page(address)
        # the store is as it was: nothing was written to it
        assert stores.candidates.count() == 2
    finally:
        ends(process, signal.SIGINT, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_leaves_nothing_behind_when_its_job_or_connection_ends(tmp_path, number):
    open_stores(tmp_path / "store").close()
    process = serving(tmp_path)
    process.stderr.readline()
    assert list(tmp_path.glob("crystens-explore-*"))
    ends(process, number, tmp_path)


def run(*arguments):
    return CliRunner().invoke(app, ["explore", *arguments])


class Idle(Backend):
    """A backend without jobs, whose store must not be asked for."""

    def jobs(self):
        return iter(())

    def parts(self):
        return []

    def store(self):
        raise AssertionError("the candidates are counted")

    submit = retry = pause = resume = None


def test_a_campaign_is_watched_without_counting_its_candidates(tmp_path, monkeypatch):
    file = tmp_path / "campaign.yaml"
    file.write_text("campaign: c\nn_samples: 2\n")
    monkeypatch.setattr(backends, "find_backend", Idle)
    assert _asking(file)().candidates is None


def test_the_port_of_a_server_for_two_addresses_is_known():
    assert _port(SimpleNamespace(effective_port=1)) == 1
    assert _port(SimpleNamespace(effective_listen=[("127.0.0.1", 2), ("::1", 3)])) == 2


def test_what_cannot_be_served_is_named(tmp_path):
    assert isinstance(run("--store", str(tmp_path / "none")).exception, StoreError)
    open_stores(tmp_path / "store").close()
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        result = run("--store", str(tmp_path / "store"), "--port", str(port))
    assert isinstance(result.exception, InputError)
    assert f"cannot listen at 127.0.0.1, port {port}" in str(result.exception)
    assert "--port" in str(result.exception)


@pytest.mark.parametrize("content", [None, "nothing: known"])
def test_a_wrong_campaign_file_is_named_before_anything_is_served(tmp_path, content):
    file = tmp_path / "campaign.yaml"
    if content is not None:
        file.write_text(content)
    open_stores(tmp_path / "store").close()
    result = run("--store", str(tmp_path / "store"), "--campaign", str(file))
    assert result.exit_code != 0
    assert "campaign.yaml" in f"{result.output}{result.exception}"

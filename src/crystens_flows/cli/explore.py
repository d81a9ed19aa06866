"""The command that serves a page on the candidates of a store."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystens_flows.cli.options import Config, StoreSpec
from crystens_flows.cli.output import say
from crystens_flows.errors import InputError, import_extra

if TYPE_CHECKING:
    from collections.abc import Callable

    from crystens_flows.campaign.status import CampaignStatus

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
PORT = 8765


def explore(
    store: StoreSpec = None,
    campaign: Annotated[
        Path | None,
        typer.Option("--campaign", help="Campaign file (YAML) whose jobs are watched too."),
    ] = None,
    host: Annotated[
        str,
        typer.Option("--host", help="Address to listen at; by default this machine's alone."),
    ] = LOOPBACK[0],
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen at; 0 for any free one.")
    ] = PORT,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, help="Seconds between two looks for new ones.")
    ] = 5.0,
    config: Config = None,
) -> None:
    """Serve a page on the candidates of a store: search, crystals, hulls, progress; read-only."""
    for module in ("flask", "waitress"):
        import_extra(module, "explore", "the explorer")
    from waitress.server import create_server

    from crystens_flows.explore import create_app
    from crystens_flows.explore.index import CandidateIndex
    from crystens_flows.screening.hull import HullReference
    from crystens_flows.stores import open_stores

    asking = None if campaign is None else _asking(campaign)
    _end_cleanly()
    stores = open_stores(store, create=False)
    index = CandidateIndex(stores.candidates)
    try:
        hosts = list(LOOPBACK) if host in LOOPBACK else None
        app = create_app(stores, index, campaign=asking, hosts=hosts)
        try:
            server = create_server(app, host=host.strip("[]"), port=port, threads=4, ident=None)
        except (OSError, ValueError) as exc:
            raise InputError(
                f"cannot listen at {host}, port {port}: {exc}; choose another with --host or --port"
            ) from None
        index.follow(interval)
        # seconds, that the first hull would wait for
        threading.Thread(target=HullReference.shipped, daemon=True).start()
        say(f"{stores.description}: open http://{_shown(host)}:{_port(server)}/")
        if hosts is None:
            say("whoever reaches this address can read all candidates: nothing asks for a password")
        say("end with Ctrl+C")
        server.run()
        server.close()
    finally:
        index.close()
        stores.close()


def _asking(file: Path) -> Callable[[], CampaignStatus]:
    from crystens_flows.campaign.backends import find_backend
    from crystens_flows.campaign.status import campaign_status
    from crystens_flows.cli.submit import campaign_of

    backend = find_backend(campaign_of(file, None, None))
    # the page counts the candidates in the store that it shows
    return lambda: campaign_status(backend, count_candidates=False)


def _end_cleanly() -> None:
    """Let an end of the job or of the connection be as Ctrl+C; what nohup ignores stays so."""
    if threading.current_thread() is not threading.main_thread():
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def end(*_: object) -> None:
        for number in numbers:  # a second one must not disturb the end
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


def _port(server: Any) -> int:
    """Return the port of a server; of one for both kinds of addresses that of the first."""
    port = getattr(server, "effective_port", None)
    return server.effective_listen[0][1] if port is None else port


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - what the user asked for
        return socket.gethostname()
    return f"[{host}]" if ":" in host and not host.startswith("[") else host

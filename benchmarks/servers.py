"""The MongoDB-protocol server of the tests, for the benchmarks that need one."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
NOT_SET_UP = "not measured: `make test` sets the server of the tests up"


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str | None]:
    """
    Start the server of the tests in a folder; give its URI, or None where it is not set up.

    With the memory that is enough for tests, 100,000 candidates make it slow.
    """
    sys.path.insert(0, str(TESTS))
    from mongo_fixture import serve

    with serve(folder, memory="12g") as uri:
        yield uri


def database(uri: str) -> str:
    """Return the URI of a new database of a server."""
    base, _, options = uri.partition("?")
    name = f"crystens_bench_{uuid.uuid4().hex[:8]}"
    return f"{base.rstrip('/')}/{name}" + (f"?{options}" if options else "")

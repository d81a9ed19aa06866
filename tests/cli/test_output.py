"""Progress and messages for a person."""

import contextlib
import io
import os
import pty
import sys
import time

from crystens_flows.cli.output import progress_bar


def test_the_bar_is_seen_while_jobs_have_their_output_redirected(monkeypatch):
    """The local runner sends what jobs print to a log; the bar stays on the terminal."""
    reader, writer = pty.openpty()
    log = io.StringIO()
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress_bar("working") as progress, contextlib.redirect_stderr(log):
            progress(3, 7, "crystens relax 3")
            time.sleep(0.3)
        terminal.flush()
        shown = os.read(reader, 100_000).decode()
    os.close(reader)
    assert "crystens relax 3" in shown
    assert "3/7" in shown
    assert log.getvalue() == ""

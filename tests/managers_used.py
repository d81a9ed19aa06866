"""
Which tests use jobflow-remote, FireWorks and MongoDB, and how many of those ran.

A test is marked ``jf``, ``fireworks`` or ``mongo`` if it asks for a fixture that needs it, if the
name of its file, class or function says so, or by a mark of its own. The last line of a run says
how many of each ran; where the environment says CI=true, a run that has skipped one of them fails.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

NAMES = {"jf": "jf", "fireworks": "FireWorks", "mongo": "MongoDB"}
FIXTURES = {"jf_project": "jf", "fireworks": "fireworks", "mongo_server": "mongo"}
WORDS = {
    "jf": re.compile(r"(?<![a-z])jf(?![a-z])|jobflow_?remote", re.IGNORECASE),
    "fireworks": re.compile("fireworks", re.IGNORECASE),
}
_PROPERTY = "managers_used"


@dataclass
class Used:
    """The tests that use one of them, by what became of them."""

    ran: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)


def named(nodeid: str) -> set[str]:
    """Return what the names of a test, without its parameters, say that it uses."""
    return {kind for kind, words in WORDS.items() if words.search(nodeid.partition("[")[0])}


def used_by(item: pytest.Item) -> set[str]:
    """Return what a test uses."""
    fixtures = getattr(item, "fixturenames", ())
    return (
        named(item.nodeid.rpartition("/")[2])
        | {kind for name, kind in FIXTURES.items() if name in fixtures}
        | {kind for kind in NAMES if item.get_closest_marker(kind)}
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests, so that ``-m`` finds them and the process that reports knows."""
    for item in items:
        used = used_by(item)
        for kind in used:
            item.add_marker(kind)
        item.user_properties.append((_PROPERTY, sorted(used)))


def counts(stats: dict[str, list[Any]]) -> dict[str, Used]:
    """Count the tests in the reports of a run, those of other processes included."""
    found = {kind: Used() for kind in NAMES}
    for report in (each for reports in stats.values() for each in reports):
        if isinstance(report, pytest.CollectReport):  # a file that is skipped whole
            kinds = named(report.nodeid.rpartition("/")[2]) if report.skipped else set()
        elif isinstance(report, pytest.TestReport):
            kinds = set(dict(report.user_properties).get(_PROPERTY, ()))
        else:
            continue
        for kind in kinds:
            if report.skipped and not hasattr(report, "wasxfail"):
                found[kind].skipped.add(report.nodeid)
            elif report.failed or report.when == "call":
                found[kind].ran.add(report.nodeid)
    return found


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """End with the counts, after all that pytest says."""
    result = yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return result
    if session.config.option.collectonly:
        return result
    found = counts(reporter.stats)
    skipped = [nodeid for used in found.values() for nodeid in sorted(used.skipped)]
    if skipped and os.environ.get("CI") == "true":
        reporter.write_line(f"with CI=true none of these may be skipped: {', '.join(skipped)}")
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    reporter.write_line(
        "; ".join(
            f"{name}: {len(found[kind].ran)} run, {len(found[kind].skipped)} skipped"
            for kind, name in NAMES.items()
        )
    )
    return result

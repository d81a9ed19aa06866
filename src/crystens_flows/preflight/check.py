"""The record of one thing that was looked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version

from crystens_flows.errors import CrystensError


class CheckStatus(StrEnum):
    """What became of a look for something."""

    OK = "ok"
    MISSING = "missing"
    NOT_SET_UP = "not set up"


@dataclass(frozen=True)
class Check:
    """
    One thing that was looked for.

    Parameters
    ----------
    what
        What it is.
    status
        Whether it is there; "not set up" for what works without.
    found
        What was found, or why it is missing.
    remedy
        How to set it; None where it is there.
    needed
        Whether what is planned cannot run without.
    of_elements
        Whether only structures of certain elements need it.
    """

    what: str
    status: CheckStatus
    found: str
    remedy: str | None = None
    needed: bool = True
    of_elements: bool = False

    @property
    def fails(self) -> bool:
        """Whether what is planned cannot run."""
        return self.needed and self.status == CheckStatus.MISSING

    def record(self) -> dict[str, str | bool | None]:
        """Return it as a dictionary, for a table."""
        return asdict(self)


def ok(what: str, found: str, *, needed: bool = True) -> Check:
    """Say that something is there."""
    return Check(what, CheckStatus.OK, found, needed=needed)


def missing(
    what: str, found: str, remedy: str, *, needed: bool = True, of_elements: bool = False
) -> Check:
    """Say that something is missing, and how to set it."""
    return Check(what, CheckStatus.MISSING, found, remedy, needed, of_elements)


def not_set_up(what: str, found: str, remedy: str) -> Check:
    """Say that something is not there that nobody may need."""
    return Check(what, CheckStatus.NOT_SET_UP, found, remedy, needed=False)


def check_package(name: str, extra: str, *, needed: bool = True) -> Check:
    """
    Say which version of a package is installed.

    Parameters
    ----------
    name
        Name of the distribution.
    extra
        The extra of this package that brings it.
    needed
        Whether what is planned cannot run without.

    Returns
    -------
    Check
        With the version.
    """
    try:
        return ok(name, version(name), needed=needed)
    except PackageNotFoundError:
        remedy = f"pip install 'crystens-flows[{extra}]'"
        if needed:
            return missing(name, "not installed", remedy)
        return not_set_up(name, "not installed", remedy)


def require(checks: Iterable[Check], engine: str) -> None:
    """
    Raise for the first thing that is missing; what only some elements need does not count.

    Parameters
    ----------
    checks
        What was looked for.
    engine
        The engine that is to run.

    Raises
    ------
    CrystensError
        If something that is needed is missing; it names the first and says how many more.
    """
    failed = [check for check in checks if check.fails and not check.of_elements]
    if not failed:
        return
    first, more = failed[0], len(failed) - 1
    others = f"; and {more} more, 'crystens check --engine {engine}' lists all" if more else ""
    raise CrystensError(
        f"engine {engine} cannot run here: {first.what}: {first.found}: {first.remedy}{others}"
    )

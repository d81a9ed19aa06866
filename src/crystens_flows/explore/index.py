"""What the tables of the explorer show of all candidates, beside the store, quick to search."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from crystens_flows.candidate_export import nested_value
from crystens_flows.candidate_filters import RANGES, filter_criteria
from crystens_flows.candidates import CandidateStore
from crystens_flows.embedded_store import EmbeddedStore
from crystens_flows.errors import CrystensError, InputError

FIELDS: dict[str, str] = {
    "candidate_id": "TEXT PRIMARY KEY",
    "formula": "TEXT",
    "chemsys": "TEXT",
    "space_group": "INTEGER",
    "n_sites": "INTEGER",
    "n_elements": "INTEGER",
    "status": "TEXT",
    "formation_energy_per_atom": "REAL",
    "energy_above_hull": "REAL",
    "energy_per_atom": "REAL",
    "energy_above_hull_dft": "REAL",
    "selection.rank": "INTEGER",
    "relaxation.engine": "TEXT",
    "campaign": "TEXT",
    "index": "INTEGER",
    "rejected_by": "TEXT",
    "reason": "TEXT",
    "known_as": "TEXT",
}
"""The fields of a candidate that tables show, and how they are kept."""

_AT_ONCE = 500
_LATE = timedelta(minutes=1)
"""So long after its time stamp a candidate may still come to the store, and be read."""

_READ = ("last_updated", *FIELDS)
_NAMES = ", ".join(f'"{name}"' for name in FIELDS)
_INSERT = f"INSERT OR REPLACE INTO candidates VALUES ({', '.join('?' * len(FIELDS))})"  # noqa: S608
_BY_SAMPLE = ("campaign", "index")
_SIGNS = {"$gte": ">=", "$gt": ">", "$lte": "<=", "$lt": "<"}

Condition = tuple[str, list[Any]]
"""A condition of SQL, and the values for its question marks."""


@dataclass(frozen=True)
class Progress:
    """
    How far the reading of a store is.

    Parameters
    ----------
    read
        Candidates read.
    total
        Candidates there are; None until all were read once.
    problem
        Why the store could not be read the last time; None if it could.
    """

    read: int
    total: int | None
    problem: str | None


class CandidateIndex:
    """
    The fields in tables of all candidates of a store, in a temporary SQLite file.

    Filters and sorting are those of :class:`~crystens_flows.candidates.CandidateStore`; whatever
    the store, embedded ones that read all documents for them included, they take milliseconds.

    Parameters
    ----------
    candidates
        The candidates, connected.
    """

    def __init__(self, candidates: CandidateStore) -> None:
        self.candidates = candidates
        self._folder = tempfile.TemporaryDirectory(prefix="crystens-explore-")
        path = Path(self._folder.name) / "index.sqlite"
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        columns = ", ".join(f'"{name}" {kind}' for name, kind in FIELDS.items())
        for statement in (
            "PRAGMA journal_mode=MEMORY",
            "PRAGMA synchronous=OFF",
            f"CREATE TABLE candidates ({columns})",
            *(
                f'CREATE INDEX "by {name}" ON candidates ("{name}", candidate_id)'
                for name in ("formula", "chemsys", "campaign")
            ),
            # in the order of `find`, so that a page far back is not sorted for
            *(
                f'CREATE INDEX "{order} by {name}" ON candidates '
                f'("{name}" IS NULL, "{name}" {order}, candidate_id {order})'
                for name in RANGES.values()
                for order in ("ASC", "DESC")
            ),
        ):
            self._connection.execute(statement)
        self._lock = threading.Lock()
        self._newest: datetime | None = None
        self._version: Any = None
        self._problem: str | None = None
        self._complete = False
        self._kept: dict[str, Any] = {}
        """What is asked for all candidates with every page, until some are written."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """Stop following the store and remove the file."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._connection.close()
        self._folder.cleanup()

    def follow(self, interval: float) -> None:
        """
        Go on reading what is new in the store, in a thread of its own.

        Parameters
        ----------
        interval
            Seconds between two readings; where one takes long, ten times as long at least, the
            first aside.
        """
        self._thread = threading.Thread(target=self._follow, args=(interval,), daemon=True)
        self._thread.start()

    def _follow(self, interval: float) -> None:
        while not self._stop.is_set():
            began, is_first = time.monotonic(), not self._complete
            with suppress(CrystensError):
                self.refresh()
            took = time.monotonic() - began
            self._stop.wait(interval if is_first else max(interval, 10 * took))

    @property
    def progress(self) -> Progress:
        """How far the reading is."""
        read = self._rows("SELECT count(*) FROM candidates")[0][0]
        return Progress(read, read if self._complete else None, self._problem)

    def refresh(self) -> None:
        """
        Read the candidates that were written since the last time, and forget those that are gone.

        Raises
        ------
        CrystensError
            If the store cannot be read; what was read before is kept.
        """
        try:
            self._refresh()
        except Exception as exc:
            self._problem = f"the store cannot be read: {exc}"
            if isinstance(exc, CrystensError):
                raise
            raise CrystensError(self._problem) from exc
        self._problem = None

    def _refresh(self) -> None:
        store = self.candidates.store
        version = store.version() if isinstance(store, EmbeddedStore) else None
        if version is not None and version == self._version:
            return
        since = {} if self._newest is None else {"last_updated": {"$gte": self._newest}}
        began = datetime.now(tz=UTC)
        newest = self._read(since)
        if self._stop.is_set():
            return
        if newest is not None:
            # what is written while a store is read may not be seen, or have an earlier stamp
            late = began - _LATE
            self._newest = min(newest, late if newest.tzinfo else late.replace(tzinfo=None))
        if self.candidates.count() != self._rows("SELECT count(*) FROM candidates")[0][0]:
            there = {doc["candidate_id"] for doc in store.query({}, properties=["candidate_id"])}
            known = {row[0] for row in self._rows("SELECT candidate_id FROM candidates")}
            self._forget(known - there)
            missed = sorted(there - known)
            for start in range(0, len(missed), _AT_ONCE):
                self._read({"candidate_id": {"$in": missed[start : start + _AT_ONCE]}})
        self._version, self._complete = version, True

    def _read(self, criteria: Mapping[str, Any]) -> datetime | None:
        """Read candidates, and return when the newest of all that were read was written."""
        rows: list[list[Any]] = []
        newest = self._newest
        for doc in self.candidates.store.query(dict(criteria), properties=list(_READ)):
            if self._stop.is_set():
                break
            rows.append([_plain(nested_value(doc, name)) for name in FIELDS])
            written = doc.get("last_updated")
            if isinstance(written, datetime) and (newest is None or written > newest):
                newest = written
            if len(rows) == _AT_ONCE:
                self._write(_INSERT, rows)
                rows = []
        self._write(_INSERT, rows)
        return newest

    def _forget(self, identifiers: Iterable[str]) -> None:
        self._write(
            "DELETE FROM candidates WHERE candidate_id = ?", [[each] for each in identifiers]
        )

    def _write(self, statement: str, rows: list[list[Any]]) -> None:
        """Change the table by all rows or, where one is refused, by none."""
        if not rows:
            return
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                self._connection.executemany(statement, rows)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            self._kept = {}

    def find(
        self,
        filters: Mapping[str, Any],
        *,
        sort: str | None = None,
        descending: bool = False,
        limit: int | None = None,
        skip: int = 0,
    ) -> list[dict[str, Any]]:
        """
        Find candidates, as :meth:`~crystens_flows.candidates.CandidateStore.query` does.

        Parameters
        ----------
        filters
            See :class:`~crystens_flows.candidate_filters.Filters`; without ``criteria``.
        sort
            One of :data:`FIELDS`; None for the order of the samples.
        descending
            Whether the highest comes first.
        limit
            Number of candidates at most; None for all.
        skip
            Number of candidates to leave out first.

        Returns
        -------
        list of dict
            The :data:`FIELDS` of each, by name.

        Raises
        ------
        InputError
            If a filter or field does not exist or a value of it is not one.
        """
        where, values = condition(filters)
        if sort is not None and sort not in FIELDS:
            raise InputError(f"candidates cannot be sorted by {sort!r}; known: {', '.join(FIELDS)}")
        order = "DESC" if descending else "ASC"
        known = f'"{sort}" IS NULL, ' if sort is not None else ""
        by = ", ".join(
            f'"{name}" {order}'
            for name in (*(_BY_SAMPLE if sort is None else (sort,)), "candidate_id")
        )
        rows = self._rows(
            f"SELECT {_NAMES} FROM candidates WHERE {where} ORDER BY {known}{by} LIMIT ? OFFSET ?",  # noqa: S608
            (*values, -1 if limit is None else limit, skip),
        )
        return [dict(zip(FIELDS, row, strict=True)) for row in rows]

    def count(self, filters: Mapping[str, Any]) -> int:
        """
        Count candidates.

        Parameters
        ----------
        filters
            As for :meth:`find`.

        Returns
        -------
        int
            How many there are.

        Raises
        ------
        InputError
            As for :meth:`find`.
        """
        where, values = condition(filters)
        return int(self._rows(f"SELECT count(*) FROM candidates WHERE {where}", values)[0][0])  # noqa: S608

    def ranges(self) -> dict[str, tuple[float, float]]:
        """
        Return the lowest and highest value of each field that there is a range of.

        Returns
        -------
        dict
            By the name of the filter; those without any value are left out.
        """
        kept = self._kept  # as it is before the candidates are looked at
        if "ranges" in kept:
            return kept["ranges"]
        names = list(RANGES)
        asked = ", ".join(f'min("{RANGES[name]}"), max("{RANGES[name]}")' for name in names)
        found = self._rows(f"SELECT {asked} FROM candidates")[0]  # noqa: S608
        pairs = zip(names, found[::2], found[1::2], strict=True)
        ranges = {name: (low, high) for name, low, high in pairs if low is not None}
        kept["ranges"] = ranges
        return ranges

    def campaigns(self) -> dict[str, dict[str, int]]:
        """
        Return how many candidates of each campaign have come how far.

        Returns
        -------
        dict
            Counts by status, by the name of the campaign.
        """
        kept = self._kept  # as it is before the candidates are looked at
        if "campaigns" in kept:
            return kept["campaigns"]
        found: dict[str, dict[str, int]] = {}
        for campaign, status, number in self._rows(
            "SELECT campaign, status, count(*) FROM candidates GROUP BY campaign, status "
            "ORDER BY campaign, status"
        ):
            found.setdefault(campaign, {})[status] = number
        kept["campaigns"] = found
        return found

    def systems(self, limit: int) -> list[tuple[str, int]]:
        """
        Return the chemical systems with most candidates that have an energy.

        Parameters
        ----------
        limit
            Number of systems at most.

        Returns
        -------
        list of tuple
            The system and how many there are.
        """
        return self._rows(
            "SELECT chemsys, count(*) FROM candidates WHERE n_elements IN (2, 3) "
            "AND formation_energy_per_atom IS NOT NULL "
            "GROUP BY chemsys ORDER BY count(*) DESC, chemsys LIMIT ?",
            (limit,),
        )

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(statement, tuple(values)).fetchall()


def condition(filters: Mapping[str, Any]) -> Condition:
    """
    Translate filters into a condition of SQL.

    Parameters
    ----------
    filters
        See :class:`~crystens_flows.candidate_filters.Filters`.

    Returns
    -------
    tuple
        The condition, with question marks, and the values for them.

    Raises
    ------
    InputError
        If a filter does not exist or a value of it is not one.
    """
    if filters.get("criteria"):
        raise InputError("the tables have no filter 'criteria': use CandidateStore.query")
    parts = [_all(filter_criteria(**{name: value})) for name, value in filters.items()]
    return _joined(parts, " AND ")


def _all(criteria: Mapping[str, Any]) -> Condition:
    """Translate comparisons, of those that :func:`filter_criteria` makes, that must all hold."""
    return _joined([_compared(field, wanted) for field, wanted in criteria.items()], " AND ")


def _joined(parts: Sequence[Condition], between: str) -> Condition:
    said = [part for part, _ in parts if part != "1"]
    return between.join(said) or "1", [value for _, values in parts for value in values]


def _compared(field: str, wanted: Any) -> Condition:
    if field == "$or":
        either, values = _joined([_all(each) for each in wanted], " OR ")
        return f"({either})", values
    if not isinstance(wanted, Mapping):
        return f'"{field}" = ?', [wanted]
    return _joined([_operated(field, *each) for each in wanted.items()], " AND ")


def _operated(field: str, operator: str, value: Any) -> Condition:
    if field == "elements":
        # what is between the dashes of a chemical system
        sign = ">" if operator == "$all" else "="
        said = [f"instr('-' || chemsys || '-', ?) {sign} 0"] * len(value)
        return " AND ".join(said), [f"-{symbol}-" for symbol in value]
    if operator == "$ne" and value is None:
        return f'"{field}" IS NOT NULL', []
    if operator == "$in":
        return f'"{field}" IN ({", ".join("?" * len(value))})', list(value)
    return f'"{field}" {_SIGNS[operator]} ?', [value]


def _plain(value: Any) -> str | int | float | None:
    return value if value is None or isinstance(value, str | int | float) else str(value)

"""A maggma store in files, for campaigns without a database server."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from maggma.core import Sort
from maggma.stores import MontyStore
from mongomock_ng.filtering import filter_applies, resolve_sort_key
from monty.json import jsanitize
from montydb.storage.sqlite import SQLITE_DB_EXT
from montydb.types import bson as monty_bson
from montydb.types import init_bson

from crystens_flows.errors import StoreError

_CREATE = "CREATE TABLE IF NOT EXISTS documents (k text NOT NULL, v text NOT NULL, PRIMARY KEY(k))"
_COUNT = "SELECT count(*) FROM documents"
_SELECT = "SELECT rowid, v FROM documents "
_INSERT = "INSERT INTO documents (k, v) VALUES (?, ?)"
_UPDATE = "UPDATE documents SET v = ? WHERE rowid = ?"
_DELETE = "DELETE FROM documents WHERE rowid = ?"
_PAGE = 64
_INDEX_DIGITS = 6
_STRING_IDS = (b"\x02", b"\x03")  # the range of BSON-encoded _id that are strings
_ALL_ROWS = f"WHERE rowid > ? ORDER BY rowid LIMIT {_PAGE}"
# the plus signs keep SQLite from going through all rows by number, for the few whose _id is such
_FOREIGN_ROWS = f"WHERE +rowid > ? AND (k < ? OR k >= ?) ORDER BY +rowid LIMIT {_PAGE}"


class EmbeddedStore(MontyStore):
    """
    A maggma MontyStore that finds documents by key without reading all the others.

    The files are those of MontyDB's sqlite storage, so that a plain ``MontyStore`` reads and
    writes them too. MontyDB itself reads the whole collection at every query; here the ``_id`` of
    a document is made from its key (``uuid`` and ``index`` for jobs), so that documents asked for
    by key are looked up, updates of many documents are one transaction, and a scan streams
    and decodes the fields it compares. An acknowledged write is on disk; other processes can
    read and write at the same time.
    """

    _connection: sqlite3.Connection | None = None
    _pid = 0

    @property
    def path(self) -> Path:
        """The sqlite file of this collection."""
        folder = Path(self.database_path) / self.database_name
        return folder / f"{self.collection_name}{SQLITE_DB_EXT}"

    def connect(self, force_reset: bool = False) -> None:
        """
        Open the file, making it where there is none.

        Parameters
        ----------
        force_reset
            Whether to close and open again a store that is open.

        Raises
        ------
        StoreError
            If the file cannot be made, or is not one of this kind.
        """
        if self._connection is not None and self._pid == os.getpid() and not force_reset:
            return
        init_bson(True)
        with self._named_errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, timeout=60, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(_CREATE)
        self._connection, self._pid, self._lock = connection, os.getpid(), threading.RLock()

    def close(self) -> None:
        """Close the file; :meth:`connect` opens it again."""
        if self._connection is not None and self._pid == os.getpid():
            self._connection.close()
        self._connection = None

    @property
    def _collection(self) -> Any:
        MontyStore.connect(self)
        return self._coll

    def query(  # type: ignore[override]
        self,
        criteria: dict | None = None,
        properties: dict | list | None = None,
        sort: dict[str, Sort | int] | None = None,
        hint: Any = None,  # noqa: ARG002 - part of MongoStore's interface
        skip: int = 0,
        limit: int = 0,
        **_: Any,
    ) -> Iterator[dict]:
        """
        Yield documents.

        Parameters
        ----------
        criteria
            Filter, as for MongoDB.
        properties
            Fields to return, all by default.
        sort
            1 or -1 by field.
        hint
            Has no effect here.
        skip
            Number of documents to leave out first.
        limit
            Number of documents to return at most; 0 for all.

        Yields
        ------
        dict
            The documents that match.
        """
        names = properties if isinstance(properties, dict) else dict.fromkeys(properties or (), 1)
        without = [name for name, wanted in names.items() if not wanted]
        tree = None
        if wanted := [name for name, wanted in names.items() if wanted]:
            tree = _tree(wanted if "_id" in without else ["_id", *wanted])
        matches = self._matches(criteria or {})
        if sort:
            matches = self._sorted(matches, sort)
        for number, (rowid, raw) in enumerate(matches):
            if number < skip:
                continue
            if limit and number >= skip + limit:
                return
            if raw is None:
                row = self._rows("WHERE rowid = ?", (rowid,))
                if not row:  # removed by another process since it was found
                    continue
                raw = row[0][1]
            doc = _pick(raw, tree)
            for name in without:
                _drop(doc, name.split("."))
            yield doc

    def count(self, criteria: dict | None = None, hint: Any = None) -> int:  # noqa: ARG002
        """
        Return the number of documents that match.

        Parameters
        ----------
        criteria
            Filter, as for MongoDB.
        hint
            Has no effect here.
        """
        if not criteria:
            return int(self._execute(_COUNT)[0][0])
        return sum(1 for _ in self._matches(criteria))

    def distinct(
        self,
        field: str,
        criteria: dict | None = None,
        all_exist: bool = False,  # noqa: ARG002 - part of Store's interface
    ) -> list:
        """
        Return the distinct values of a field, members of lists counted one by one.

        Parameters
        ----------
        field
            Name of the field.
        criteria
            Filter, as for MongoDB.
        all_exist
            Has no effect here.
        """
        found: list = []
        seen: set[str] = set()
        for doc in self.query(criteria, properties=[field]):
            for value in _values(doc, field.split(".")):
                if repr(value) not in seen:
                    seen.add(repr(value))
                    found.append(value)
        return found

    def update(self, docs: list[dict] | dict, key: list | str | None = None) -> None:
        """
        Write documents, all or none, replacing those of the same key.

        Parameters
        ----------
        docs
            The documents.
        key
            The fields that make a document unique; by default the key of the store.

        Raises
        ------
        StoreError
            If the file cannot be written.
        ValueError
            If the validator of the store is strict and a document fails it.
        """
        fields = [key] if isinstance(key, str) else list(key or [self.key])
        todo = []
        for doc in docs if isinstance(docs, list) else [docs]:
            clean = jsanitize(doc, allow_bson=True)
            if self.validator and not self.validator.is_valid(clean):
                if self.validator.strict:  # type: ignore[attr-defined]
                    raise ValueError(self.validator.validation_errors(clean))
                self.logger.error(self.validator.validation_errors(clean))
                continue
            todo.append(clean)
        with self.transaction():
            for doc in todo:
                existing = next(self._matches({name: doc[name] for name in fields}), None)
                if existing is not None:
                    doc["_id"] = existing[1]["_id"]  # type: ignore[index]
                    self._connection.execute(  # type: ignore[union-attr]
                        _UPDATE,
                        (bson.encode(doc), existing[0]),
                    )
                    continue
                doc["_id"] = self._new_id(doc, fields)
                self._connection.execute(  # type: ignore[union-attr]
                    _INSERT,
                    (monty_bson.id_encode(doc["_id"]), bson.encode(doc)),
                )

    def remove_docs(self, criteria: dict) -> None:
        """
        Remove the documents that match.

        Parameters
        ----------
        criteria
            Filter, as for MongoDB.
        """
        with self.transaction():
            for rowid in [rowid for rowid, _ in self._matches(criteria)]:
                self._connection.execute(  # type: ignore[union-attr]
                    _DELETE, (rowid,)
                )

    def ensure_index(self, key: str, unique: bool | None = False) -> bool:  # noqa: ARG002
        """
        Return whether documents are found by this field without a scan.

        Parameters
        ----------
        key
            Name of the field.
        unique
            Has no effect here.
        """
        return key == self.key

    def version(self) -> tuple[int, int]:
        """Return what is another after any write, by this process or another one."""
        self.connect()
        ((others,),) = self._execute("PRAGMA data_version")
        return others, self._connection.total_changes  # type: ignore[union-attr]

    def _new_id(self, doc: dict, fields: list[str]) -> Any:
        values = [doc[name] for name in fields]
        if fields == [self.key] and isinstance(values[0], str):
            return values[0]
        if (
            len(fields) == 2
            and fields[0] == self.key
            and isinstance(values[0], str)
            and isinstance(values[1], int)
            and 0 <= values[1] < 10**_INDEX_DIGITS
        ):
            return f"{values[0]}:{values[1]:0{_INDEX_DIGITS}d}"
        return bson.ObjectId()

    def _matches(self, criteria: dict) -> Iterator[tuple[int, RawBSONDocument | None]]:
        """Yield (rowid, document) of the documents that match, in the order of insertion."""
        keys = _asked_keys(criteria.get(self.key))
        rest = criteria
        if keys is not None:
            rest = {name: value for name, value in criteria.items() if name != self.key}
        paths = _paths(rest)
        tree = None if paths is None else _tree(paths)
        for rowid, raw in self._pages() if keys is None else self._of_keys(keys):
            if keys is not None and raw.get(self.key) not in keys:
                continue
            if not rest or filter_applies(rest, _pick(raw, tree)):
                yield rowid, raw

    def _pages(
        self, clause: str = _ALL_ROWS, values: tuple = ()
    ) -> Iterator[tuple[int, RawBSONDocument]]:
        last = -1
        while page := self._rows(clause, (last, *values)):
            yield from page
            last = page[-1][0]

    def _of_keys(self, keys: set[str]) -> Iterator[tuple[int, RawBSONDocument]]:
        """Yield the documents whose _id says one of these keys, or says nothing about the key."""
        for key in sorted(keys):
            low, high = (f"{key}:{digit * _INDEX_DIGITS}" for digit in "09")
            ids = tuple(monty_bson.id_encode(value) for value in (key, low, high))
            yield from self._rows("WHERE k = ? OR k BETWEEN ? AND ? ORDER BY rowid", ids)
        # documents that another program wrote have an _id of its own making
        yield from self._pages(_FOREIGN_ROWS, _STRING_IDS)

    def _sorted(
        self, matches: Iterator[tuple[int, RawBSONDocument | None]], sort: dict[str, Sort | int]
    ) -> Iterator[tuple[int, RawBSONDocument | None]]:
        """Sort by the fields alone; the documents are read again, in order, where needed."""
        tree = _tree(list(sort))
        light = [(rowid, _pick(raw, tree)) for rowid, raw in matches]
        for field, order in reversed(sort.items()):
            light.sort(
                key=lambda item, field=field: resolve_sort_key(field, item[1]),  # type: ignore[misc]
                reverse=Sort(order).value == -1,
            )
        return ((rowid, None) for rowid, _ in light)

    def _rows(self, where: str, values: tuple) -> list[tuple[int, RawBSONDocument]]:
        rows = self._execute(_SELECT + where, values)
        return [(rowid, RawBSONDocument(value)) for rowid, value in rows]

    def _execute(self, statement: str, values: tuple = ()) -> list:
        self.connect()
        with self._named_errors(), self._lock:
            return self._connection.execute(statement, values).fetchall()  # type: ignore[union-attr]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """
        Keep other writers out from what is read to what is written; all of it counts or nothing.

        One within another is part of it.
        """
        self.connect()
        with self._named_errors(), self._lock:
            if self._connection.in_transaction:  # type: ignore[union-attr]
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")  # type: ignore[union-attr]
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")  # type: ignore[union-attr]
                raise
            self._connection.execute("COMMIT")  # type: ignore[union-attr]

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError) as exc:
            raise StoreError(
                f"store {self.path}: {exc}; it must be writable, on a local disk, and a file of "
                "this package or of MontyDB (sqlite)"
            ) from exc


def _asked_keys(condition: Any) -> set[str] | None:
    if isinstance(condition, dict) and len(condition) == 1:
        operator, value = next(iter(condition.items()))
        condition = value if operator == "$in" else [value] if operator == "$eq" else None
    elif isinstance(condition, str):
        condition = [condition]
    if isinstance(condition, list | tuple | set) and all(isinstance(k, str) for k in condition):
        return set(condition)
    return None


def _paths(criteria: dict) -> list[str] | None:
    """Return the fields that the criteria compare; None where that cannot be said."""
    paths: list[str] = []
    for name, condition in criteria.items():
        if not name.startswith("$"):
            paths.append(name)
        elif name in ("$and", "$or", "$nor"):
            for part in condition:
                inner = _paths(part)
                if inner is None:
                    return None
                paths.extend(inner)
        else:
            return None
    return paths


def _tree(paths: list[str]) -> dict[str, Any]:
    """Return dotted paths as nested dictionaries that end in None."""
    tree: dict[str, Any] = {}
    for path in sorted(paths):  # "a" before "a.b", which it contains
        *parents, last = path.split(".")
        below: dict[str, Any] | None = tree
        for name in parents:
            below = below.setdefault(name, {}) if below is not None else None
        if below is not None:
            below[last] = None
    return tree


def _pick(value: Any, tree: dict[str, Any] | None) -> Any:
    """Decode the fields in the tree, and what stands under them, alone; None for all."""
    if isinstance(value, RawBSONDocument):
        if tree is None:
            return bson.decode(value.raw)
        return {
            name: _pick(value[name], below)
            for name, below in tree.items()
            # nothing stands under what is no document; kept, mongomock would take it for a value
            if name in value and (below is None or isinstance(value[name], RawBSONDocument | list))
        }
    if isinstance(value, list):
        by_position = tree is not None and any(name.isdigit() for name in tree)
        return [_pick(member, None if by_position else tree) for member in value]
    return value


def _drop(doc: Any, path: list[str]) -> None:
    if isinstance(doc, list):
        for member in doc:
            _drop(member, path)
    elif isinstance(doc, dict) and path[0] in doc:
        if len(path) == 1:
            del doc[path[0]]
        else:
            _drop(doc[path[0]], path[1:])


def _values(doc: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(doc, list):
        for member in doc:
            yield from _values(member, path)
    elif not path:
        yield doc
    elif isinstance(doc, dict) and path[0] in doc:
        yield from _values(doc[path[0]], path[1:])

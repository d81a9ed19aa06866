"""Writing candidates so that of several writers none undoes what another wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from maggma.core import Store
from maggma.stores.mongolike import MongoStore
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError

from crystens_flows.embedded_store import EmbeddedStore

Document = dict[str, Any]
_DUPLICATE = 11000
_MILLISECOND = timedelta(milliseconds=1)  # what times are stored to


def is_mongo(store: Store) -> bool:
    """Return whether a store is a collection on a server, and no imitation of one."""
    return type(store).connect is MongoStore.connect


def stamped(doc: Document, read: datetime | None) -> Document:
    """
    Return a candidate with the time it is written, always later than that of what it replaces.

    Parameters
    ----------
    doc
        The candidate.
    read
        ``last_updated`` of the document that was read, in UTC; None where there was none.

    Returns
    -------
    dict
        The candidate with ``last_updated``.
    """
    now = datetime.now(tz=UTC)
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    if read is not None:
        now = max(now, _aware(read) + _MILLISECOND)
    return {**doc, "last_updated": now}


def is_version(doc: Document, read: datetime | None) -> bool:
    """
    Return whether a candidate that was read is the one that was written.

    Parameters
    ----------
    doc
        What was written, from :func:`stamped`.
    read
        ``last_updated`` of what was read, in UTC; None where there is none.
    """
    return read is not None and doc["last_updated"] == _aware(read)


def _aware(read: datetime) -> datetime:
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def write_unchanged(
    store: Store,
    docs: Iterable[Document],
    remove: Iterable[str],
    read: Mapping[str, datetime | None],
) -> bool:
    """
    Write and remove candidates that nobody else has changed since they were read.

    MongoDB compares ``last_updated`` in each write, the embedded store within one transaction. In
    other stores a second writer goes unnoticed.

    Parameters
    ----------
    store
        The store the candidates are in; ``candidate_id`` is unique there.
    docs
        The candidates, from :func:`stamped`.
    remove
        Identifiers of candidates to remove.
    read
        ``last_updated`` by identifier of all that was read; one that is not here is new.

    Returns
    -------
    bool
        False where somebody was faster with at least one, which is left as it is: read again. The
        others may have been written.
    """
    docs, remove = list(docs), list(remove)
    if not docs and not remove:
        return True
    if is_mongo(store):
        return _write_mongo(store, docs, remove, read)
    if isinstance(store, EmbeddedStore):
        with store.transaction():
            return _write_locked(store, docs, remove, read)
    _write(store, docs, remove)
    return True


def _write_mongo(
    store: Store, docs: list[Document], remove: list[str], read: Mapping[str, datetime | None]
) -> bool:
    operations: list[InsertOne | ReplaceOne | DeleteOne] = []
    n_replaced = 0
    for doc in docs:
        identifier = doc["candidate_id"]
        if identifier in read:
            n_replaced += 1
            operations.append(ReplaceOne(_as_read(identifier, read), doc))
        else:
            operations.append(InsertOne(dict(doc)))
    operations += [DeleteOne(_as_read(identifier, read)) for identifier in remove]
    try:
        done = store._collection.bulk_write(operations, ordered=False)
    except BulkWriteError as exc:
        if all(error.get("code") == _DUPLICATE for error in exc.details["writeErrors"]):
            return False
        raise
    return bool(done.matched_count == n_replaced and done.deleted_count == len(remove))


def _as_read(identifier: str, read: Mapping[str, datetime | None]) -> Document:
    return {"candidate_id": identifier, "last_updated": read[identifier]}


def _write_locked(
    store: Store, docs: list[Document], remove: list[str], read: Mapping[str, datetime | None]
) -> bool:
    concerned = [*(doc["candidate_id"] for doc in docs), *remove]
    now = {
        doc["candidate_id"]: doc.get("last_updated")
        for doc in store.query(
            {"candidate_id": {"$in": concerned}}, properties=["candidate_id", "last_updated"]
        )
    }
    if now != {identifier: read[identifier] for identifier in concerned if identifier in read}:
        return False
    _write(store, docs, remove)
    return True


def _write(store: Store, docs: list[Document], remove: list[str]) -> None:
    if docs:
        store.update(docs)
    if remove:
        store.remove_docs({"candidate_id": {"$in": remove}})

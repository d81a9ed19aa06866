"""Queries on the candidates of all campaigns in a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack

from maggma.core import Sort, Store
from monty.json import MSONable
from pydantic import ValidationError

from crystens_flows.candidate_criteria import check_field, check_members, check_sort, check_text
from crystens_flows.candidate_export import RECORD_FIELDS, export, nested_value
from crystens_flows.candidate_filters import Filters, filter_criteria
from crystens_flows.candidate_writes import is_mongo, stamped, write_unchanged
from crystens_flows.errors import CrystensError, InputError, StoreError
from crystens_flows.schemas import CandidateDocument
from crystens_flows.schemas.candidate import SCHEMA_VERSION
from crystens_flows.schemas.candidate_versions import upgraded

if TYPE_CHECKING:
    import pandas as pd

_AT_ONCE = 500

__all__ = ["INDEXES", "RECORD_FIELDS", "CandidateStore", "export", "nested_value"]

INDEXES: tuple[tuple[str, ...], ...] = (
    ("campaign", "index", "candidate_id"),  # the order of the samples
    *(
        (field, "candidate_id")
        for field in (
            *("status", "formula", "chemsys", "elements", "n_sites", "space_group"),
            *("formation_energy_per_atom", "energy_above_hull", "energy_per_atom"),
            *("energy_above_hull_dft", "selection.rank", "relaxation.engine", "schema_version"),
            "last_updated",
        )
    ),
)
"""
Fields that are asked for or sorted by, each beside those that settle the order of equals.

``candidate_id``, which is unique, has an index of its own.
"""


@dataclass
class UpgradeSummary:
    """
    What an upgrade did.

    Parameters
    ----------
    n_upgraded
        Candidates rewritten.
    refused
        Why a candidate could not be, by its identifier.
    """

    n_upgraded: int = 0
    refused: dict[str, str] = field(default_factory=dict)


class CandidateStore(MSONable):
    """
    The candidates in a maggma store, one document each.

    Parameters
    ----------
    store
        The store the candidates are in.
    """

    def __init__(self, store: Store) -> None:
        store.key = "candidate_id"
        self.store = store

    def connect(self) -> None:
        """Connect to the store."""
        self.store.connect()

    def close(self) -> None:
        """Close the connection."""
        self.store.close()

    def ensure_indexes(self) -> None:
        """Make the indexes that the queries use, where the store has any."""
        if is_mongo(self.store):
            self.store.ensure_index("candidate_id", unique=True)
            for fields in INDEXES:
                self.store._collection.create_index([(field, 1) for field in fields])

    def query(
        self,
        *,
        sort: str | None = None,
        descending: bool = False,
        limit: int = 0,
        skip: int = 0,
        properties: Sequence[str] | None = None,
        **filters: Unpack[Filters],
    ) -> Iterator[dict[str, Any]]:
        """
        Find candidates.

        Parameters
        ----------
        sort
            Field to sort by; candidates without a value come last. By default the order is that of
            the samples, campaign after campaign.
        descending
            Whether the highest comes first.
        limit
            Number of candidates at most; 0 for all.
        skip
            Number of candidates to leave out first.
        properties
            Fields to return, all by default.
        **filters
            See :class:`Filters`.

        Returns
        -------
        Iterator[dict]
            The documents, as stored.

        Raises
        ------
        InputError
            If a filter or field does not exist or a value of it is not one.
        """
        criteria = filter_criteria(**filters)
        if sort is not None:
            check_sort(sort)
        if any(type(number) is not int or not 0 <= number < 2**31 for number in (limit, skip)):
            raise InputError(
                "limit and skip must be whole numbers, not negative and below 2**31: "
                f"limit={limit!r}, skip={skip!r}"
            )
        wanted = None if properties is None else _projection(properties)
        return self._ordered(criteria, sort, -1 if descending else 1, limit, skip, wanted)

    def _ordered(
        self,
        criteria: dict,
        sort: str | None,
        order: int,
        limit: int,
        skip: int,
        wanted: dict | None,
    ) -> Iterator[dict[str, Any]]:
        by_sample: dict[str, Sort | int] = {
            "campaign": order,
            "index": order,
            "candidate_id": order,
        }
        parts: list[tuple[dict, dict[str, Sort | int]]] = [(criteria, by_sample)]
        if sort is not None:
            tie: dict[str, Sort | int] = {} if sort == "candidate_id" else {"candidate_id": order}
            parts = [(criteria, {sort: order, **tie})]
            # nothing comes before any value: it is last by itself where the highest comes first
            if order == 1 and not _is_known(sort, criteria):
                parts = [
                    ({"$and": [criteria, {sort: {"$ne": None}}]}, {sort: order, **tie}),
                    ({"$and": [criteria, {sort: None}]}, {"candidate_id": order}),
                ]
        found = 0
        for number, (part, by) in enumerate(parts):
            here = 0
            for doc in self.store.query(
                part,
                properties=dict(wanted) if wanted else None,
                sort=by,
                skip=skip,
                limit=limit - found if limit else 0,
            ):
                here += 1
                doc.pop("_id", None)
                yield doc
            found += here
            if limit and found >= limit:
                return
            if number + 1 < len(parts) and skip:
                skip = 0 if here else skip - self.store.count(part)

    def count(self, **filters: Unpack[Filters]) -> int:
        """
        Return how many candidates there are.

        Parameters
        ----------
        **filters
            See :class:`Filters`.

        Raises
        ------
        InputError
            If a value of a filter is not one.
        """
        return int(self.store.count(filter_criteria(**filters)))

    def documents(
        self,
        *,
        sort: str | None = None,
        descending: bool = False,
        limit: int = 0,
        skip: int = 0,
        **filters: Unpack[Filters],
    ) -> Iterator[CandidateDocument]:
        """
        Find candidates, as :meth:`query`, and return documents with pymatgen structures.

        Parameters
        ----------
        sort, descending, limit, skip
            See :meth:`query`.
        **filters
            See :class:`Filters`.

        Returns
        -------
        Iterator[CandidateDocument]
            The documents, validated.

        Raises
        ------
        InputError
            If a filter or field does not exist or a value of it is not one.
        StoreError
            If a document is not as this version stores candidates, when it is come to.
        """
        found = self.query(sort=sort, descending=descending, limit=limit, skip=skip, **filters)
        return (_validated(doc) for doc in found)

    def get(self, candidate_id: str) -> CandidateDocument:
        """
        Return one candidate.

        Parameters
        ----------
        candidate_id
            Its identifier, ``"c-..."``.

        Raises
        ------
        InputError
            If there is no such candidate.
        StoreError
            If its document is not as this version stores candidates.
        """
        check_text(candidate_id, "candidate_id")
        doc = self.store.query_one({"candidate_id": candidate_id})
        if doc is None:
            raise InputError(
                f"there is no candidate {candidate_id!r} in this store; "
                "`crystens candidates query` lists those there are"
            )
        doc.pop("_id", None)
        return _validated(doc)

    def upgrade(self) -> UpgradeSummary:
        """
        Rewrite the documents that earlier versions of the package stored as this one's.

        Each is replaced whole, and only if nobody has written it since it was read: interrupted at
        any moment, or run beside a builder, the next call goes on with those that are left.

        Returns
        -------
        UpgradeSummary
            How many were rewritten, and which cannot be, with the reason.
        """
        summary = UpgradeSummary()
        older = {"schema_version": {"$ne": SCHEMA_VERSION}}
        ids = [doc["candidate_id"] for doc in self.store.query(older, properties=["candidate_id"])]
        for start in range(0, len(ids), _AT_ONCE):
            self._upgrade(ids[start : start + _AT_ONCE], summary)
        return summary

    def _upgrade(self, ids: list[str], summary: UpgradeSummary) -> None:
        """Rewrite some, read again where somebody else wrote meanwhile."""
        while True:
            write, read = [], {}
            for doc in self.store.query(
                {"candidate_id": {"$in": ids}, "schema_version": {"$ne": SCHEMA_VERSION}}
            ):
                identifier = doc["candidate_id"]
                doc.pop("_id", None)
                read[identifier] = doc.get("last_updated")
                try:
                    new = upgraded(doc)
                    CandidateDocument.model_validate(new)
                except (CrystensError, LookupError, TypeError, ValueError, AttributeError) as exc:
                    summary.refused[identifier] = " ".join(str(exc).split())[:300]
                else:
                    write.append(stamped(new, read[identifier]))
            if write_unchanged(self.store, write, [], read):
                summary.n_upgraded += len(write)
                return

    def to_dataframe(
        self,
        *,
        sort: str | None = None,
        descending: bool = False,
        limit: int = 0,
        skip: int = 0,
        properties: Sequence[str] = RECORD_FIELDS,
        **filters: Unpack[Filters],
    ) -> pd.DataFrame:
        """
        Return candidates as a table.

        Parameters
        ----------
        sort, descending, limit, skip
            See :meth:`query`.
        properties
            The columns, ``"structure"`` and nested fields like ``"selection.rank"`` included.
        **filters
            See :class:`Filters`.

        Returns
        -------
        pandas.DataFrame
            One row a candidate.

        Raises
        ------
        InputError
            If a filter or field does not exist or a value of it is not one.
        """
        import pandas as pd

        found = self.query(
            sort=sort,
            descending=descending,
            limit=limit,
            skip=skip,
            properties=properties,
            **filters,
        )
        rows = [{name: nested_value(doc, name) for name in properties} for doc in found]
        return pd.DataFrame(rows, columns=list(properties))


def _is_known(name: str, criteria: dict[str, Any]) -> bool:
    """Say whether a filter finds only candidates that have a value of a field."""
    wanted = criteria.get(name)
    if isinstance(wanted, dict):
        bounds = ("$gt", "$gte", "$lt", "$lte")
        return wanted.get("$ne", "") is None or any(wanted.get(each) is not None for each in bounds)
    return any(_is_known(name, part) for part in criteria.get("$and", ()))


def _projection(properties: Sequence[str]) -> dict[str, int]:
    """Return the fields to send, each once: MongoDB refuses a field and one within it."""
    names = {"candidate_id", *map(check_field, check_members(properties, "properties"))}
    inner = {
        name
        for name in names
        if any(name[:end] in names for end, character in enumerate(name) if character == ".")
    }
    return dict.fromkeys(sorted(names - inner), 1)


def _validated(doc: dict[str, Any]) -> CandidateDocument:
    try:
        return CandidateDocument.model_validate(doc)
    except ValidationError as exc:
        where = ".".join(map(str, exc.errors()[0]["loc"]))
        raise StoreError(
            f"candidate {doc.get('candidate_id')} is not as this version stores candidates (field "
            f"{where}): run `crystens candidates upgrade`, or read it with the version that wrote "
            "it"
        ) from exc

"""Queries on the candidates of all campaigns in a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from maggma.core import Sort, Store
from monty.json import MSONable

from crystens_flows.candidate_filters import Filters, check_field, filter_criteria
from crystens_flows.candidate_writes import is_mongo
from crystens_flows.errors import InputError, OutputFolderError
from crystens_flows.export_format import ExportFormat
from crystens_flows.schemas import CandidateDocument

if TYPE_CHECKING:
    import pandas as pd

RECORD_FIELDS = (
    "candidate_id",
    "campaign",
    "index",
    "status",
    "rejected_by",
    "reason",
    "formula",
    "chemsys",
    "n_sites",
    "space_group",
    "formation_energy_per_atom",
    "energy_above_hull",
    "energy_per_atom",
    "smact_valid",
    "known_as",
)
"""The fields of one row of a table of candidates."""

INDEXES: tuple[tuple[str, ...], ...] = (
    ("campaign", "index", "candidate_id"),  # the order of the samples
    *(
        (field, "candidate_id")
        for field in (
            *("status", "formula", "chemsys", "elements", "n_sites", "space_group"),
            *("formation_energy_per_atom", "energy_above_hull", "energy_per_atom"),
            *("energy_above_hull_dft", "selection.rank", "relaxation.engine", "schema_version"),
        )
    ),
)
"""
Fields that are asked for or sorted by, each beside those that settle the order of equals.

``candidate_id``, which is unique, has an index of its own.
"""


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
        for name in (*(properties or ()), *([sort] if sort else ())):
            check_field(name)
        if limit < 0 or skip < 0:
            raise InputError(f"limit and skip must not be negative: limit={limit}, skip={skip}")
        wanted = None if properties is None else dict.fromkeys(["candidate_id", *properties], 1)
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
            tie: dict[str, Sort | int] = {} if sort == "candidate_id" else {"candidate_id": 1}
            parts = [
                ({"$and": [criteria, {sort: {"$ne": None}}]}, {sort: order, **tie}),
                ({"$and": [criteria, {sort: None}]}, {"candidate_id": 1}),
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
        """
        found = self.query(sort=sort, descending=descending, limit=limit, skip=skip, **filters)
        return (CandidateDocument.model_validate(doc) for doc in found)

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
        """
        doc = self.store.query_one({"candidate_id": candidate_id})
        if doc is None:
            raise InputError(
                f"there is no candidate {candidate_id!r} in this store; "
                "`crystens candidates query` lists those there are"
            )
        doc.pop("_id", None)
        return CandidateDocument.model_validate(doc)

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


def nested_value(doc: dict[str, Any], path: str) -> Any:
    """
    Return a value of a document by its dotted path.

    Parameters
    ----------
    doc
        The document.
    path
        For example ``"selection.rank"``.

    Returns
    -------
    Any
        The value; None where there is none.
    """
    value: Any = doc
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def export(
    candidates: Iterable[CandidateDocument],
    folder: str | Path,
    format: ExportFormat | str,  # noqa: A002
) -> tuple[list[Path], list[str]]:
    """
    Write structures to files, the relaxed one where there is one, else the one decoded.

    Parameters
    ----------
    candidates
        The candidates.
    folder
        Where to write; made where it does not exist and there is something to write.
    format
        An :class:`~crystens_flows.export_format.ExportFormat` or its name: ``"cif"``
        (``<candidate_id>.cif``), ``"poscar"`` (``.vasp``) or ``"json"`` (pymatgen's).

    Returns
    -------
    tuple
        The files written, and the candidate_id of those that have no structure.

    Raises
    ------
    InputError
        If the format is not one of these.
    OutputFolderError
        If the folder cannot be written to.
    """
    known = [str(each) for each in ExportFormat]
    if format not in known:
        raise InputError(f"format {format!r} is not one of {', '.join(known)}")
    kind = ExportFormat(format)
    folder = Path(folder)
    written, without = [], []
    try:
        for candidate in candidates:
            structure = candidate.relaxed_structure or candidate.structure
            if structure is None:
                without.append(candidate.candidate_id)
                continue
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{candidate.candidate_id}{kind.suffix}"
            path.write_text(structure.to(fmt=kind.value))
            written.append(path)
    except OSError as exc:
        raise OutputFolderError(f"cannot write to {folder}: {exc.strerror}") from exc
    return written, without

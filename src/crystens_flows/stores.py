"""Opening the stores: files in a folder, a store file, or MongoDB."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_plus

from jobflow import JobStore
from maggma.core import Store
from maggma.stores import GridFSStore, MongoStore
from pymongo import uri_parser
from pymongo.errors import PyMongoError

from crystens_flows.candidates import CandidateStore
from crystens_flows.embedded_store import EmbeddedStore
from crystens_flows.errors import StoreError
from crystens_flows.masking import MASK, without_password
from crystens_flows.settings import DEFAULT_OUTPUT_FOLDER, get_settings
from crystens_flows.store_files import DATA_STORE, TIMEOUT, passwords_of, stores_of_file

__all__ = [
    "DATA_STORE",
    "PASSWORD_VARIABLE",
    "Stores",
    "default_store",
    "ensure_indexes",
    "is_mongodb_uri",
    "open_stores",
    "with_password",
]

PASSWORD_VARIABLE = "CRYSTENS_DB_PASSWORD"  # noqa: S105 - a name
"""The environment variable with the password of a URI that names a user and none."""

_JOB_INDEXES = ("uuid", "output.stage")
_DATA_INDEXES = ("blob_uuid", "job_uuid")


@dataclass
class Stores:
    """
    The stores of a campaign, connected.

    Parameters
    ----------
    job_store
        Outputs of the jobs, with the additional store "data" for arrays.
    candidates
        The candidates.
    description
        Where they are, without passwords.
    """

    # maggma shows URIs with their passwords
    job_store: JobStore = field(repr=False)
    candidates: CandidateStore = field(repr=False)
    description: str

    def close(self) -> None:
        """Close all connections."""
        self.job_store.close()
        self.candidates.close()


def open_stores(spec: str | Path | None = None, *, create: bool = True) -> Stores:
    """
    Open the stores of jobs and candidates.

    Parameters
    ----------
    spec
        A folder (embedded stores, no server); a store file (see
        :func:`crystens_flows.store_files.stores_of_file`), which may be the file of a project of
        jobflow-remote; or a ``mongodb://`` URI that names a database, whose password may be left
        out and be in the environment variable ``CRYSTENS_DB_PASSWORD``. None for the setting
        ``STORE``, and without that the folder where ``crystens discover`` writes by default.
    create
        Whether to make what does not exist; False where it is only read from.

    Returns
    -------
    Stores
        The stores, connected.

    Raises
    ------
    StoreError
        If the stores are not there, cannot be reached, or lack the additional store "data".
    """
    text = str(spec if spec is not None else get_settings().STORE or default_store())
    if is_mongodb_uri(text):
        stores = _from_uri(text)
    elif "://" in text:
        raise StoreError(
            f"store {without_password(text)}: not a kind of store known here; give a folder, a "
            "store file (.yaml) or a mongodb:// URI"
        )
    else:
        path = Path(text).expanduser()
        is_file = path.is_file() or path.suffix in (".yaml", ".yml")
        stores = _from_file(path) if is_file else _from_folder(path, create=create)
    _connect(stores, create=create)
    return stores


def default_store() -> Path:
    """Return the folder of the embedded stores that is used when no store is configured."""
    return Path(DEFAULT_OUTPUT_FOLDER) / "store"


def is_mongodb_uri(text: str) -> bool:
    """
    Say whether a text is a URI of MongoDB.

    Parameters
    ----------
    text
        The text.
    """
    return re.match(r"mongodb(\+srv)?://", text) is not None


def with_password(uri: str) -> str:
    """
    Put the password from the environment into a URI that names a user and no password.

    Parameters
    ----------
    uri
        The URI, perhaps one that was kept without its password.

    Returns
    -------
    str
        The URI to connect with.

    Raises
    ------
    StoreError
        If the password was left out when the URI was kept, and is not in the environment.
    """
    scheme, _, rest = uri.partition("://")
    user, at, hosts = rest.rpartition("@")
    masked = user.endswith(f":{MASK}")
    if masked:
        user = user.removesuffix(f":{MASK}")
    if not at or ":" in user:
        return uri
    password = os.environ.get(PASSWORD_VARIABLE, "")
    if not password and masked:
        raise StoreError(
            f"store {uri}: its password is kept nowhere: set the environment variable "
            f"{PASSWORD_VARIABLE}, or give the store again with --store"
        )
    return f"{scheme}://{user}:{quote_plus(password)}@{hosts}" if password else uri


def ensure_indexes(stores: Stores) -> None:
    """
    Make the indexes that queries and the builder use, where the stores have any.

    Parameters
    ----------
    stores
        The stores, connected.
    """
    docs = stores.job_store.docs_store
    if type(docs).connect is MongoStore.connect:
        for name in _JOB_INDEXES:
            docs.ensure_index(name)
        data = stores.job_store.additional_stores[DATA_STORE]  # type: ignore[has-type]
        for name in _DATA_INDEXES:
            data.ensure_index(name)
    stores.candidates.ensure_indexes()


def _from_folder(path: Path, *, create: bool) -> Stores:
    path = path.absolute()
    outputs, data, candidates = (
        EmbeddedStore(name, database_path=str(path))
        for name in ("outputs", DATA_STORE, "candidates")
    )
    if not create and not outputs.path.is_file():
        raise StoreError(
            f"there is no store in {path}: run `crystens discover` first, or name the store with "
            "--store or the setting STORE"
        )
    return Stores(_job_store(outputs, data), CandidateStore(candidates), str(path))


def _from_uri(given: str) -> Stores:
    shown = without_password(given)
    uri = with_password(given)
    try:
        database = uri_parser.parse_uri(uri)["database"]
        if not database:
            raise StoreError(f"store {shown} names no database: give mongodb://HOST:27017/DATABASE")
        outputs = MongoStore(None, "outputs", uri=uri, mongoclient_kwargs=TIMEOUT)
        data = GridFSStore(None, DATA_STORE, uri=uri, compression=True, mongoclient_kwargs=TIMEOUT)
        candidates = MongoStore(None, "candidates", uri=uri, mongoclient_kwargs=TIMEOUT)
    # what pymongo says of a URI that it cannot take apart may quote parts of the password
    except (PyMongoError, ValueError):
        raise StoreError(
            f"store {shown}: not a URI of the form mongodb://USER@HOST:27017/DATABASE: put the "
            f"password into {PASSWORD_VARIABLE}, and write special characters as %XX"
        ) from None
    return Stores(_job_store(outputs, data), CandidateStore(candidates), shown)


def _from_file(path: Path) -> Stores:
    job_store, candidates = stores_of_file(path)
    return Stores(job_store, CandidateStore(candidates), str(path))


def _job_store(docs: Store, data: Store) -> JobStore:
    return JobStore(docs, additional_stores={DATA_STORE: data})


def _connect(stores: Stores, *, create: bool) -> None:
    def masked(exc: Exception) -> str:
        first = str(exc).split(", Timeout:")[0].split(", full error")[0]
        return without_password(first, _passwords(stores))

    try:
        stores.job_store.connect()
        stores.candidates.connect()
        stores.job_store.query_one({"uuid": ""}, properties=["uuid"])
        if create:
            ensure_indexes(stores)
    except PyMongoError as exc:
        raise StoreError(
            f"store {stores.description} cannot be reached or used: {masked(exc)}; is the server "
            "running, and are host, port, user and password right?"
        ) from exc
    except OSError as exc:
        raise StoreError(
            f"store {stores.description}: {exc}: give one that can be written, on a local disk"
        ) from exc
    except (TypeError, ValueError) as exc:  # how the stores say that an option is of a wrong kind
        raise StoreError(
            f"store {stores.description}: an option is of a wrong kind ({masked(exc)}): correct "
            "the options of its stores"
        ) from exc


def _passwords(stores: Stores) -> list[str]:
    job_store = stores.job_store
    found = []
    for store in (job_store.docs_store, *job_store.additional_stores.values()):  # type: ignore[has-type]
        found += passwords_of(vars(store))
        if uri := getattr(store, "uri", None):
            found.append(uri.partition("://")[2].rpartition("@")[0].partition(":")[2])
    return [each for each in found if each]

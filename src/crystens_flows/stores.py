"""Opening the stores: files in a folder, a store file, or MongoDB."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jobflow import JobStore
from maggma.core import Store
from maggma.core import StoreError as MaggmaStoreError
from maggma.stores import GridFSStore, MongoStore
from pymongo import uri_parser
from pymongo.errors import PyMongoError

from crystens_flows.candidates import CandidateStore
from crystens_flows.embedded_store import EmbeddedStore
from crystens_flows.errors import StoreError
from crystens_flows.settings import DEFAULT_OUTPUT_FOLDER, get_settings

DATA_STORE = "data"
_TIMEOUT = {"serverSelectionTimeoutMS": 5000}
_MONGO_TYPES = ("MongoStore", "MongoURIStore", "GridFSStore", "GridFSURIStore")
_PATH_KEYS = ("database_path", "path", "paths")
_FILE_REMEDY = (
    "write JOB_STORE as in jobflow.yaml, docs_store and each of additional_stores with its type, "
    "e.g. {type: MontyStore, collection_name: outputs, database_path: store}"
)


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

    job_store: JobStore
    candidates: CandidateStore
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
        A folder (embedded stores, no server); a store file (YAML: ``JOB_STORE`` as in
        ``jobflow.yaml``, and ``CANDIDATE_STORE``, by default the collection "candidates" beside the
        documents of the jobs); or a ``mongodb://`` URI that names a database. None for the setting
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
    if re.match(r"mongodb(\+srv)?://", text):
        stores = _from_uri(text)
    elif "://" in text:
        raise StoreError(
            f"store {_without_password(text)}: not a kind of store known here; give a folder, a "
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


def _from_uri(uri: str) -> Stores:
    shown = _without_password(uri)
    try:
        database = uri_parser.parse_uri(uri)["database"]
    except PyMongoError as exc:
        raise StoreError(f"store {shown}: {_without_password(str(exc))}") from exc
    if not database:
        raise StoreError(f"store {shown} names no database: mongodb://HOST:PORT/DATABASE")
    outputs = MongoStore(None, "outputs", uri=uri, mongoclient_kwargs=_TIMEOUT)
    data = GridFSStore(None, DATA_STORE, uri=uri, compression=True, mongoclient_kwargs=_TIMEOUT)
    candidates = MongoStore(None, "candidates", uri=uri, mongoclient_kwargs=_TIMEOUT)
    return Stores(_job_store(outputs, data), CandidateStore(candidates), shown)


def _from_file(path: Path) -> Stores:
    if not path.is_file():
        raise StoreError(f"there is no store file {path}: give one, a folder or a mongodb:// URI")
    try:
        spec = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise StoreError(
            f"store file {path} is no YAML text ({' '.join(str(exc).split())}): give a store file, "
            "the folder of a store or a mongodb:// URI"
        ) from exc
    job_spec = spec.get("JOB_STORE") if isinstance(spec, dict) else None
    if not isinstance(job_spec, dict):
        raise StoreError(f"store file {path} has no JOB_STORE: {_FILE_REMEDY}")
    if unknown := [key for key in spec if key not in ("JOB_STORE", "CANDIDATE_STORE")]:
        raise StoreError(
            f"store file {path}: unknown key {unknown[0]}; known are JOB_STORE, CANDIDATE_STORE"
        )
    candidate_spec = spec.get("CANDIDATE_STORE")
    _check_kinds(job_spec, candidate_spec, path)
    job_spec = _prepared(job_spec, path)
    if candidate_spec is None:
        candidate_spec = {**job_spec["docs_store"], "collection_name": "candidates"}
    try:
        job_store = JobStore.from_dict_spec(job_spec)
        candidates = JobStore.from_dict_spec({"docs_store": _prepared(candidate_spec, path)})
    except KeyError as exc:
        raise StoreError(f"store file {path}: there is no store of type {exc}") from exc
    except (TypeError, ValueError, AttributeError, PyMongoError, MaggmaStoreError) as exc:
        reason = " ".join(_without_password(str(exc)).split())
        raise StoreError(f"store file {path}: {reason}; correct the options there") from exc
    if DATA_STORE not in job_store.additional_stores:  # type: ignore[has-type]
        raise StoreError(
            f"store file {path}: JOB_STORE has no additional store '{DATA_STORE}', for arrays"
        )
    return Stores(job_store, CandidateStore(candidates.docs_store), str(path))


def _check_kinds(job_spec: dict, candidate_spec: Any, path: Path) -> None:
    """Check that a store stands where one must, before jobflow trips over something else."""
    additional = job_spec.get("additional_stores") or {}
    if not isinstance(additional, dict):
        raise StoreError(
            f"store file {path}: additional_stores holds no stores by name: {_FILE_REMEDY}"
        )
    found = {"docs_store": job_spec.get("docs_store"), **additional}
    if candidate_spec is not None:
        found["CANDIDATE_STORE"] = candidate_spec
    for name, store in found.items():
        if not isinstance(store, dict) or not isinstance(store.get("type"), str):
            raise StoreError(f"store file {path}: {name} is no store with a type: {_FILE_REMEDY}")
        if not isinstance(store.get("mongoclient_kwargs") or {}, dict):
            raise StoreError(
                f"store file {path}: mongoclient_kwargs of {name} must be options by name, e.g. "
                "{tls: true}"
            )


def _prepared(spec: Any, path: Path) -> Any:
    """Fill in environment variables and paths relative to the file, and what we add to types."""
    if isinstance(spec, list):
        return [_prepared(value, path) for value in spec]
    if isinstance(spec, str):
        return re.sub(r"\$\{(\w+)\}", lambda match: _variable(match[1], path), spec)
    if not isinstance(spec, dict):
        return spec
    filled = {key: _prepared(value, path) for key, value in spec.items()}
    for key in _PATH_KEYS:
        if isinstance(filled.get(key), str) and not filled[key].startswith(":"):
            filled[key] = str(path.absolute().parent / Path(filled[key]).expanduser())
    if filled.get("type") == "MontyStore" and filled.get("storage", "sqlite") == "sqlite":
        filled["type"] = EmbeddedStore.__name__
    if filled.get("type") in _MONGO_TYPES:
        filled["mongoclient_kwargs"] = {**_TIMEOUT, **(filled.get("mongoclient_kwargs") or {})}
    return filled


def _variable(name: str, path: Path) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise StoreError(f"store file {path}: the environment variable {name} is not set") from None


def _job_store(docs: Store, data: Store) -> JobStore:
    return JobStore(docs, additional_stores={DATA_STORE: data})


def _connect(stores: Stores, *, create: bool) -> None:
    try:
        stores.job_store.connect()
        stores.candidates.connect()
        stores.job_store.query_one({"uuid": ""}, properties=["uuid"])
        if create:
            _ensure_indexes(stores)
    except PyMongoError as exc:
        first = _without_password(str(exc)).split(", Timeout:")[0].split(", full error")[0]
        raise StoreError(
            f"store {stores.description} cannot be reached or used: {first}; is the server "
            "running, and are host, port, user and password right?"
        ) from exc
    except OSError as exc:
        raise StoreError(f"store {stores.description}: {exc}") from exc
    except (TypeError, ValueError) as exc:  # how the stores say that an option is of a wrong kind
        raise StoreError(
            f"store {stores.description}: an option is of a wrong kind "
            f"({_without_password(str(exc))}): correct the options of its stores"
        ) from exc


def _ensure_indexes(stores: Stores) -> None:
    docs = stores.job_store.docs_store
    if type(docs).connect is MongoStore.connect:
        for field in ("uuid", "output.stage"):
            docs.ensure_index(field)
        data = stores.job_store.additional_stores[DATA_STORE]  # type: ignore[has-type]
        for field in ("blob_uuid", "job_uuid"):
            data.ensure_index(field)
    stores.candidates.ensure_indexes()


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//***@", text)

"""Reading the files that name stores: ours, jobflow's and projects of jobflow-remote."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml
from jobflow import JobStore
from maggma.core import Store
from maggma.core import StoreError as MaggmaStoreError
from pymongo.errors import PyMongoError

from crystens_flows.embedded_store import EmbeddedStore
from crystens_flows.errors import StoreError
from crystens_flows.masking import without_password

DATA_STORE = "data"
TIMEOUT = {"serverSelectionTimeoutMS": 5000}
_MONGO_TYPES = ("MongoStore", "MongoURIStore", "GridFSStore", "GridFSURIStore")
_PATH_KEYS = ("database_path", "path", "paths")
_REMEDY = (
    "write JOB_STORE as in jobflow.yaml, docs_store and each of additional_stores with its type, "
    "e.g. {type: MontyStore, collection_name: outputs, database_path: store}"
)


def stores_of_file(path: Path) -> tuple[JobStore, Store]:
    """
    Make the stores that a file names, without connecting to them.

    Parameters
    ----------
    path
        A YAML file: ``JOB_STORE`` as in ``jobflow.yaml``, the stores themselves or the name of a
        file that holds them; or the stores alone (``docs_store``, ``additional_stores``), as
        ``JobStore.from_file`` reads them; or the file of a project of jobflow-remote. In the
        first two ``CANDIDATE_STORE`` may say where the candidates are, and ``${NAME}`` stands for
        an environment variable.

    Returns
    -------
    tuple
        The JobStore and the store of the candidates, by default the collection "candidates" beside
        the documents of the jobs.

    Raises
    ------
    StoreError
        If there is no such file, or it holds something else.
    """
    spec = _read(path)
    candidate_spec = None
    if "queue" in spec and "workers" in spec:  # a project, where nothing is filled in
        job_spec = spec.get("jobstore", spec.get("JOB_STORE"))
        variables = False
    else:
        candidate_spec = spec.pop("CANDIDATE_STORE", None)
        job_spec = spec.pop("JOB_STORE", None)
        variables = True
        if isinstance(job_spec, str):
            named = path.absolute().parent / Path(job_spec).expanduser()
            job_spec, path = _read(named), named
        elif job_spec is None and "docs_store" in spec:
            job_spec, spec = spec, {}
        if spec:
            raise StoreError(
                f"store file {path}: unknown key {next(iter(spec))}; known are JOB_STORE, "
                f"CANDIDATE_STORE: {_REMEDY}"
            )
    if not isinstance(job_spec, dict):
        raise StoreError(f"store file {path} has no JOB_STORE: {_REMEDY}")
    _check_kinds(job_spec, candidate_spec, path)
    job_spec = _prepared(job_spec, path, variables=variables)
    if candidate_spec is None:
        candidate_spec = {**job_spec["docs_store"], "collection_name": "candidates"}
    candidate_spec = _prepared(candidate_spec, path, variables=variables)
    try:
        job_store = JobStore.from_dict_spec(job_spec)
        candidates = JobStore.from_dict_spec({"docs_store": candidate_spec}).docs_store
    except KeyError as exc:
        raise StoreError(
            f"store file {path}: there is no store of type {exc}: take one of maggma, e.g. "
            "MongoStore"
        ) from exc
    except (TypeError, ValueError, AttributeError, PyMongoError, MaggmaStoreError) as exc:
        reason = " ".join(without_password(str(exc), passwords_of(job_spec)).split())
        raise StoreError(f"store file {path}: {reason}; correct the options there") from exc
    if DATA_STORE not in job_store.additional_stores:  # type: ignore[has-type]
        raise StoreError(
            f"store file {path}: JOB_STORE has no additional store '{DATA_STORE}', for arrays: "
            "add one to additional_stores"
        )
    return job_store, candidates


def passwords_of(spec: Any) -> list[str]:
    """
    Return all that a specification of stores gives as passwords.

    Parameters
    ----------
    spec
        The specification, with dictionaries and lists in it.

    Returns
    -------
    list of str
        The passwords.
    """
    if isinstance(spec, list):
        return [found for each in spec for found in passwords_of(each)]
    if not isinstance(spec, dict):
        return []
    found = []
    for key, value in spec.items():
        if isinstance(value, str) and "password" in str(key).lower():
            found.append(value)
        else:
            found += passwords_of(value)
    return found


def yaml_problem(exc: Exception) -> str:
    """
    Say what is wrong with a text that is no YAML, without quoting it: it may hold passwords.

    Parameters
    ----------
    exc
        What reading it raised.

    Returns
    -------
    str
        The problem, with the line where it is known.
    """
    mark = getattr(exc, "problem_mark", None)
    problem = getattr(exc, "problem", None) or getattr(exc, "strerror", None)
    text = problem or getattr(exc, "reason", None) or type(exc).__name__
    return f"{text}, line {mark.line + 1}" if mark is not None else str(text)


def _read(path: Path) -> dict[Any, Any]:
    if not path.is_file():
        raise StoreError(f"there is no store file {path}: give one, a folder or a mongodb:// URI")
    try:
        spec = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise StoreError(
            f"store file {path} is no YAML text ({yaml_problem(exc)}): give a store file, "
            "the folder of a store or a mongodb:// URI"
        ) from None  # the reader's own words quote the file
    if not isinstance(spec, dict):
        raise StoreError(f"store file {path} has no JOB_STORE: {_REMEDY}")
    return spec


def _check_kinds(job_spec: dict, candidate_spec: Any, path: Path) -> None:
    """Check that a store stands where one must, before jobflow trips over something else."""
    additional = job_spec.get("additional_stores") or {}
    if not isinstance(additional, dict):
        raise StoreError(f"store file {path}: additional_stores holds no stores by name: {_REMEDY}")
    found = {"docs_store": job_spec.get("docs_store"), **additional}
    if candidate_spec is not None:
        found["CANDIDATE_STORE"] = candidate_spec
    for name, store in found.items():
        if not isinstance(store, dict) or not isinstance(store.get("type"), str):
            raise StoreError(f"store file {path}: {name} is no store with a type: {_REMEDY}")
        if not isinstance(store.get("mongoclient_kwargs") or {}, dict):
            raise StoreError(
                f"store file {path}: mongoclient_kwargs of {name} must be options by name, e.g. "
                "{tls: true}"
            )


def _prepared(spec: Any, path: Path, *, variables: bool) -> Any:
    """Fill in environment variables and paths relative to the file, and what we add to types."""
    if isinstance(spec, list):
        return [_prepared(value, path, variables=variables) for value in spec]
    if isinstance(spec, str) and variables:
        return re.sub(r"\$\{(\w+)\}", lambda match: _variable(match[1], path), spec)
    if not isinstance(spec, dict):
        return spec
    filled = {key: _prepared(value, path, variables=variables) for key, value in spec.items()}
    for key in _PATH_KEYS:
        if isinstance(filled.get(key), str) and not filled[key].startswith(":"):
            filled[key] = str(path.absolute().parent / Path(filled[key]).expanduser())
    if filled.get("type") == "MontyStore" and filled.get("storage", "sqlite") == "sqlite":
        filled["type"] = EmbeddedStore.__name__
    if filled.get("type") in _MONGO_TYPES:
        filled["mongoclient_kwargs"] = {**TIMEOUT, **(filled.get("mongoclient_kwargs") or {})}
    return filled


def _variable(name: str, path: Path) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise StoreError(
            f"store file {path}: the environment variable {name} is not set: set it"
        ) from None

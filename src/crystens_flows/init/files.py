"""The files of each backend, as texts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from crystens_flows.init.connection import Connection
from crystens_flows.init.fireworks import STORE_FILE, fireworks_files
from crystens_flows.init.jobflow_remote import PROJECT, project_of
from crystens_flows.init.sections import Sections
from crystens_flows.init.surroundings import Surroundings
from crystens_flows.stores import PASSWORD_VARIABLE


class Backend(StrEnum):
    """What runs the jobs."""

    LOCAL = "local"
    JF = "jf"
    FIREWORKS = "fireworks"


@dataclass(frozen=True)
class ConfigFile:
    """
    A file to write.

    Parameters
    ----------
    name
        Its name, in the folder.
    text
        What is in it.
    secret
        Whether a password is in it, so that nobody else may read it.
    """

    name: str
    text: str
    secret: bool = False


def default_folder(backend: Backend, environ: Mapping[str, str] | None = None) -> Path:
    """
    Return the folder where the programs of a backend look for their files.

    Parameters
    ----------
    backend
        The backend.
    environ
        The environment; by default that of this process.

    Returns
    -------
    pathlib.Path
        For no manager, the working folder.
    """
    environ = os.environ if environ is None else environ
    if backend is Backend.JF:
        return Path(environ.get("JFREMOTE_PROJECTS_FOLDER") or "~/.jfremote").expanduser()
    return Path("~/.fireworks").expanduser() if backend is Backend.FIREWORKS else Path()


def config_files(
    backend: Backend,
    folder: Path,
    surroundings: Surroundings,
    connection: Connection | None,
    embedded: Path | None = None,
) -> list[ConfigFile]:
    """
    Make the files of a backend.

    Parameters
    ----------
    backend
        The backend.
    folder
        Where they will be; some name others.
    surroundings
        The machine.
    connection
        The database; None for embedded stores, which only ``local`` can use.
    embedded
        Folder of the embedded stores.

    Returns
    -------
    list of ConfigFile
        The files.
    """
    if backend is Backend.JF:
        assert connection is not None
        text = project_of(surroundings, connection).text()
        return [ConfigFile(f"{PROJECT}.yaml", text, secret=bool(connection.password))]
    if backend is Backend.FIREWORKS:
        assert connection is not None
        return [
            ConfigFile(name, sections.text(), secret=_holds(sections, connection.password))
            for name, sections in fireworks_files(folder, surroundings, connection).items()
        ]
    return [ConfigFile(STORE_FILE, _store(connection, embedded).text())]


def _store(connection: Connection | None, embedded: Path | None) -> Sections:
    if connection is None:
        spec = {
            name: {
                "type": "MontyStore",
                "collection_name": name,
                "database_path": str(embedded),
            }
            for name in ("outputs", "data")
        }
        about = (
            "Embedded stores: files in a folder, no server. Keep them on a local disk.\n"
            'Candidates go to the collection "candidates" beside the outputs of the jobs.'
        )
        sections = Sections(about)
        sections.add(
            "", {"docs_store": spec["outputs"], "additional_stores": {"data": spec["data"]}}
        )
        return sections
    about = 'MongoDB: documents in "outputs" and "candidates", arrays in GridFS under "data".'
    if connection.password:
        about += f"\nThe password is taken from the environment variable {PASSWORD_VARIABLE}."
    sections = Sections(about)
    sections.add("", connection.job_store(secret=False))
    return sections


def _holds(sections: Sections, password: str) -> bool:
    def within(value: Any) -> bool:
        if isinstance(value, dict):
            return any(within(each) for each in value.values())
        return bool(password) and value == password

    return within(yaml.safe_load(sections.text()))

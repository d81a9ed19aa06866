"""A URI of MongoDB taken apart, for programs that take its parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from pymongo import uri_parser
from pymongo.errors import PyMongoError

from crystens_flows.errors import StoreError
from crystens_flows.masking import without_password
from crystens_flows.stores import PASSWORD_VARIABLE

_EXTERNAL = ("MONGODB-X509", "GSSAPI", "PLAIN", "MONGODB-AWS", "MONGODB-OIDC")
_PORT = 27017


@dataclass(frozen=True)
class Connection:
    """
    Where a database is and who opens it.

    Parameters
    ----------
    host
        A host; or, where there are several or options, a URI without user and password, which
        pymongo takes in its place.
    port
        Its port; of no effect where the host is a URI.
    database
        The database.
    user, password
        Who opens it; empty for nobody.
    auth_source
        The database the user is in.
    """

    host: str = "localhost"
    port: int = _PORT
    database: str = "crystens"
    user: str = ""
    password: str = field(default="", repr=False)
    auth_source: str | None = None

    @classmethod
    def from_uri(cls, uri: str) -> Connection:
        """
        Take a URI apart.

        Parameters
        ----------
        uri
            The URI, with the password if there is one.

        Returns
        -------
        Connection
            Its parts.

        Raises
        ------
        StoreError
            If it is no URI of MongoDB, or names no database.
        """
        shown = without_password(uri)
        scheme, _, rest = uri.partition("://")
        credentials, _, address = rest.rpartition("@")
        user, _, password = credentials.partition(":")
        try:
            # names of mongodb+srv are looked up when a connection is made, not here
            parsed = uri_parser.parse_uri(f"mongodb://{rest}")
        except (PyMongoError, ValueError):
            raise StoreError(
                f"store {shown}: not a URI of the form mongodb://USER@HOST:27017/DATABASE: put the "
                f"password into {PASSWORD_VARIABLE}, and write special characters as %XX"
            ) from None
        if not parsed["database"]:
            raise StoreError(f"store {shown} names no database: give mongodb://HOST:27017/DATABASE")
        nodes, options = parsed["nodelist"], parsed["options"]
        mechanism = options.get("authmechanism", "")
        source = options.get("authsource") or (
            "$external" if mechanism in _EXTERNAL else parsed["database"]
        )
        plain = scheme == "mongodb" and len(nodes) == 1 and "?" not in address
        name = f"[{nodes[0][0]}]" if ":" in nodes[0][0] else nodes[0][0]
        return cls(
            host=name if plain else f"{scheme}://{address}",
            port=(nodes[0][1] if plain else None) or _PORT,
            database=parsed["database"],
            user=unquote_plus(user),
            password=unquote_plus(password),
            auth_source=str(source) if user else None,
        )

    def store(self, kind: str, collection: str, *, secret: bool, **more: Any) -> dict[str, Any]:
        """
        Specify a store of maggma, as jobflow and jobflow-remote read it.

        Parameters
        ----------
        kind
            Its class, e.g. ``"MongoStore"``.
        collection
            Its collection.
        secret
            Whether the password itself is in the file; else the name of the variable it is in.
        **more
            Further options.

        Returns
        -------
        dict
            The specification.
        """
        spec = {
            "type": kind,
            "database": self.database,
            "collection_name": collection,
            "host": self.host,
            "port": self.port,
        }
        if self.user:
            spec["username"] = self.user
            if self.password:
                spec["password"] = self.password if secret else f"${{{PASSWORD_VARIABLE}}}"
            spec["auth_source"] = self.auth_source
        return {**spec, **more}

    def job_store(self, *, secret: bool) -> dict[str, Any]:
        """
        Specify the store of the jobs.

        Parameters
        ----------
        secret
            As for :meth:`store`.

        Returns
        -------
        dict
            Documents in the collection "outputs", arrays in GridFS under "data".
        """
        data = self.store("GridFSStore", "data", secret=secret, compression=True)
        return {
            "docs_store": self.store("MongoStore", "outputs", secret=secret),
            "additional_stores": {"data": data},
        }

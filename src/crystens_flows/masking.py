"""Connection strings without their passwords, for all that is shown or kept."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Annotated
from urllib.parse import quote, quote_plus

from pydantic import PlainSerializer

MASK = "***"

SECRET_VARIABLES = ("CRYSTENS_DB_PASSWORD", "MP_API_KEY", "PMG_MAPI_KEY")
"""Environment variables whose values are shown nowhere: the password of the store, keys of the
Materials Project."""

_SHORTEST = 6
"""So many characters a secret of the environment has; shorter ones are found in plain words."""

_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]*://)"
# A password may hold any character where nobody encoded it, so that the last "@" counts.
_CREDENTIALS = re.compile(_SCHEME + r"([^\s:/@]*):(\S*)@")
_OF_A_URI = re.compile(_SCHEME + r"([^:/@]*):(.*)@", re.DOTALL)
_NO_HOST = re.compile(_SCHEME + r"([^\s:/@\[\],]*):(?!\d{1,5}(?!\w))([^@/?\s]+)(?=[/?\s]|$)")
_OPTIONS = re.compile(r"(?i)([?&]\w*(?:password|passphrase|token|secret|key)=)[^&\s]+")
_TOKEN = re.compile(r"(?i)(AWS_SESSION_TOKEN(?::|%3A))[^,&\s]+")


def without_password(text: str, secrets: Iterable[str] = ()) -> str:
    """
    Put ``***`` in place of passwords.

    Parameters
    ----------
    text
        A URI, or a message that may hold some. Users and hosts stay readable; where it cannot be
        said where a password ends, more than it is masked.
    secrets
        Passwords that are known, which are masked wherever they stand, as are those of the
        environment: see :data:`SECRET_VARIABLES`.

    Returns
    -------
    str
        The text, e.g. ``mongodb://user:***@host/database``.
    """
    known = {form for each in (*secrets, *_of_the_environment()) for form in _forms(each)}
    for secret in sorted(known, key=len)[::-1]:
        text = text.replace(secret, MASK)
    if _OF_A_URI.match(text.strip()):
        text = _OF_A_URI.sub(rf"\1\2:{MASK}@", text.strip(), count=1)
    else:
        text = _CREDENTIALS.sub(rf"\1\2:{MASK}@", text)
        text = _NO_HOST.sub(rf"\1\2:{MASK}", text)
    return _TOKEN.sub(rf"\1{MASK}", _OPTIONS.sub(rf"\1{MASK}", text))


def _of_the_environment() -> Iterator[str]:
    for name in SECRET_VARIABLES:
        if len(value := os.environ.get(name, "")) >= _SHORTEST:
            yield value


def _forms(secret: str) -> set[str]:
    return {secret, quote_plus(secret), quote(secret, safe="")} if secret else set()


StoreText = Annotated[str, PlainSerializer(without_password)]
"""Where a store is, as a field of a model that is written to files: kept without the password."""

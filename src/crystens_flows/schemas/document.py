"""What all documents that jobs put out have in common."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """A document without fields but its own."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """
        Return the JSON schema; without arguments it is made once, and not to be changed.

        jobflow asks for it whenever a flow refers to a field of an output, thousands of times in
        a large campaign.
        """
        if args or kwargs:
            return super().model_json_schema(*args, **kwargs)
        return _schema(cls)


@cache
def _schema(model: type[Document]) -> dict[str, Any]:
    return super(Document, model).model_json_schema()
